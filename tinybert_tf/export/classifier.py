"""Texts in, scores out, with the file alone: its vocabulary and labels are inside."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tinybert_tf.data import Tokenizer
from tinybert_tf.data.checks import as_list
from tinybert_tf.errors import InputError
from tinybert_tf.export.runtime import TFLiteModel
from tinybert_tf.export.writer.metadata import Metadata, read_metadata, vocabulary_of

Text = str | bytes


class TFLiteClassifier:
    """A classifier's or a regressor's file with the tokenizer of its training, made from the vocabulary inside.

    Attributes:
        labels: the classes, in the order of the scores; None for a regressor.
        seq_len: the longest text in word pieces, [CLS] and [SEP] included; longer texts are truncated as in training. None
            for a file with `text_input`, whose own tokenizer truncates them.

    Args:
        path: a file of `export_tflite`, one with `text_input` too.
        num_threads: of the runtime.

    Raises:
        InputError: not a TFLite file, a damaged one, or one that lacks metadata, vocabulary or a score for a whole text.

    Example:

    ```python
    classifier = tb.TFLiteClassifier("tinybert.tflite")
    classifier.predict(["a charming journey", "a dull one"])  # [[0.005, 0.995], [0.98, 0.02]]
    classifier.classify(["a charming journey"])  # ["positive"]
    ```
    """

    def __init__(self, path: str | Path, num_threads: int = 1):
        metadata = read_metadata(path)
        if len(metadata.outputs) != 1 or metadata.outputs[0] not in ("probability", "score"):
            raise InputError(f"{path}: returns {', '.join(metadata.outputs)}, not one score for each label of a text")
        self.path = Path(path)
        self.labels = metadata.labels
        self.seq_len = self._tokenizer = self._text_model = None
        if metadata.inputs[0] == "text":
            # TensorFlow's own interpreter is loaded only where it is needed.
            from tinybert_tf.export.writer.text_input import TFLiteTextModel

            self._text_model = TFLiteTextModel(path, num_threads)
            self._takes_pairs = len(metadata.inputs) == 2
            _check_scores(path, self._text_model.outputs, self.labels)
            return
        self._model = TFLiteModel(path, num_threads)
        _check_scores(path, self._model.outputs, self.labels)
        self.seq_len = self._model.seq_len
        self._tokenizer = file_tokenizer(path, metadata)

    def predict(self, texts: Text | Sequence[Text], text_pairs: Text | Sequence[Text] | None = None) -> np.ndarray:
        """Scores of each text, or of each pair.

        Args:
            texts: one or many; strings, or bytes in UTF-8.
            text_pairs: the second text of each pair, one for each text.

        Returns:
            float32 `[texts, labels]` probabilities, or `[texts, 1]` values of a regressor.

        Raises:
            InputError: something that is not text or not UTF-8, or unequal numbers of texts.
        """
        first = _utf8("texts", texts, "text")
        second = None if text_pairs is None else _utf8("text_pairs", text_pairs, "text pair")
        if second is not None and len(first) != len(second):
            raise InputError(f"{len(first)} texts, but {len(second)} text pairs; give each text its own")
        if not first:
            return np.zeros((0, len(self.labels) if self.labels else 1), np.float32)
        if self._text_model is not None:
            if self._takes_pairs != (second is not None):
                raise InputError(f"{self.path}: takes {'pairs of texts' if self._takes_pairs else 'single texts'}")
            return self._text_model.predict(first, second)
        features = self._tokenizer(first, second, seq_len=self.seq_len)
        return self._model.predict({name: value.numpy() for name, value in features.items()})

    def classify(self, texts: Text | Sequence[Text], text_pairs: Text | Sequence[Text] | None = None) -> list[str]:
        """The most likely label of each text, or of each pair."""
        if self.labels is None:
            raise InputError(f"{self.path}: a regressor has no labels; `predict` gives its values")
        return [self.labels[index] for index in self.predict(texts, text_pairs).argmax(axis=-1)]


def _check_scores(path: str | Path, outputs: Mapping[str, tuple[int, ...]], labels: Sequence[str] | None) -> None:
    """Refuses a file that does not return one score for each label of a text."""
    shape = next(iter(outputs.values()))
    if len(shape) != 2:
        raise InputError(
            f"{path}: returns scores of each token, not one for each label of a text; run it with TFLiteModel, "
            "which takes files without `text_input`"
        )
    if labels is not None and len(labels) != shape[1]:
        raise InputError(f"{path}: returns {shape[1]} scores, but has {len(labels)} labels; export it again")


def file_tokenizer(path: str | Path, metadata: Metadata) -> Tokenizer:
    """The tokenizer that a file's model was trained with.

    Args:
        path: the file, for messages.
        metadata: of the file.

    Raises:
        InputError: a file without a vocabulary.
    """
    if metadata.vocabulary is None:
        raise InputError(f"{path}: has no vocabulary; tflite/convert.py writes files that have one")
    return Tokenizer(vocabulary_of(str(path), metadata.vocabulary, metadata.settings))


def file_head(metadata: Metadata, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The head of the network in a file, a key of `writer.metadata.HEADS`. Files of earlier versions do not name it: it is told
    by their outputs.

    Args:
        metadata: of the file.
        shapes: of its outputs, by name; empty for a file with a tokenizer inside, which has one score for a text.
    """
    if metadata.head is not None:
        return metadata.head
    if "start_logits" in metadata.outputs:
        return "span"
    if metadata.labels is None:
        return "regression"
    return "token_classification" if any(len(shape) == 3 for shape in shapes.values()) else "classification"


def _utf8(parameter: str, texts: Text | Sequence[Text], kind: str) -> list[bytes]:
    texts = [texts] if isinstance(texts, str | bytes) else as_list(parameter, texts)
    encoded = []
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str | bytes):
            raise InputError(f"{kind} {number}: {type(text).__name__}, not a text")
        try:
            encoded.append(text.encode() if isinstance(text, str) else text.decode().encode())
        except UnicodeError as error:
            raise InputError(
                f"{kind} {number}: not UTF-8 ({error.reason} at byte {error.start}); decode it with its own encoding first"
            ) from None
    return encoded
