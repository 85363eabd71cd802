"""Which layers of a network are frozen, as a part of its configuration.

Keras stores that for the layers of a model that it puts together itself. The networks here build their own layers.
"""

import keras


def frozen_layers(network: keras.Layer) -> list[str]:
    """The frozen layers inside a network, or inside a layer, by path.

    >>> from tinybert_tf.bert import BertConfig, build_model
    >>> model = build_model(BertConfig.named("2x8x2x16", vocab_size=30))
    >>> model.embeddings.word_embeddings.trainable = model.pooler.trainable = False
    >>> frozen_layers(model)
    ['embeddings/word_embeddings', 'pooler', 'pooler/dense']
    """
    return [path for path, layer in _inner_layers(network).items() if not layer.trainable]


def rebuild(kind: type, config: dict):
    """`kind(**config)` in which the layers that `config["frozen"]` lists are frozen, and no others.

    Without a list, as in files from before there was one, all layers are what `config["trainable"]` says.
    """
    config = dict(config)
    frozen = config.pop("frozen", None)
    network = kind(**config)
    if frozen is not None:
        inner = _inner_layers(network)
        # Outer layers first, since they set those that they hold; a masked-LM head also holds the word table.
        for path in sorted(inner, key=lambda path: path.count("/")):
            inner[path].trainable = path not in frozen
    return network


def _inner_layers(layer: keras.Layer, prefix: str = "") -> dict[str, keras.Layer]:
    found = {}
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        path = f"{prefix}{inner.name}"
        found |= {path: inner} | _inner_layers(inner, f"{path}/")
    return found
