"""An encoder's vector in a file: what Keras computes, and what MediaPipe's TextEmbedder opens."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tinybert_tf.bert import build_model
from tinybert_tf.checkpoints import load_model, save_model
from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.export import TFLiteClassifier, TFLiteModel, export_tflite, read_metadata

TEXTS = ["w1 w2 film", "w3 w4 w5 w6 w7 w8 w9", "w5 w6", "w59 film w2ly", ""]
CALIBRATION = [" ".join(f"w{(7 * row + 3 * word) % 60}" for word in range(row % 10 + 1)) for row in range(40)]


def keras_vectors(folder, kind: str, texts) -> np.ndarray:
    features = Tokenizer.from_directory(folder)(texts, seq_len=12)
    outputs = load_model(folder, head="encoder")(features, training=False)
    hidden, mask = outputs["sequence_output"].numpy(), features["input_mask"].numpy()[..., None]
    mean = (hidden * mask).sum(axis=1) / mask.sum(axis=1)
    return {"pooled": outputs["pooled_output"].numpy(), "mean": mean, "first_token": hidden[:, 0]}[kind]


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return (first * second).sum(axis=-1) / lengths


@pytest.mark.parametrize("kind", ["pooled", "mean", "first_token"])
@pytest.mark.parametrize(("mode", "least"), [("none", 1 - 1e-6), ("dynamic", 0.999), ("int8", 0.99)])
def test_a_vector_points_where_keras_points(kind, mode, least, model_dir, tmp_path):
    report = export_tflite(
        model_dir(),
        tmp_path / "a.tflite",
        seq_len=(12, 6),
        quantize=mode,
        calibration_texts=CALIBRATION,
        output_vector=kind,
    )
    assert (report.head, read_metadata(report.path).head) == (kind, kind)
    features = Tokenizer.from_directory(model_dir())(TEXTS, seq_len=12)
    found = TFLiteModel(report.path).predict({name: value.numpy() for name, value in features.items()})
    expected = keras_vectors(model_dir(), kind, TEXTS)
    assert found.shape == expected.shape == (5, 48)
    assert cosines(found, expected).min() >= least
    if mode == "none":
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["pooled", "mean"])
def test_mediapipes_text_embedder_opens_it(kind, model_dir, tmp_path):
    text = pytest.importorskip("mediapipe.tasks.python.text", reason="no mediapipe: make android")
    path = export_tflite(model_dir(), tmp_path / "a.tflite", seq_len=12, output_vector=kind).path
    texts = [given for given in TEXTS if given]
    with text.TextEmbedder.create_from_model_path(str(path)) as embedder:
        found = [np.asarray(embedder.embed(given).embeddings[0].embedding) for given in texts]
    np.testing.assert_allclose(found, keras_vectors(model_dir(), kind, texts), atol=1e-4)


def test_any_encoder_will_do(model_dir, tmp_path):
    """A directory without a head, a network by itself; a pooler must be there to be asked for."""
    config = load_model(model_dir()).config.replace(label2id=None)
    encoder = build_model(config, "encoder")
    report = export_tflite(encoder, tmp_path / "a.tflite", seq_len=8, output_vector="mean", tokenizer_from=model_dir())
    assert "TextEmbedder" in report.task_api
    save_model(encoder, tmp_path / "encoder", tokenizer_from=model_dir())
    export_tflite(tmp_path / "encoder", tmp_path / "b.tflite", seq_len=8, output_vector="pooled")
    with pytest.raises(InputError, match="give `output_vector`"):
        export_tflite(tmp_path / "encoder", tmp_path / "c.tflite", seq_len=8)
    weights = tmp_path / "encoder" / "model.safetensors"
    kept = {name: value for name, value in load_file(weights).items() if "pooler" not in name}
    save_file(kept, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match="output_vector=pooled: .* has no pooler; take mean or first_token"):
        export_tflite(tmp_path / "encoder", tmp_path / "c.tflite", seq_len=8, output_vector="pooled")
    with pytest.raises(InputError, match="output_vector=max: must be pooled, mean, first_token"):
        export_tflite(model_dir(), tmp_path / "c.tflite", seq_len=8, output_vector="max")
    assert not (tmp_path / "c.tflite").exists()
    with pytest.raises(InputError, match="returns embedding, not one score for each label"):
        TFLiteClassifier(report.path)
