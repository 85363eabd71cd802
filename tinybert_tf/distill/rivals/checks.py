"""Checks that the published methods share."""

import keras

from tinybert_tf.bert import BertModel
from tinybert_tf.distill.networks import describe
from tinybert_tf.errors import InputError


def check_berts(method: str, *networks: keras.Model) -> None:
    """Raises InputError for a network that is not a `BertModel`."""
    for network in networks:
        if not isinstance(network, BertModel):
            raise InputError(
                f"{method} reads layers of a BertModel, which {describe(network)} is not; a BiLSTM or another Keras model "
                "learns from logits: take vanilla_kd"
            )


def check_share(name: str, value: float) -> None:
    """Raises InputError for a share that is not from 0 to 1."""
    if not 0 <= value <= 1:
        raise InputError("must be from 0 to 1", name, value)


def check_temperature(value: float) -> None:
    """Raises InputError for a temperature of 0 or below."""
    if not value > 0:
        raise InputError("must be above 0", "temperature", value)
