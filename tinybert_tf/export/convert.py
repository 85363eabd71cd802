"""From a model directory to a .tflite file that the stock runtimes load."""

import dataclasses
import logging
import operator
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tinybert_tf.bert import BertModel, BiLstmModel, whole_network
from tinybert_tf.checkpoints import load_model, resolve_directory
from tinybert_tf.checkpoints.huggingface import TokenizerSource, vocabulary_of
from tinybert_tf.checkpoints.load import read_checkpoint
from tinybert_tf.checkpoints.rounding import FILE_NAME as ROUNDING_FILE
from tinybert_tf.checkpoints.rounding import Rounding, read_rounding
from tinybert_tf.data import Tokenizer
from tinybert_tf.data.checks import as_list
from tinybert_tf.errors import InputError
from tinybert_tf.export.calibration import calibrated, even_inputs
from tinybert_tf.export.writer import flatbuffer, integrity, metadata
from tinybert_tf.export.writer.bilstm import BiLstmWriter
from tinybert_tf.export.writer.builder import ModelBuilder
from tinybert_tf.export.writer.calibration import spread
from tinybert_tf.export.writer.graph import OUTPUT_NAMES, NetworkWriter
from tinybert_tf.export.writer.quantization import QUANTIZE_MODES, Calibration, QuantizationMode
from tinybert_tf.export.writer.smoothing import smoothed
from tinybert_tf.export.writer.text_input import write_with_tokenizer
from tinybert_tf.export.writer.weights import VECTORS, FoldedBert, folded_weights
from tinybert_tf.files import atomic_write

logger = logging.getLogger(__name__)

_MOST_SPARE_ROWS = 64


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """The result of an export.

    Attributes:
        path: of the file.
        mb: size of the file, in millions of bytes.
        quantize: the mode, one of `QUANTIZE_MODES`.
        seq_len: the longest length; seq_lens: all lengths, descending.
        head: of the model.
        operators: how often each operator occurs in the graph of the longest length.
        calibrated: whether the weights were rounded for example texts; None of a BiLSTM, whose weights are always rounded to
            the nearest.
        static_layers: layers with static int8 attention (the product with the values may stay float32).
        task_api: which task API of MediaPipe or the Task Library takes the file.
    """

    path: str
    mb: float
    quantize: str
    seq_len: int
    seq_lens: tuple[int, ...]
    head: str
    operators: dict[str, int]
    calibrated: bool | None
    static_layers: int
    task_api: str


def export_tflite(
    model: BertModel | BiLstmModel | str | Path,
    output: str | Path,
    *,
    seq_len: int | Sequence[int] = 128,
    quantize: str = "none",
    tokenizer_from: TokenizerSource | None = None,
    calibration_texts: Sequence[str | tuple[str, str]] | None = None,
    text_input: str | None = None,
    output_vector: str | None = None,
) -> ExportReport:
    """Writes a model as TFLite, with vocabulary, labels and metadata inside.

    The file takes three int32 `[1, seq_len]` inputs, in this order: ids, mask, segment_ids (in the signature
    `serving_default`: input_word_ids, input_mask, input_type_ids). A classifier returns `probability` `[1, labels]`, a token
    classifier `probability` `[1, seq_len, labels]`, a regressor `score` `[1, 1]` (`probability` in the metadata, since the
    Task Library looks for that name), a span model `end_logits` and `start_logits` `[1, seq_len]`; all float32.

    Args:
        model: a model directory, or a network with a classification, token_classification, regression or span head; with
            `output_vector` any encoder.
        output: the .tflite file; replaced if it exists, unchanged if the export fails.
        seq_len: the fixed length, special tokens included. Of several lengths the longest is `serving_default`, and each
            shorter one N has a signature `seq_N`: weights are shared, and a short text costs little. MediaPipe's tasks load
            files of one length only.
        quantize: one of `QUANTIZE_MODES`.
        tokenizer_from: a directory with vocab.txt, a KerasHub preset, a `Tokenizer`, or its `spec`; by default the model's
            directory.
        calibration_texts: about 200 texts, or pairs of texts, like those that the file will see; 2,000 for a mode with four
            bits. Of more than that, evenly spaced ones are read. Integer weights are rounded so that the error of layers on
            them, or with four bits of the answers, is small; "int8" requires them, also for the ranges of its attention.
        text_input: "single" or "pair" puts the tokenizer into the file, which then takes `text`, or `text` and `text_pair`,
            strings `[1]`, and needs TensorFlow Text's operators; one length only.
        output_vector: "pooled", "mean" or "first_token" writes the encoder without its head, for search and for MediaPipe's
            TextEmbedder: the file returns `embedding` `[1, hidden_size]`, whose length is not 1.

    Returns:
        the report of the file that was written.

    Raises:
        InputError: a head without a TFLite form, a length that the model has no positions for, an unknown mode, no
            vocabulary, no texts to calibrate with, a weight that is NaN or infinite, a LoRA.

    Example:

    ```python
    report = tb.export_tflite("runs/student/model", "student.tflite", seq_len=64, quantize="dynamic")
    print(report.mb, report.task_api)
    ```
    """
    output = Path(output)
    check_output(output)
    lengths = sorted(checked_lengths(seq_len), reverse=True)
    calibration_texts = _checked_texts(calibration_texts)
    _check_form(quantize, text_input, lengths)
    if output_vector not in (None, *VECTORS):
        raise InputError(f"must be {', '.join(VECTORS)}", "output_vector", output_vector)
    rounding = None
    model = whole_network(model)
    if not isinstance(model, BertModel | BiLstmModel):
        if not isinstance(model, str | os.PathLike):
            kind = type(model).__name__
            raise InputError(f"is a {kind}; give a BertModel (of a Distiller its `student`) or a directory", "model")
        directory = resolve_directory(model, "--model_dir")
        tokenizer_from = tokenizer_from or directory
        model = _load_encoder(directory, output_vector) if output_vector else load_model(directory, strict_head=True)
        rounding = _trained_rounding(quantize, directory, model)
    head = output_vector or model.head
    _check_model(model, head, lengths, 3 if text_input == "pair" else 2)
    tokenizer = _read_tokenizer(tokenizer_from, model)
    if text_input and not _is_plain(tokenizer):
        raise InputError(
            "TensorFlow Lite has no operators for this tokenizer's added tokens, accents, truncation or normalization; "
            "convert without it and tokenize in the app",
            "text_input",
            text_input,
        )
    longest, mode = lengths[0], QUANTIZE_MODES[quantize]
    if isinstance(model, BiLstmModel):
        _check_bilstm(text_input, output_vector)
        return _finished(model, head, BiLstmWriter(model, mode), tokenizer, output, lengths, quantize)
    network = folded_weights(model, longest, head)
    if mode.static and not calibration_texts:
        raise InputError(
            "takes the ranges of its attention from example texts: give `calibration_texts`, or in a program `task` with "
            "`data_dir`, or `calibration_file`",
            parameter="quantize",
            value=quantize,
        )
    network, calibration = _calibrated(model, network, head, mode, rounding, calibration_texts, tokenizer, longest)
    writer = NetworkWriter(model.config, network, head, mode, longest, calibration)
    return _finished(model, head, writer, tokenizer, output, lengths, quantize, text_input, calibration)


def checked_lengths(seq_len: int | Iterable[int]) -> set[int]:
    """One length or several as a set of integers, also of NumPy's.

    Raises:
        InputError: something else.
    """
    try:
        several = isinstance(seq_len, Iterable) and not isinstance(seq_len, str | bytes)
        return {operator.index(length) for length in (seq_len if several else [seq_len])}
    except TypeError:
        raise InputError("must be an integer, or several", "seq_len", seq_len) from None


def _checked_texts(texts) -> list[str | tuple[str, str]] | None:
    """Example texts as a list.

    Raises:
        InputError: no list, or an entry that is neither a text nor a pair of texts.
    """
    if texts is None:
        return None
    texts = as_list("calibration_texts", texts, "texts or of pairs of texts")
    texts = [str(text) if isinstance(text, str) else text for text in texts]
    for number, text in enumerate(texts):
        is_pair = isinstance(text, tuple | list) and len(text) == 2 and all(isinstance(part, str) for part in text)
        if not isinstance(text, str) and not is_pair:
            raise InputError(f"[{number}] is neither a text nor a pair of texts", "calibration_texts", repr(text))
    return texts


def _calibrated(
    model: BertModel,
    network: FoldedBert,
    head: str,
    mode: QuantizationMode,
    rounding: Rounding | None,
    texts: Sequence[str | tuple[str, str]] | None,
    tokenizer: Tokenizer,
    seq_len: int,
) -> tuple[FoldedBert, Calibration | None]:
    """The network with even inputs, and what it computes on example texts; without texts, or a use for them, None."""
    scaling = rounding and rounding.scaling
    if not texts or not mode.integer_weights:
        return network if scaling is None else smoothed(network, scaling), None
    features = _example_features(texts, tokenizer, seq_len, mode.example_texts)
    if rounding is None:
        scaling = even_inputs(model, network, head, mode, features)
    # Weights that were trained for these integers stay as they are.
    has_integers = rounding is not None and QUANTIZE_MODES[rounding.mode].embeddings == mode.embeddings
    return calibrated(model, network, head, mode, features, scaling, has_integers)


def _trained_rounding(quantize: str, directory: Path, model: BertModel | BiLstmModel) -> Rounding | None:
    """The rounding of such a file that the weights were trained with, if any: with other factors of inputs they would be
    rounded again.
    """
    rounding = read_rounding(directory)
    if rounding is None or QUANTIZE_MODES[rounding.mode].weights != QUANTIZE_MODES[quantize].weights:
        return None
    if rounding.scaling is not None and isinstance(model, BertModel):
        width, sizes = model.config.hidden_size, {len(factors) for layer in rounding.scaling for factors in layer}
        if len(rounding.scaling) != model.config.num_hidden_layers or sizes != {width}:
            raise InputError(
                f"{directory / ROUNDING_FILE}: scaling is of {len(rounding.scaling)} layers with {sorted(sizes)} columns, the "
                f"model has {model.config.num_hidden_layers} with {width}; take the file that was written with these weights"
            )
    return rounding


def _finished(
    model: BertModel | BiLstmModel,
    head: str,
    writer: NetworkWriter | BiLstmWriter,
    tokenizer: Tokenizer,
    output: Path,
    lengths: Sequence[int],
    quantize: str,
    text_input: str | None = None,
    calibration: Calibration | None = None,
) -> ExportReport:
    """Writes the file."""
    longest, builder = lengths[0], ModelBuilder()
    if text_input:
        write_with_tokenizer(builder, writer, tokenizer, longest, pairs=text_input == "pair")
    else:
        for length in lengths:
            with builder.graph("serving_default" if length == longest else f"seq_{length}") as graph:
                writer.write(graph, length)
    file = builder.finish()
    content = _with_metadata(file, model, head, tokenizer, text_input)
    with atomic_write(output) as aside:
        aside.write_bytes(content)
    task_api = _task_api(head, text_input, lengths)
    logger.info("%s: %s", output, task_api)
    return ExportReport(
        path=str(output),
        mb=round(len(content) / 1e6, 3),
        quantize=quantize,
        seq_len=longest,
        seq_lens=tuple(lengths),
        head=head,
        operators=flatbuffer.operators(file),
        calibrated=None if isinstance(model, BiLstmModel) else calibration is not None,
        static_layers=len(calibration.attention) if calibration and QUANTIZE_MODES[quantize].static else 0,
        task_api=task_api,
    )


def _check_bilstm(text_input: str | None, output_vector: str | None) -> None:
    for name, value in (("text_input", text_input), ("output_vector", output_vector)):
        if value:
            raise InputError("is for a BERT, and the model is a BiLSTM", name, value)


def _task_api(head: str, text_input: str | None, lengths: Sequence[int]) -> str:
    if text_input:
        return "no task API takes it: run it with an interpreter that has TensorFlow Text's operators"
    if len(lengths) > 1:
        return "no task API takes a file of several lengths: run it by its signatures"
    return metadata.HEADS[head].task_api


def _with_metadata(
    file: flatbuffer.schema.ModelT, model: BertModel, head: str, tokenizer: Tokenizer, text_input: str | None
) -> bytes:
    """The complete file."""
    labels = _labels(model, head)
    inputs = {None: metadata.INPUT_NAMES, "single": ("text",), "pair": ("text", "text_pair")}[text_input]
    settings = metadata.tokenizer_settings(tokenizer.spec)
    metadata.add_description(file, head, labels=labels, inputs=inputs, settings=settings)
    integrity.reserve_seal(file)
    vocabulary = None if text_input else tokenizer.vocabulary
    return integrity.sealed(metadata.with_files(flatbuffer.pack(file), vocabulary, labels))


def _labels(model: BertModel, head: str) -> Sequence[str] | None:
    """Lines of labels.txt."""
    if head in ("classification", "token_classification"):
        return sorted(model.config.label2id, key=model.config.label2id.get)
    return metadata.REGRESSION_LABELS if head == "regression" else None


def _example_features(texts, tokenizer: Tokenizer, seq_len: int, most: int) -> dict[str, np.ndarray]:
    if len({isinstance(text, str) for text in texts}) > 1:
        raise InputError("mixes single texts and pairs of texts; give one kind", "calibration_texts")
    texts = spread(texts, most)
    if isinstance(texts[0], str):
        features = tokenizer(list(texts), seq_len=seq_len)
    else:
        first, second = zip(*texts, strict=True)
        features = tokenizer(list(first), list(second), seq_len=seq_len)
    return {name: value.numpy() for name, value in features.items()}


def _check_form(quantize: str, text_input: str | None, lengths: Sequence[int]) -> None:
    if quantize not in QUANTIZE_MODES:
        raise InputError(f"no such mode; there are {', '.join(QUANTIZE_MODES)}", parameter="quantize", value=quantize)
    if text_input not in (None, "single", "pair"):
        raise InputError("must be single or pair", parameter="text_input", value=text_input)
    if not lengths or (text_input and len(lengths) > 1):
        given = ",".join(map(str, lengths))
        raise InputError("must be one length; only files without `text_input` have several", "seq_len", given)


def _load_encoder(directory: Path, output_vector: str) -> BertModel:
    if output_vector == "pooled" and "bert.pooler.dense.weight" not in read_checkpoint(directory).tensors:
        raise InputError(f"{directory} has no pooler; take mean or first_token", "output_vector", output_vector)
    return load_model(directory, head="encoder")


def _check_model(model: BertModel, head: str, lengths: Sequence[int], least: int) -> None:
    if head not in OUTPUT_NAMES:
        raise InputError(
            f"a model with the head {head!r} has no output for a file: fine-tune it on a task, or give `output_vector` "
            f"({', '.join(VECTORS)})"
        )
    limit = model.config.max_position_embeddings
    for length in lengths:
        if not least <= length <= limit:
            tokens = "[CLS] and [SEP]" if least == 2 else "[CLS] and two [SEP]"
            message = f"must be between {least} ({tokens}) and the model's max_position_embeddings={limit}"
            raise InputError(message, parameter="seq_len", value=length)


def check_output(output: Path) -> None:
    """Raises InputError for a path at which no .tflite file can be written."""
    if output.suffix != ".tflite":
        raise InputError("must end in .tflite", parameter="output", value=output)
    if output.is_dir():
        raise InputError("is a directory; name a file in it", parameter="output", value=output)


def _is_plain(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer is what TensorFlow Text's FastBertTokenizer computes alone."""
    spec = tokenizer.spec
    return not spec.added and (spec.strip_accents, spec.truncation_side, spec.normalization) == (
        spec.lower_case,
        "right",
        "bert",
    )


def _read_tokenizer(source: TokenizerSource | None, model: BertModel) -> Tokenizer:
    if source is None:
        raise InputError(
            "a network by itself has no vocabulary: give `tokenizer_from=DIRECTORY`, one with its vocab.txt, or a Tokenizer"
        )
    tokenizer = Tokenizer(vocabulary_of(source))
    # Some publishers round the number of rows up, so a table may have a few more rows than words.
    if not 0 <= model.config.vocab_size - tokenizer.vocab_size < _MOST_SPARE_ROWS:
        raise InputError(
            f"{tokenizer.vocab_file}: {tokenizer.vocab_size} words, but the model has vocab_size={model.config.vocab_size}; "
            "take the vocabulary that it was trained with"
        )
    if not tokenizer.lower_case:
        logger.warning(
            "%s: a cased vocabulary, but MediaPipe and the Task Library lower-case every text: tokenize in the app",
            tokenizer.vocab_file,
        )
    if tokenizer.spec.added:
        logger.warning(
            "%s: %d added tokens (%s) that MediaPipe and the Task Library split: tokenize in the app, tflite/android/bert does",
            tokenizer.vocab_file,
            len(tokenizer.spec.added),
            ", ".join(token.content for token in tokenizer.spec.added[:5]),
        )
    if tokenizer.spec.truncation_side == "left":
        logger.warning(
            "%s: long texts lose their beginning, but in MediaPipe and the Task Library their end: tokenize in the app",
            tokenizer.vocab_file,
        )
    return tokenizer
