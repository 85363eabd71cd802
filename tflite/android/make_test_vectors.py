"""Writes test vectors for the tokenizers in Kotlin and JavaScript: hard texts and what the training code makes of them.

    python tflite/android/make_test_vectors.py FOLDER [--models FILE.tflite ...]

FOLDER gets made/ (the texts below, with a small made-up vocabulary), cased/, accents/ and stripped/ (the same, with case or
accents or neither kept), added/ (with words that are kept whole), characters/ (the characters of Unicode one by one) and,
where $TINYBERT_DATA or ../shared/data has bert-base-uncased's vocab.txt, a corpus, MRPC and SQuAD, real/ (5,000 lines and some
pairs and questions of them) and real_cut/ (the same with the vocabulary cut to 6,000 entries). Each holds vocab.txt,
settings.json (how texts are prepared) and

    texts.tsv       text => ids, where each piece begins, where it ends
    normalized.tsv  text => the text as the vocabulary spells it
    pairs.tsv       first text, second text, model's length => ids, mask, segment ids
    questions.tsv   question, context, model's length, stride => answer, its score, the score's margin above no answer

For each model file comes a folder model1/, model2/, ... with the file as model.tflite, texts.tsv of its own vocabulary, and

    labels.tsv      number => label
    signatures.tsv  number => key, length, names of inputs, names of outputs
    outputs.tsv     first text, second text (U+0000 for none) => values of the first output at the length that ran, from Python

Columns are divided by tabs. All that is not ASCII, tab and backslash included, is written as \\u and its UTF-16 in hexadecimal.
Begins and ends count UTF-16 units too, as Kotlin and JavaScript do. In place of a span model's logits are integers made of ids
and positions.
"""

import argparse
import itertools
import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from tinybert_tf.data import Tokenizer, load_task
from tinybert_tf.data.spans import SpanFeatures
from tinybert_tf.data.squad import SquadExample, read_squad
from tinybert_tf.data.tasks import get_task
from tinybert_tf.data.tokenizer import _prepared
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.squad import find_answers
from tinybert_tf.export import TFLiteModel, read_metadata
from tinybert_tf.export.classifier import file_tokenizer
from tinybert_tf.export.writer.metadata import tokenizer_settings
from tinybert_tf.files import atomic_write
from tinybert_tf.prune.texts import split_texts
from tinybert_tf.prune.vocabulary import choose_words, count_words
from tinybert_tf.vocabulary import SPECIAL_TOKENS, AddedToken, Vocabulary

_LETTERS = (
    "abcdefghijklmnopqrstuvwxyz0123456789\u00df\u0131\u03b1\u03b9\u03c1\u03c2\u03c3\u03c9\u0436"
    "\u1100\u1161\u11a8\u3042\u30ab"
)
VOCABULARY = (
    *SPECIAL_TOKENS,
    *_LETTERS,
    *(f"##{letter}" for letter in _LETTERS),
    *"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u3002\u201c\u20ac\u4e2d\u6587\U00020000\U0001f600",
    *"the film was good bad cafe naive strasse istanbul not un resume over under answer".split(),
    *"[URL] [USER] New York C++ desk".split(),
    *"##ly ##ing ##able ##ed ##word ##fi ##\u03bf\u03c3 \u03bb\u03bf\u03b3\u03bf\u03c3".split(),
)

TEXTS = (
    # Nothing, or nothing that counts.
    "",
    " ",
    "\t\n\r ",
    "\u00ad\u200b\u200d\ufeff",
    # Words, pieces, words that cannot be pieced together.
    "The film was badly good",
    "unwordable filming",
    "film\u00e9d \u00f8film film\u00f8 \u00f8",
    # Punctuation.
    "Good, bad: not (the) [film]!? \"un\" 'under-over'...",
    "$1,234.56 a+b=c <b> x^y~z `q` a_b {c|d} \\ @e #f 100%",
    "good\u2014bad \u201cgood\u201d \u00abbad\u00bb good\u2026bad \u00bfbad? good\u3002",
    "\u20ac5 \u00a35 5\u00b0 a\u00b7b a\u2022b \u00a75",
    "[CLS] the [MASK] film[SEP] [UNK] [PAD]",
    "##ly film ##ly a##ly",
    # Accents, composed and combining, several, at the beginning, on what is not in the vocabulary.
    "Caf\u00e9 cafe\u0301 CAF\u00c9 na\u00efve nai\u0308ve R\u00e9sum\u00e9",
    "e\u0301\u0302\u0323 \u0301a a\u0301",
    "\u01d6 \u1ea5 \u1e69 \u0149 \u00bd",
    # Case folding that is more than one letter to one letter.
    "Stra\u00dfe STRASSE \u1e9e \u00df",
    "\u0130stanbul Istanbul \u0131stanbul I\u0307stanbul \u0130 \u0131",
    "\u039b\u039f\u0393\u039f\u03a3 \u03bb\u03cc\u03b3\u03bf\u03c2 \u03a3\u03a3 \u1fb3 \u1fe4 \u0345",
    "\u0416 \u0436\u0416 \u0419",
    "\u01c5 \u01f1 \ufb01lm \ufb03 film\ufb01",
    # Forms that are written out: full width, circled, ligatures, fractions, units.
    "\uff26\uff29\uff2c\uff2d \uff46\uff49\uff4c\uff4d\uff01 \uff08\uff11\uff09",
    "\u2460 \u24d0 \u33a1 \u2122 \u00b2 \u2153 \u2162 \ufdfa \u2474 \u2100",
    "\U0001d41f\U0001d422\U0001d425\U0001d426 \u210c\u212b",
    # Spaces of all kinds.
    "good\u00a0bad\u2003good\u3000bad\u2028good\u1680bad\u00a8good",
    # Characters without a picture: joiners, soft hyphens, marks of direction, controls, variation selectors.
    "fi\u00adlm fi\u200dlm fi\u200blm\ufeff \u200efilm\u200f \u2060film",
    "go\u0000od go\u0007od good\u007fbad good\u0085bad good\u009fbad",
    "\u0600good \u06dd good\u061cbad \ufff9good\ufffb good\ufffdbad \ufffd",
    "\u2764\ufe0f \u0661\ufe00 \u180b\u180e \U000e0041film\U000e007f \U000e0100",
    # Chinese, Japanese, Korean.
    "\u4e2d\u6587\u4e2dfilm\u6587 \uf900 \U00020000\U00020001 \u3400",
    "\u3042\u3042\u30ab\u30ac \uff76\uff9e \u3007 \u3402\u3042",
    "\uac01 \u1100\u1161\u11a8 \uac00a \u3131 \u115f\u1160 \u3164 \uffa0",
    # Emoji, alone, in words, in sequences.
    "\U0001f600 good\U0001f600 \U0001f600bad \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f44d\U0001f3fd \U0001f1eb\U0001f1f7",
    # Other scripts.
    "\u0621\u0644\u0649 \u05d0\u05b8\u05d1 \u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22 \u13a0\u13f8\uab70",
    # Surrogates without their other half.
    "\ud83d",
    "good \ude00 bad",
    "go\ud800od \udc00\ud800 x",
    # The limit of 100 bytes, before and behind it, in letters of one, two and three bytes; accents do not count.
    "a" * 100,
    "a" * 101 + " b",
    "\u0436" * 50 + " " + "\u0436" * 51,
    "\u3042" * 33 + " " + "\u3042" * 34,
    "e\u0301" * 100 + " " + "e\u0301" * 101,
    "a" * 99 + "\u00df " + "a" * 98 + "\u00df",
    "good" * 26 + "," + "a" * 3000,
)

# Words that are kept whole; "New York" and "York" begin or end at one place, "C++" ends with no letter.
ADDED = (
    AddedToken("[URL]"),
    AddedToken("[USER]", single_word=True),
    AddedToken("New", normalized=True),
    AddedToken("York", normalized=True, single_word=True),
    AddedToken("C++", single_word=True),
    AddedToken("desk", normalized=True),
)
ADDED_TEXTS = (
    "[URL]",
    "see [URL] , [USER] : good",
    "good[URL]bad [USER]bad x[USER] [url] [User]",
    "new york NEW YORK Newyork york1 \u00e9york New\u00e9",
    "C++ xC++ C++x c++ C+++",
    "\U0001f600[URL]\U0001f600 Caf\u00e9 [URL][URL]",
    "the [UNK] film [SEP] [URL",
    "desk DESK de\u017fk des\u212a",  # the long s and the Kelvin sign are letters in another case
)

PAIRS = (
    ("The film was good", "not bad", 16),
    ("", "", 8),
    ("good", "", 8),
    ("", "bad", 8),
    ("the film was good", "bad", 7),
    ("bad", "the film was good", 7),
    ("the film was good", "not bad , un", 8),
    ("the film was good", "not bad , un", 9),
    ("Caf\u00e9!", "\u4e2d\u6587 \U0001f600", 3),
    ("the film", "was good", 5),
)


# (question, context, model's length, stride)
_CONTEXT = " ".join(
    f"The film was good , {word} , not bad ." for word in ("under", "over", "answer", "cafe", "un", "resume")
)
QUESTIONS = (
    ("The film?", "Good, \u201cnot\u201d bad!", 32, 128),
    ("the film was", _CONTEXT, 24, 128),
    ("the film was", _CONTEXT, 24, 3),
    ("was the film good " * 9, _CONTEXT, 20, 128),
    ("", "na\u00efve \U0001f600 Caf\u00c9\u2014Stra\u00dfe \ufb01lm", 16, 128),
)


def write(folder: Path, data: Path | None = None, models: Sequence[Path] = ()) -> None:
    """Writes all folders; real/ too if `data` is given."""
    made = make_tokenizer(folder / "made", VOCABULARY)
    put_texts(folder / "made", made, TEXTS)
    put(folder / "made", "pairs", pair_rows(made, PAIRS))
    # A context without a word has no answer.
    put(
        folder / "made",
        "questions",
        [*question_rows(made, QUESTIONS), ["film?", "\\u200b ", "32", "128", "=>", "", "", ""]],
    )
    for name, settings in {
        "cased": {"lower_case": False, "strip_accents": False},
        "accents": {"lower_case": True, "strip_accents": False},
        "stripped": {"lower_case": False, "strip_accents": True},
    }.items():
        texts = TEXTS if name == "cased" else whole_texts(TEXTS)
        put_texts(folder / name, make_tokenizer(folder / name, VOCABULARY, **settings), texts)
    for name, settings in {"added": {}, "added_cased": {"lower_case": False, "strip_accents": False}}.items():
        tokenizer = make_tokenizer(folder / name, VOCABULARY, added=ADDED, **settings)
        put(folder / name, "texts", text_rows(tokenizer, [*ADDED_TEXTS, *whole_texts(TEXTS)]))
        put(folder / name, "pairs", pair_rows(tokenizer, PAIRS))
    mediapipe = make_tokenizer(folder / "mediapipe", VOCABULARY, strip_accents=False, normalization="mediapipe")
    put(folder / "mediapipe", "texts", text_rows(mediapipe, whole_texts(TEXTS)))
    left = make_tokenizer(folder / "left", VOCABULARY, truncation_side="left")
    put(folder / "left", "pairs", pair_rows(left, PAIRS))
    words, texts = characters()
    put_texts(folder / "characters", make_tokenizer(folder / "characters", words), texts)
    if data is not None:
        write_real(folder / "real", data)
        write_real(folder / "real_cut", data, vocab_size=6000)
    for number, path in enumerate(models, 1):
        write_model(folder / f"model{number}", path)


def write_model(folder: Path, path: Path) -> None:
    """Vectors of a model file, the file included."""
    metadata, model = read_metadata(path), TFLiteModel(path)
    tokenizer = file_tokenizer(path, metadata)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / "model.tflite")
    texts = [*ADDED_TEXTS, *whole_texts(TEXTS)]
    put(folder, "texts", text_rows(tokenizer, texts))
    put(folder, "labels", [[str(number), "=>", escaped(label)] for number, label in enumerate(metadata.labels or ())])
    names = "input_word_ids input_mask input_type_ids"
    outputs = " ".join(model.outputs)
    keys = [*(f"seq_{length}" for length in model.seq_lens[:-1]), "serving_default"]
    rows = enumerate(zip(keys, model.seq_lens, strict=True))
    put(folder, "signatures", [[str(n), "=>", key, str(length), names, outputs] for n, (key, length) in rows])
    put(folder, "outputs", list(output_rows(tokenizer, model, texts)))


def output_rows(tokenizer: Tokenizer, model: TFLiteModel, texts: Sequence[str]) -> Iterable[list[str]]:
    """What the shortest length that holds a text gives, without the padding that `TFLiteModel.predict` adds."""
    name = next(iter(model.outputs))
    for number, text in enumerate(texts):
        second = texts[number - 1] if number % 3 == 1 and number > 1 else None
        features = tokenizer([text], None if second is None else [second], model.seq_len)
        tokens = int(features["input_mask"].numpy().sum())
        length = next(length for length in model.seq_lens if length >= tokens)
        values = model.run({key: value.numpy()[:, :length] for key, value in features.items()})[name]
        columns = [escaped(text), "\\u0000" if second is None else escaped(second), "=>"]
        yield [*columns, " ".join(f"{value:.5f}" for value in values.ravel())]


def whole_texts(texts: Iterable[str]) -> list[str]:
    """Those without half a surrogate pair, which no valid UTF-8 can hold."""
    return [text for text in texts if not any("\ud800" <= character <= "\udfff" for character in text)]


def put_texts(folder: Path, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
    put(folder, "texts", text_rows(tokenizer, texts))
    whole = whole_texts(texts)
    put(
        folder,
        "normalized",
        [[escaped(t), "=>", escaped(n)] for t, n in zip(whole, normalized(tokenizer, whole), strict=True)],
    )


def normalized(tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """Texts as the vocabulary spells them."""
    spec = tokenizer.spec
    if spec.lower_case != spec.strip_accents:
        texts, *_ = _prepared(tf.constant(list(texts)), spec.lower_case)
    normalizer = tf_text.FastBertNormalizer(lower_case_nfd_strip_accents=spec.lower_case and spec.strip_accents)
    return [text.decode() for text in tf.strings.regex_replace(normalizer.normalize(texts), r"\p{Z}", " ").numpy()]


def write_real(folder: Path, data: Path, vocab_size: int | None = None) -> None:
    """Vectors of real text.

    Args:
        folder: for the vectors.
        data: with bert-base-uncased's vocabulary, a corpus, MRPC and SQuAD.
        vocab_size: cut the vocabulary to the entries that MRPC's training set needs most, as bin/prune.py does.
    """
    words = (data / "vocab.txt").read_text(encoding="utf-8").splitlines()
    real = make_tokenizer(folder, words)
    if vocab_size is not None:
        texts = (text for pair in split_texts(load_task("mrpc", data / "glue").train) for text in pair)
        counts = count_words(texts, real)
        real = make_tokenizer(folder, [words[number] for number in choose_words(words, counts, vocab_size)])
    with open(data / "corpus" / "wiki_sample_20mb.txt", encoding="utf-8") as corpus:
        lines = [line.rstrip("\n") for line in corpus if line.strip()]
    # Half of them with something beyond ASCII in them, which one line in five has.
    ascii_lines, others = ([line for line in lines if line.isascii() == plain] for plain in (True, False))
    put_texts(folder, real, ascii_lines[:2500] + others[:2500])
    with open(data / "glue" / "MRPC" / "dev.tsv", encoding="utf-8-sig") as rows:
        pairs = [row.rstrip("\n").split("\t")[3:] for row in itertools.islice(rows, 1, 100)]
    put(folder, "pairs", pair_rows(real, [(first, second, 48) for first, second in pairs]))
    asked = read_squad(data / "squad" / "dev-v1.1.json", get_task("squad1"))[::500]
    put(folder, "questions", question_rows(real, [(row.question, row.context, 128, 64) for row in asked]))


def characters() -> tuple[tuple[str, ...], list[str]]:
    """(vocabulary, texts): every character in and out of a word, and a vocabulary that tells apart what becomes of them.

    The Unicode tables of JVMs differ by their age, so these are the characters of Unicode 3.2 and the emoji; U+1734,
    a mark that Unicode 14 declared to be spacing, is left out. So are most ideographs and Hangul.
    """
    alike = itertools.chain(
        range(0x3400, 0x4DB6), range(0x4E00, 0x9FA6), range(0xAC00, 0xD7A4), range(0x20000, 0x2A6D7)
    )
    skipped = {0x1734, *(code for code in alike if code % 50)}
    emoji = range(0x1F300, 0x1F650)
    known = unicodedata.ucd_3_2_0.category
    found = [chr(code) for code in range(0x110000) if code in emoji or known(chr(code)) not in ("Cn", "Co", "Cs")]
    found = [character for character in found if ord(character) not in skipped]
    folded = tf_text.FastBertNormalizer(lower_case_nfd_strip_accents=True).normalize(found).numpy()
    results = sorted(
        {character for text in folded for character in text.decode() if not character.isspace()} - set("ab")
    )
    words = (*SPECIAL_TOKENS, "a", "b", "##a", "##b", *results, *(f"##{character}" for character in results))
    texts = [" ".join(f"a{c}b {c}" for c in found[first : first + 20]) for first in range(0, len(found), 20)]
    return words, texts


def text_rows(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[str]]:
    encoded = [utf8(text) for text in texts]
    rows = []
    for text, data, ids, begins, ends in zip(
        texts, encoded, *(part.to_list() for part in tokenizer.tokenize_with_offsets(encoded)), strict=True
    ):
        offsets = utf16_offsets(data)
        rows.append([escaped(text), "=>", *map(numbers, (ids, offsets[begins], offsets[ends]))])
    return rows


def pair_rows(tokenizer: Tokenizer, pairs: Iterable[tuple[str, str, int]]) -> list[list[str]]:
    rows = []
    for first, second, length in pairs:
        features = tokenizer([first], [second], length)
        inputs = (features[name][0].numpy() for name in ("input_word_ids", "input_mask", "input_type_ids"))
        rows.append([escaped(first), escaped(second), str(length), "=>", *map(numbers, inputs)])
    return rows


def question_rows(tokenizer: Tokenizer, questions: Iterable[tuple[str, str, int, int]]) -> list[list[str]]:
    rows = []
    for question, context, length, stride in questions:
        features = SpanFeatures([SquadExample("asked", question, context, None)], tokenizer, length, doc_stride=stride)
        prediction = find_answers(features, _scrambled(features, length))["asked"]
        best = prediction.candidates[0]
        answer = [escaped(best.text), f"{best.score:.0f}", f"{best.score - prediction.null.score:.0f}"]
        rows.append([escaped(question), escaped(context), str(length), str(stride), "=>", *answer])
    return rows


def _scrambled(features: SpanFeatures, length: int) -> list[np.ndarray]:
    """Stand-ins for the logits of each window, [tokens, 2], in the order of the windows."""
    logits: dict[int, np.ndarray] = {}
    for window, _, _, number in features.batches(batch_size=1, buckets=(length,), row_numbers=True).as_numpy_iterator():
        logits[int(number[0])] = scramble(window["input_word_ids"][window["input_mask"] == 1])
    return [logits[index] for index in range(len(features.lengths))]


def scramble(ids: np.ndarray) -> np.ndarray:
    """In place of a network: ids [length] -> start and end logits [length, 2]; the same as in CheckVectors.kt."""
    positions = np.arange(len(ids))
    return np.stack([(ids * a + positions * b) % 65521 for a, b in ((7919, 10007), (6007, 12007))], -1).astype(
        np.float32
    )


def unescaped(text: str) -> str:
    units = re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), text)
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def escaped(text: str) -> str:
    units = memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")
    return "".join(chr(unit) if 0x20 <= unit < 0x7F and unit != 0x5C else f"\\u{unit:04x}" for unit in units)


def utf8(text: str) -> bytes:
    """UTF-8, also of a text with half a surrogate pair, which no valid UTF-8 can say."""
    return text.encode("utf-8", "surrogatepass")


def utf16_offsets(text: bytes) -> np.ndarray:
    """For each offset in UTF-8 bytes at which a character begins, and for the end, the offset in UTF-16 units."""
    data = np.frombuffer(text, np.uint8)
    units = np.where(data >= 0xF0, 2, (data & 0xC0) != 0x80)
    return np.append(0, np.cumsum(units))


def numbers(column: Iterable[int]) -> str:
    return " ".join(map(str, column))


def make_tokenizer(folder: Path, words: Iterable[str], lower_case: bool = True, **settings) -> Tokenizer:
    """A tokenizer over `words`, and its files in `folder`; further settings are those of `Vocabulary`."""
    folder.mkdir(parents=True, exist_ok=True)
    settings.setdefault("strip_accents", lower_case)
    vocabulary = Vocabulary(str(folder / "vocab.txt"), tuple(words), lower_case, **settings)
    vocabulary.write(folder)
    (folder / "settings.json").write_text(json.dumps(tokenizer_settings(vocabulary)), encoding="ascii")
    return Tokenizer(vocabulary)


def put(folder: Path, name: str, rows: Iterable[Sequence[str]]) -> None:
    _write_lines(folder / f"{name}.tsv", map("\t".join, rows))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with atomic_write(path) as aside:
        aside.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the test vectors of the Kotlin and JavaScript tokenizers.")
    parser.add_argument("folder", type=Path, help="where the vectors are written")
    parser.add_argument("--models", type=Path, nargs="*", default=[], help=".tflite files of tflite/convert.py")
    arguments = parser.parse_args()
    data = Path(os.environ.get("TINYBERT_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    try:
        for path in arguments.models:  # before minutes of real texts
            TFLiteModel(path)
        write(arguments.folder, data if (data / "vocab.txt").is_file() else None, arguments.models)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"wrote {arguments.folder}")


if __name__ == "__main__":
    main()
