"""Files of other families, and of a BERT with a ReLU before its classifier, answer like their networks, at every length."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tests.export.conftest import TEXTS
from tinybert_tf.bert import build_model
from tinybert_tf.checkpoints import load_model
from tinybert_tf.export import export_tflite

FAMILIES = {"bert": {"classifier_activation": "relu"}, "mpnet": {}, "electra": {"embedding_size": 16}, "distilbert": {}}
# As for BERT.
TOLERANCES = {"none": 1e-5, "float16": 5e-3, "dynamic": 6e-2, "int8": 0.12}


@pytest.mark.parametrize(
    ("family", "quantize", "head"),
    [
        ("bert", "none", "classification"),
        ("bert", "int8", "regression"),
        ("mpnet", "none", "classification"),
        ("mpnet", "none", "token_classification"),
        ("mpnet", "float16", "classification"),
        ("mpnet", "dynamic", "classification"),
        ("mpnet", "int8", "classification"),
        ("electra", "none", "classification"),
        ("electra", "dynamic", "classification"),
        ("distilbert", "none", "regression"),
        ("distilbert", "dynamic", "classification"),
    ],
)
def test_a_file_answers_like_keras(family, quantize, head, model_dir, tmp_path, features):
    source = load_model(model_dir(head)).config
    model = build_model(source.of_family(family).replace(initializer_range=0.3, **FAMILIES[family]), head)
    texts = TEXTS if quantize == "int8" else None
    report = export_tflite(
        model, tmp_path / "a.tflite", seq_len=[12, 9], quantize=quantize, tokenizer_from=model_dir(head),
        calibration_texts=texts,
    )  # fmt: skip
    runner = Interpreter(report.path)
    for length, name in ((12, "serving_default"), (9, "seq_9")):
        cut = {key: value[:, :length] for key, value in features.items()}
        logits = model(cut, training=False)["logits"]
        expected = (logits if head == "regression" else tf.nn.softmax(logits)).numpy()
        run = runner.get_signature_runner(name)
        found = np.concatenate(
            [next(iter(run(**{n: v[[row]] for n, v in cut.items()}).values())) for row in range(len(expected))]
        )
        shown = cut["input_mask"] == 1 if head == "token_classification" else np.ones(expected.shape, bool)
        assert expected[shown].std() > 0.02, "the network tells its inputs apart"
        np.testing.assert_allclose(found[shown], expected[shown], atol=TOLERANCES[quantize], rtol=0.05)
