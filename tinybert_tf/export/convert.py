"""From a model directory to a .tflite file that the stock runtimes load."""

import dataclasses
import logging
from pathlib import Path

import tensorflow as tf

from tinybert_tf.bert import INPUT_NAMES, BertModel
from tinybert_tf.checkpoints import load_model, resolve_directory
from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.export import flatbuffer, metadata
from tinybert_tf.export.graph import OUTPUT_NAMES, inference_function
from tinybert_tf.files import written_aside

logger = logging.getLogger(__name__)

# What becomes of the weights. Activations stay float32 in all of them: softmax, GELU and layer normalisation in int8 leave
# the fast kernels and, in BERT, the accuracy.
QUANTIZE_MODES = {
    "none": "float32",
    "float16": "float16, computed in float32",
    "dynamic": "int8; matrix products in int8 with activations quantized as they come",
}

_MOST_SPARE_ROWS = 64

_NAMES = {
    "classification": ("BERT text classifier", "Gives the probability of each label for a text or a pair of texts."),
    "regression": ("BERT text scorer", "Gives one value for a text or a pair of texts."),
    "span": ("BERT question answerer", "Finds the answer to a question in a text."),
}


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What was written. `mb` is in millions of bytes; `operators` counts the operations by name."""

    path: str
    mb: float
    quantize: str
    seq_len: int
    head: str
    operators: dict[str, int]


def export_tflite(
    model: BertModel | str | Path,
    output: str | Path,
    *,
    seq_len: int = 128,
    quantize: str = "none",
    tokenizer_from: str | Path | None = None,
) -> ExportReport:
    """Writes a model as TFLite, with vocabulary, labels and metadata inside.

    The file takes three int32 `[1, seq_len]` inputs, in this order: ids, mask, segment_ids (in the signature
    `serving_default`: input_word_ids, input_mask, input_type_ids). A classifier returns `probability` `[1, labels]`, a
    regressor `score` `[1, 1]`, a span model `end_logits` and `start_logits` `[1, seq_len]`; all float32.

    Args:
        model: a model directory, or a network with a classification, regression or span head.
        output: the .tflite file; replaced if it exists, and left alone if the export fails.
        seq_len: the fixed length, special tokens included.
        quantize: one of `QUANTIZE_MODES`.
        tokenizer_from: the directory with vocab.txt; by default that of the model.

    Raises:
        InputError: a head without a TFLite form, a length the model has no positions for, an unknown mode, no vocabulary.
    """
    output = Path(output)
    _check_output(output)
    if quantize not in QUANTIZE_MODES:
        raise InputError(f"--quantize={quantize}: no such mode; there are {', '.join(QUANTIZE_MODES)}")
    if not isinstance(model, BertModel):
        directory = resolve_directory(model, "--model_dir")
        tokenizer_from = tokenizer_from or directory
        model = load_model(directory, strict_head=True)
    vocabulary = _read_vocabulary(tokenizer_from, model)
    limit = model.config.max_position_embeddings
    if not 2 <= seq_len <= limit:
        raise InputError(
            f"--seq_len={seq_len}: must be between 2 ([CLS] and [SEP]) and the model's max_position_embeddings={limit}"
        )
    function = inference_function(model, seq_len, int8_embeddings=quantize == "dynamic")
    graph = flatbuffer.unpack(convert(function, quantize))
    outputs = OUTPUT_NAMES[model.head]
    labels = sorted(model.config.label2id, key=model.config.label2id.get) if model.head == "classification" else None
    _order_tensors(graph, outputs)
    name, description = _NAMES[model.head]
    metadata.add_description(graph, name=name, description=description, outputs=outputs, labels=labels)
    content = metadata.with_files(flatbuffer.pack(graph), vocabulary, labels)
    with written_aside(output) as aside:
        aside.write_bytes(content)
    return ExportReport(
        path=str(output),
        mb=round(len(content) / 1e6, 3),
        quantize=quantize,
        seq_len=seq_len,
        head=model.head,
        operators=flatbuffer.operators(graph),
    )


def convert(function, quantize: str) -> bytes:
    """Converts a `tf.function` that has an input signature; builtin operations only.

    Raises:
        InputError: an operation that the TFLite runtimes lack, by name.
    """
    module = tf.Module()
    module.infer = function
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], module)
    if quantize != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        content = converter.convert()
    except tf.errors.OpError as error:
        raise InputError(f"TensorFlow cannot convert this network: {_first_line(error)}") from None
    except Exception as error:
        if type(error).__name__ != "ConverterError":
            raise
        raise InputError(f"this network has an operation that TFLite lacks: {_first_line(error)}") from None
    custom = flatbuffer.custom_operators(flatbuffer.unpack(content))
    if custom:
        raise InputError(f"this network needs {', '.join(custom)}, which the stock TFLite runtimes lack")
    return content


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if line.startswith(("Flex ops:", "Custom ops:"))]
    return "; ".join(named) or (lines[0] if lines else type(error).__name__)


def _check_output(output: Path) -> None:
    if output.suffix != ".tflite":
        raise InputError(f"--output={output}: must end in .tflite")
    if output.is_dir():
        raise InputError(f"--output={output}: is a directory; name a file in it")


def _read_vocabulary(directory: str | Path | None, model: BertModel) -> tuple[str, ...]:
    if directory is None:
        raise InputError("a network by itself has no vocabulary: give tokenizer_from=DIRECTORY, one with its vocab.txt")
    tokenizer = Tokenizer.from_directory(directory)
    # A table may have a few rows more than words, where its publisher rounded it up.
    if not 0 <= model.config.vocab_size - tokenizer.vocab_size < _MOST_SPARE_ROWS:
        raise InputError(
            f"{tokenizer.vocab_file}: {tokenizer.vocab_size} words, but the model has vocab_size={model.config.vocab_size}; "
            "take the vocabulary that it was trained with"
        )
    if not tokenizer.lower_case:
        logger.warning(
            "%s: a cased vocabulary, but MediaPipe and the Task Library lower-case every text: split it on your own there",
            tokenizer.vocab_file,
        )
    return tuple(tokenizer.vocabulary)


def _order_tensors(graph, outputs: tuple[str, ...]) -> None:
    """Puts the graph's inputs and outputs into the order of the metadata, which names them by position."""
    signature = graph.signatureDefs[0]
    inputs = {entry.name.decode(): entry.tensorIndex for entry in signature.inputs}
    results = {entry.name.decode(): entry.tensorIndex for entry in signature.outputs}
    graph.subgraphs[0].inputs = [inputs[name] for name in INPUT_NAMES]
    graph.subgraphs[0].outputs = [results[name] for name in outputs]
