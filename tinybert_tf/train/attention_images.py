"""Attention of teacher and student as images of TensorBoard, a few times in a stage."""

import keras
import numpy as np
import tensorflow as tf

from tinybert_tf.distill import Distiller

# Pixels on a side for each pair of tokens, and between two heads.
_ENLARGED, _GAP = 6, 4


class AttentionImages:
    """Draws one example's attention: a row of maps for each layer, a column for each head.

    Args:
        distiller: whose networks give `attention_logits`; see `can_draw`.
        features: of a batch, the first example of which is drawn without its padding.
    """

    def __init__(self, distiller: Distiller, features: dict[str, tf.Tensor]):
        self.distiller = distiller
        count = int(np.sum(np.asarray(features["input_mask"][0])))
        self.features = {name: features[name][:1, :count] for name in distiller.student.input}

    def draw(self) -> dict[str, np.ndarray]:
        """`[height, width, 1]` between 0 (no attention) and 1 by name."""
        return {
            "attention/teacher": attention_image(self._probabilities(self.distiller.teacher)),
            "attention/student": attention_image(self._probabilities(self.distiller.student)),
        }

    def _probabilities(self, model: keras.Model) -> list[np.ndarray]:
        logits = model(self.features, training=False)["attention_logits"]
        return [tf.nn.softmax(tf.cast(layer[0], tf.float32)).numpy() for layer in logits]


def can_draw(model: keras.Model) -> bool:
    """Whether a model that is trained is a distillation of one network with attention into another."""
    if not isinstance(model, Distiller):
        return False
    outputs = [getattr(network, "output", None) for network in (model.teacher, model.student)]
    return all(isinstance(output, dict) and output.get("attention_logits") for output in outputs)


def attention_image(layers: list[np.ndarray]) -> np.ndarray:
    """Attention maps side by side.

    Args:
        layers: probabilities `[heads, tokens, tokens]` of each layer.

    Returns:
        `[height, width, 1]`: a row of maps for each layer, a column for each head, white lines between them. The square root
        of a probability is shown, so that small ones are seen.

    Example:
        >>> attention_image([np.eye(2)[None]]).shape
        (16, 16, 1)
    """
    rows = []
    for heads in layers:
        large = np.kron(np.sqrt(heads), np.ones((1, _ENLARGED, _ENLARGED), np.float32))
        framed = np.pad(large, ((0, 0), (0, _GAP), (0, _GAP)), constant_values=1.0)
        rows.append(np.concatenate(list(framed), axis=1))
    width = max(row.shape[1] for row in rows)
    filled = [np.pad(row, ((0, 0), (0, width - row.shape[1])), constant_values=1.0) for row in rows]
    return np.concatenate(filled)[..., None]
