"""KerasHub: the encoder of a BERT preset, by name or as a directory written by `save_to_preset`, there with its classifier."""

from pathlib import Path

from tinybert_tf.bert import BertConfig
from tinybert_tf.checkpoints import names
from tinybert_tf.checkpoints.weights import Checkpoint
from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json_object, system_error

_LAYER, _HF_LAYER = "transformer_layer_{}", "bert.encoder.layer.{}"
_MODULES = {
    "token_embedding": "bert.embeddings.word_embeddings",
    "position_embedding": "bert.embeddings.position_embeddings",
    "segment_embedding": "bert.embeddings.token_type_embeddings",
    "embeddings_layer_norm": "bert.embeddings.LayerNorm",
    f"{_LAYER}/self_attention_layer/query": f"{_HF_LAYER}.attention.self.query",
    f"{_LAYER}/self_attention_layer/key": f"{_HF_LAYER}.attention.self.key",
    f"{_LAYER}/self_attention_layer/value": f"{_HF_LAYER}.attention.self.value",
    f"{_LAYER}/self_attention_layer/attention_output": f"{_HF_LAYER}.attention.output.dense",
    f"{_LAYER}/self_attention_layer_norm": f"{_HF_LAYER}.attention.output.LayerNorm",
    f"{_LAYER}/feedforward_intermediate_dense": f"{_HF_LAYER}.intermediate.dense",
    f"{_LAYER}/feedforward_output_dense": f"{_HF_LAYER}.output.dense",
    f"{_LAYER}/feedforward_layer_norm": f"{_HF_LAYER}.output.LayerNorm",
    "pooled_dense": "bert.pooler.dense",
    "logits": "classifier",
}


def read(preset: str | Path) -> Checkpoint:
    """Reads the encoder of a preset, and the classifier of a directory that a BertTextClassifier was saved to.

    A preset that is only a name is fetched. One class is a score; classes have no names in KerasHub.

    Raises:
        InputError: no such preset, one that is not a BERT, or a hub that cannot be reached.
    """
    classifier = _from_preset("BertTextClassifier", preset, dtype="float32") if _has_classifier(preset) else None
    backbone = classifier.backbone if classifier else _from_preset("BertBackbone", preset, dtype="float32")
    classes = classifier.num_classes if classifier else 0
    config = BertConfig(
        vocab_size=backbone.vocabulary_size,
        hidden_size=backbone.hidden_dim,
        num_hidden_layers=backbone.num_layers,
        num_attention_heads=backbone.num_heads,
        intermediate_size=backbone.intermediate_dim,
        hidden_act="gelu_pytorch_tanh",
        hidden_dropout_prob=backbone.dropout,
        attention_probs_dropout_prob=backbone.dropout,
        max_position_embeddings=backbone.max_sequence_length,
        type_vocab_size=backbone.num_segments,
        classifier_dropout=classifier.dropout if classifier else None,
        label2id={f"LABEL_{number}": number for number in range(classes)} if classes > 1 else None,
    )
    head = "encoder" if not classifier else "classification" if classes > 1 else "regression"
    variables = ((variable.path, variable.numpy()) for variable in (classifier or backbone).weights)
    return Checkpoint(str(preset), config, head, names.to_hugging_face(variables, _MODULES))


def _has_classifier(preset: str | Path) -> bool:
    task = Path(preset) / "task.json"
    return task.is_file() and read_json_object(task).get("class_name") == "BertTextClassifier"


def read_vocabulary(preset: str | Path) -> tuple[list[str], bool]:
    """The words of a preset's tokenizer, and whether it lower-cases."""
    tokenizer = _from_preset("BertTokenizer", preset)
    return tokenizer.get_vocabulary(), tokenizer.lowercase


def _from_preset(kind: str, preset: str | Path, **kwargs):
    import keras_hub  # slow to import, and needed only for presets

    preset = str(preset)
    is_local = Path(preset).is_dir()
    if preset.startswith("hf://"):
        raise InputError(f"{preset}: KerasHub would drop its head and its activation; download it, give the directory")
    if not is_local and "://" not in preset and preset not in keras_hub.models.BertBackbone.presets:
        raise InputError(
            f"{preset}: no such directory, and no preset of that name, such as bert_base_en_uncased "
            "(keras_hub.models.BertBackbone.presets lists them)"
        )
    try:
        return getattr(keras_hub.models, kind).from_preset(preset, **kwargs)
    except Exception as error:  # any error of a hub's client: no connection, no login, no such file
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        remedy = "write it again" if is_local else "check the name and the connection, or give a model directory"
        remedy = "see to the disk or the files' permissions" if system_error(error) else remedy
        raise InputError(f"{preset}: KerasHub cannot load this preset ({reason}); {remedy}") from error
