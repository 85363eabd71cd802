"""Algorithm 1 for Python users: a split in, an augmented split out."""

from pathlib import Path

from tinybert_tf.augmentation.algorithm import Augmentation, Augmenter, row_hash, words_for_vectors
from tinybert_tf.augmentation.masked_lm import MaskedLM
from tinybert_tf.augmentation.parts import PART_ROWS
from tinybert_tf.augmentation.word_vectors import WordVectors
from tinybert_tf.augmentation.workers import Progress
from tinybert_tf.bert import BertModel
from tinybert_tf.checkpoints import load_model, resolve_directory
from tinybert_tf.data.split import Example, Split, TaskData
from tinybert_tf.data.tokenizer import Tokenizer
from tinybert_tf.errors import InputError


def augment(
    data: Split | TaskData,
    masked_lm: str | Path | BertModel | None,
    word_vectors: str | Path | WordVectors | None,
    *,
    tokenizer: Tokenizer | None = None,
    seq_len: int | None = None,
    batch_size: int = 64,
    **settings,
) -> Split:
    """A split with its augmented copies (the paper's Algorithm 1), held in memory; `bin/augment.py` writes files.

    ```python
    augmented = tb.augment(tb.load_task("sst2", "glue").train, "runs/masked_lm", "glove.6B.300d.txt", copies=20, seed=0)
    ```

    Args:
        data: a split, or a task, whose training set is meant.
        masked_lm: a model directory, or a `BertModel` with the head "masked_lm"; None: every candidate from word vectors.
        word_vectors: a GloVe or word2vec text file, or `WordVectors`; None: every candidate from the masked LM.
        tokenizer: the model's, where `masked_lm` is a model and no directory.
        seq_len, batch_size: see `MaskedLM`.
        settings: the fields of `Augmentation`: `copies`, `replace_probability`, `candidates`, `seed`, ...

    Returns:
        All original rows, then the copies, row by row, numbered anew.

    Raises:
        InputError: bad settings, files or rows.
    """
    algorithm = Augmentation(**settings)
    split = data.train if isinstance(data, TaskData) else data
    rows = list(split)
    if not all(isinstance(row, Example) for row in rows):
        raise InputError(f"{split.source}: rows of questions; bin/augment.py augments SQuAD, into files")
    rows = [row._replace(index=index) for index, row in enumerate(rows)]
    if masked_lm is not None:
        model, tokenizer = _open(masked_lm, tokenizer)
        masked_lm = MaskedLM(
            model,
            tokenizer,
            candidates=algorithm.candidates,
            same_word=algorithm.same_word,
            batch_size=batch_size,
            seq_len=seq_len,
        )
    neighbours = None
    if word_vectors is not None:
        vectors = word_vectors if isinstance(word_vectors, WordVectors) else WordVectors.read(word_vectors)
        texts = [text for row in rows for text in (row.text, row.text_pair) if text]
        words = words_for_vectors(texts, tokenizer if masked_lm else None, algorithm)
        neighbours = vectors.neighbours(words, algorithm.candidates, same_word=algorithm.same_word)
    originals = frozenset(row_hash(row.text, row.text_pair) for row in rows)
    augmenter, progress = Augmenter(algorithm, masked_lm, neighbours, originals), Progress(len(rows))
    augmented: list[Example] = list(rows)
    for start in range(0, len(rows), PART_ROWS):
        block = rows[start : start + PART_ROWS]
        augmented += augmenter(block).copies
        progress.add(len(block))
    augmented = [row._replace(index=index) for index, row in enumerate(augmented)]
    return Split(split.name, f"{split.source}, augmented", lambda: iter(augmented))


def _open(masked_lm: str | Path | BertModel, tokenizer: Tokenizer | None) -> tuple[BertModel, Tokenizer]:
    if isinstance(masked_lm, BertModel):
        if tokenizer is None:
            raise InputError("masked_lm is a model: give its tokenizer too, or its directory instead")
        return masked_lm, tokenizer
    directory = resolve_directory(masked_lm, "masked_lm")
    model = load_model(directory, head="masked_lm", strict_head=True)
    return model, tokenizer or Tokenizer.from_directory(directory)
