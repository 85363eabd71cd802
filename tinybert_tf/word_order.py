"""MPNet's order of words and BERT's.

MPNet keeps BERT's words, but in other rows: its own special tokens `<s>`, `<pad>`, `</s>` and `<unk>` come first, then BERT's
words (with a [CLS], [SEP], [PAD] and [MASK] that it never uses), and `<mask>` is last. A network of this library has BERT's
rows whatever its family, so that a teacher and a student read the same ids; the files have the family's.
"""

from collections.abc import Sequence

from tinybert_tf.errors import InputError

# Their names in tokenizer_config.json.
MPNET_SPECIAL_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
    "unk_token": "[UNK]",
}
_MPNET_NAMES = {"[CLS]": "<s>", "[PAD]": "<pad>", "[SEP]": "</s>", "[UNK]": "<unk>", "[MASK]": "<mask>"}
_BERT_NAMES = {own: bert for bert, own in _MPNET_NAMES.items()}


def is_mpnet_order(words: Sequence[str]) -> bool:
    """Whether the words of a file have MPNet's special tokens among them."""
    return _BERT_NAMES.keys() - {"<unk>"} <= set(words)


def bert_order(words: Sequence[str]) -> tuple[list[str], list[int]]:
    """The words of a file under BERT's names and in BERT's order, and the row of the file that each has.

    >>> bert_order(["<s>", "<pad>", "</s>", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "<mask>"])
    (['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'the'], [1, 4, 0, 2, 9, 8])
    >>> bert_order(["[PAD]", "[UNK]", "the"])  # BERT's own
    (['[PAD]', '[UNK]', 'the'], [0, 1, 2])
    """
    if not is_mpnet_order(words):
        return list(words), list(range(len(words)))
    own = {word: row for row, word in enumerate(words) if word in _BERT_NAMES}
    present = set(words)
    ordered, rows = [], []
    for row, word in enumerate(words):
        name = _BERT_NAMES.get(word, word)
        if name != word and name in present:
            continue  # it has the row of BERT's name
        ordered.append(name)
        # MPNet's unknown word is the one of BERT's name.
        rows.append(row if word == "[UNK]" else own.get(_MPNET_NAMES.get(word), row))
    return ordered, rows


def mpnet_order(words: Sequence[str]) -> tuple[list[str], list[int]]:
    """The inverse of `bert_order`: MPNet's file for words in BERT's order, and the row of `words` that each of its rows has.

    >>> mpnet_order(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the"])[1]
    [2, 0, 3, 1, 0, 1, 2, 3, 4, 5, 4]

    Raises:
        InputError: a word has the name of one of MPNet's special tokens.
    """
    if taken := [word for word in _BERT_NAMES if word in set(words)]:
        raise InputError(f"the vocabulary has the words {', '.join(taken)}, which MPNet needs for itself; rename them")
    first = [words.index(_BERT_NAMES[own]) for own in ("<s>", "<pad>", "</s>", "<unk>")]
    ordered = ["<s>", "<pad>", "</s>", "<unk>", *words, "<mask>"]
    return ordered, [*first, *range(len(words)), words.index("[MASK]")]
