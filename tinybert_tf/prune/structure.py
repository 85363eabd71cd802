"""Fewer layers, heads and neurons, and a narrower hidden state."""

from collections.abc import Iterable, Mapping

from tinybert_tf.bert import BertConfig, BertModel, build_model
from tinybert_tf.checkpoints.projections import Projection
from tinybert_tf.distill.compression import Kept, compress_teacher, largest
from tinybert_tf.prune.importance import choose_layers, measure_importance

# Rows of the batches that importance is measured on, and how many rows the choice of layers looks at.
_ROWS_OF_A_SAMPLE = 8
_ROWS_FOR_LAYERS = 128


def with_structure(
    model: BertModel, config: BertConfig, batches: Iterable[Mapping], seed: int = 0
) -> tuple[BertModel, list[Projection], tuple[int, ...]]:
    """A smaller network made of the most important parts of another.

    Regressions restore the contribution of the dropped parts as far as possible, layer by layer, from the embeddings
    upwards, see `tinybert_tf.distill.compression`.

    Args:
        model: float32.
        config: of the smaller network; no size larger than the model's, heads no wider.
        batches: of features, int32 [batch, seq]; a few hundred rows of real text.
        seed: see `measure_importance`.

    Returns:
        the network; for each of its hidden states the projection (kernel, bias) that reconstructs the model's; and the
        model's layers, counted from 1, that its layers were made from.
    """
    batches = list(batches)
    small = [part for features in batches for part in _cut(features, _ROWS_OF_A_SAMPLE)]
    layers = choose_layers(model, config.num_hidden_layers, small[: _ROWS_FOR_LAYERS // _ROWS_OF_A_SAMPLE])
    heads, neurons = measure_importance(model, small, seed)
    kept = [
        Kept(
            largest(heads[number - 1], config.num_attention_heads),
            largest(neurons[number - 1], config.intermediate_size),
        )
        for number in layers
    ]
    student = build_model(config, model.head, dtype="float32")
    return student, compress_teacher(student, model, layers, batches, kept), layers


def composed(
    projections: list[Projection], layers: tuple[int, ...], to_teacher: list[Projection | None]
) -> list[Projection | None]:
    """Projections from a pruned network to the teacher of the network that it was made from.

    Args:
        projections: from the pruned network to that network.
        layers: that network's layers that the pruned one's were made from.
        to_teacher: from each hidden state of that network to its teacher's; None for one that was not matched.
    """
    found: list[Projection | None] = []
    for (kernel, bias), number in zip(projections, (0, *layers), strict=True):
        if (next_one := to_teacher[number]) is None:
            found.append(None)
        else:
            to_kernel, to_bias = next_one
            found.append((kernel @ to_kernel, bias @ to_kernel + to_bias))
    return found


def _cut(features: Mapping, rows: int) -> list[dict]:
    count = len(next(iter(features.values())))
    return [{name: value[begin : begin + rows] for name, value in features.items()} for begin in range(0, count, rows)]
