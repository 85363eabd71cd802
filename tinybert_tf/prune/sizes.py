"""The sizes that pruning changes."""

import dataclasses

from tinybert_tf.bert import BertConfig
from tinybert_tf.errors import InputError
from tinybert_tf.settings import setting

# Sizes of the layers; the others are rows of a table.
STRUCTURE = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes of a pruned network, named as in its configuration; absent: as they are."""

    vocab_size: int | None = setting(None, "word pieces that are kept, for the teacher too")
    max_position_embeddings: int | None = setting(None, "longest length in tokens")
    num_hidden_layers: int | None = setting(None, "layers")
    hidden_size: int | None = setting(None, "width of the hidden states, a multiple of the heads")
    num_attention_heads: int | None = setting(
        None, "heads of every layer; heads must not become wider, so reduce `hidden_size` as well"
    )
    intermediate_size: int | None = setting(None, "neurons of each feed-forward layer")

    def __post_init__(self):
        for name, value in self.given.items():
            if value < 1:
                raise InputError("must be at least 1", name, value)

    @property
    def given(self) -> dict[str, int]:
        """The sizes that change, by name."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    @property
    def structure(self) -> dict[str, int]:
        """The changed sizes of layers."""
        return {name: value for name, value in self.given.items() if name in STRUCTURE}

    def applied(self, config: BertConfig) -> BertConfig:
        """The configuration of the pruned network.

        Raises:
            InputError: a size that is larger than the network's, or sizes that do not fit each other.
        """
        for name, value in self.given.items():
            if value > getattr(config, name):
                raise InputError(f"the model has {getattr(config, name)}; pruning makes it smaller", name, value)
        pruned = self.structure
        heads = pruned.get("num_attention_heads", config.num_attention_heads)
        width = pruned.get("hidden_size", config.hidden_size)
        if config.relative_attention_num_buckets and heads != config.num_attention_heads:
            raise InputError(
                "the heads of this model have a bias by relative position that all layers share, so none can be left out",
                "num_attention_heads",
                heads,
            )
        if width % heads:
            name, value = ("hidden_size", width) if "hidden_size" in pruned else ("num_attention_heads", heads)
            raise InputError(
                f"hidden_size={width} must be a multiple of num_attention_heads={heads}, all heads being equally wide; "
                f"take `hidden_size={max(width - width % heads, heads)}`",
                name,
                value,
            )
        if width // heads > config.attention_head_size:
            raise InputError(
                f"with hidden_size={width} its heads would be {width // heads} wide, but the model's are "
                f"{config.attention_head_size}; take `hidden_size={heads * config.attention_head_size}` or less as well",
                "num_attention_heads",
                heads,
            )
        return config.replace(**{name: value for name, value in self.given.items() if name != "vocab_size"})
