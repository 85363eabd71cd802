import numpy as np
import pytest

from tinybert_tf.bert import BertConfig, build_model
from tinybert_tf.train.loss_scale import relative_weights

pytestmark = pytest.mark.usefixtures("eagerly")


def test_each_term_is_divided_by_the_variance_of_its_target():
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=8, initializer_range=0.5,
    )  # fmt: skip
    teacher, random = build_model(config), np.random.default_rng(0)
    features = {name: np.zeros((6, 5), np.int32) for name in ("input_word_ids", "input_mask", "input_type_ids")}
    features["input_word_ids"] = random.integers(0, 20, (6, 5)).astype(np.int32)
    for row, length in enumerate((5, 4, 3, 5, 2, 1)):
        features["input_mask"][row, :length] = 1
    halves = [{name: values[half] for name, values in features.items()} for half in (slice(0, 3), slice(3, 6))]
    weights = relative_weights(teacher, 2, "uniform", halves)

    outputs, mask = teacher(features, training=False), features["input_mask"].astype(bool)
    for weight, layer in zip([weights["embedding_weight"], *weights["hidden_weight"]], (0, 2, 4), strict=True):
        tokens = outputs["hidden_states"][layer].numpy()[mask]
        assert weight == pytest.approx(1 / tokens.var(axis=0).mean(), rel=1e-4)
    for weight, layer in zip(weights["attention_weight"], (2, 4), strict=True):
        logits = outputs["attention_logits"][layer - 1].numpy()
        heads = [[], []]
        for b, h, i, j in np.ndindex(logits.shape):
            if mask[b, i] and mask[b, j]:
                heads[h].append(logits[b, h, i, j])
        assert weight == pytest.approx(1 / np.mean([np.var(values) for values in heads]), rel=1e-4)
