"""Reads the vocabulary of a model directory from any of Hugging Face's tokenizer files."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json_object
from tinybert_tf.vocabulary import SETTINGS_FILE, SPECIAL_TOKENS, VOCABULARY_FILE, AddedToken, Vocabulary
from tinybert_tf.word_order import MPNET_SPECIAL_TOKENS, bert_order, is_mpnet_order

FAST_FILE = "tokenizer.json"
# Up to one capitalized word in this many may be a replaced entry; in a cased vocabulary every third word is capitalized.
_WORDS_PER_STRAY_CAPITAL = 1000
_KERAS_WORDS = "assets/tokenizer/vocabulary.txt"
# Fixed behavior of this tokenizer, under the names of tokenizer_config.json and of tokenizer.json's BertNormalizer.
_FIXED = {
    "tokenize_chinese_chars": True,
    "do_basic_tokenize": True,
    "handle_chinese_chars": True,
    "clean_text": True,
    "word_tokenizer_type": "basic",  # these two: of BertJapaneseTokenizer
    "subword_tokenizer_type": "wordpiece",
    "wordpieces_prefix": "##",
    "max_input_chars_per_word": 100,
}
# Classes of transformers that split texts as BERT's tokenizer does, without "Tokenizer" and "Fast".
_SAME_CLASSES = (
    *("Bert", "DistilBert", "Electra", "MPNet", "MobileBert", "ConvBert", "SqueezeBert", "RetriBert", "LayoutLM"),
    *("PreTrained", "TokenizersBackend"),
)
_SWITCHES = ("do_lower_case", "strip_accents")

logger = logging.getLogger(__name__)


def read_vocabulary(path: str | Path, lower_case: bool | None = None) -> Vocabulary:
    """A vocabulary from a file with one word a line.

    Args:
        path: the file.
        lower_case: whether texts are lower-cased and lose their accents; None: unless the words have capital letters.

    Raises:
        InputError: the file is missing, empty, not UTF-8, has a word twice, or lacks a special token.
    """
    path = Path(path)
    words = _lines(path)
    if lower_case is None:
        lower_case = _is_lower_case(path, words)
    return _checked(_in_bert_order(Vocabulary(str(path), tuple(words), lower_case, lower_case)))


def _lines(path: Path) -> list[str]:
    try:
        words = path.read_bytes().decode("utf-8-sig").split("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such vocabulary; put the model's vocab.txt into the directory") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    words = [word.removesuffix("\r") for word in words]
    if words and not words[-1]:
        words.pop()
    return words


def _in_bert_order(vocabulary: Vocabulary) -> Vocabulary:
    """A vocabulary in the order of its files -> in BERT's."""
    if not is_mpnet_order(vocabulary.words):
        return vocabulary
    words = tuple(bert_order(vocabulary.words)[0])
    added = tuple(token for token in vocabulary.added if token.content in set(words) - set(SPECIAL_TOKENS))
    return dataclasses.replace(vocabulary, words=words, added=added, file_words=vocabulary.words)


def open_vocabulary(directory: str | Path) -> Vocabulary:
    """The vocabulary of a model directory.

    The words are those of vocab.txt or, without one, of a WordPiece tokenizer.json or of a KerasHub preset; after them
    come the entries of added_tokens.json, `added_tokens_decoder` (tokenizer_config.json) and tokenizer.json.
    tokenizer_config.json or else tokenizer.json says whether texts are lower-cased. If neither does, a vocabulary with
    capital letters is cased, which is logged.

    Raises:
        InputError: no vocabulary, one that is not WordPiece (by its name), a setting that this tokenizer does not support,
            or added tokens whose ids contradict the words.
    """
    directory = Path(directory)
    settings, named = (_optional(directory / name) for name in (SETTINGS_FILE, "special_tokens_map.json"))
    path, fast = directory / VOCABULARY_FILE, {}
    if (directory / FAST_FILE).is_file():
        fast = read_json_object(directory / FAST_FILE)
    if _is_keras(fast):
        words, lower_case = _lines(directory / _KERAS_WORDS), bool(fast["config"].get("lowercase"))
        return _checked(Vocabulary(str(directory / _KERAS_WORDS), tuple(words), lower_case, lower_case))
    normalizer = _normalizer(fast)
    _refuse_other_settings(directory, settings, normalizer)
    if path.is_file():
        words = _lines(path)
        if "model" in fast:
            _check_same_words(path, words, directory / FAST_FILE, _words_of_fast(directory / FAST_FILE, fast))
        lower_case = settings.get("do_lower_case", normalizer.get("lowercase"))
        lower_case = _is_lower_case(path, words) if lower_case is None else bool(lower_case)
        vocabulary = Vocabulary(str(path), tuple(words), lower_case)
    elif fast:
        words = _words_of_fast(directory / FAST_FILE, fast)
        lower_case = settings.get("do_lower_case", normalizer.get("lowercase"))
        vocabulary = Vocabulary(str(directory / FAST_FILE), tuple(words), bool(lower_case))
    else:
        raise InputError(f"{path}: no such vocabulary; put the model's vocab.txt or tokenizer.json into the directory")
    _check_special_tokens(directory, vocabulary.words, settings, named)
    strip = settings.get("strip_accents", normalizer.get("strip_accents"))
    words, added = _with_added(directory, list(vocabulary.words), settings, named, fast)
    vocabulary = dataclasses.replace(
        vocabulary,
        words=tuple(words),
        strip_accents=vocabulary.lower_case if strip is None else bool(strip),
        added=tuple(added),
        truncation_side="left" if settings.get("truncation_side") == "left" else "right",
    )
    if "normalization" in settings:
        vocabulary = vocabulary.with_normalization(settings["normalization"])
    return _checked(_in_bert_order(vocabulary))


def has_vocabulary(directory: str | Path) -> bool:
    """Whether a directory has a vocab.txt, or a tokenizer.json of the `tokenizers` library or of KerasHub's BERT."""
    directory = Path(directory)
    if (directory / VOCABULARY_FILE).is_file():
        return True
    fast = _optional(directory / FAST_FILE)
    return "model" in fast or _is_keras(fast)


def _is_keras(fast: Mapping[str, Any]) -> bool:
    """Whether a tokenizer.json is KerasHub's, whose words are in a file of their own."""
    return fast.get("class_name") == "BertTokenizer" and isinstance(fast.get("config"), dict)


def _optional(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.is_file() else {}


def _is_lower_case(path: Path, words: list[str]) -> bool:
    capitals = [word for word in words if word != word.lower() and not (word.startswith("[") and word.endswith("]"))]
    if len(capitals) * _WORDS_PER_STRAY_CAPITAL <= len(words):
        return True
    logger.info(
        "%s: case is kept, since %d of its %d words have capital letters (%s) and no tokenizer_config.json says otherwise",
        path, len(capitals), len(words), ", ".join(capitals[:3]),
    )  # fmt: skip
    return False


def _normalizer(fast: dict[str, Any]) -> dict[str, Any]:
    """The settings of a tokenizer.json's normalizer, under BertNormalizer's names."""
    if "model" not in fast:
        return {}
    normalizer = fast.get("normalizer") or {}
    steps = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, dict) else []
    found: dict[str, Any] = {"lowercase": False}
    for step in filter(None, steps):
        kind = step.get("type") if isinstance(step, dict) else None
        if kind == "BertNormalizer":
            found |= {name: value for name, value in step.items() if name != "type"}
        elif kind in ("Lowercase", "StripAccents"):
            found["lowercase" if kind == "Lowercase" else "strip_accents"] = True
        elif kind != "NFD":  # a part of removing accents
            found["normalizer"] = kind
    return found


def _words_of_fast(path: Path, fast: dict[str, Any]) -> list[str]:
    """The words of a tokenizer.json of the `tokenizers` library, in the order of their ids."""
    model = fast.get("model")
    if not isinstance(model, dict):
        raise InputError(
            f'{path}: has no "model", so it is not a file of the tokenizers library; put the vocab.txt beside it'
        )
    kind = model.get("type", "WordPiece" if "continuing_subword_prefix" in model else "no type")
    ids = model.get("vocab")
    if kind != "WordPiece" or not isinstance(ids, dict):
        raise InputError(f"{path}: a {kind} tokenizer; a BERT has WordPiece: take a model with such a vocabulary")
    for name, value in (("continuing_subword_prefix", "##"), ("max_input_chars_per_word", 100)):
        if model.get(name, value) != value:
            raise InputError(f"{path}: {name}={model[name]!r}; only {value!r} is supported")
    splitter = fast.get("pre_tokenizer")
    if not isinstance(splitter, dict) or splitter.get("type") != "BertPreTokenizer":
        kind = splitter.get("type") if isinstance(splitter, dict) else splitter
        raise InputError(f"{path}: pre_tokenizer {kind}; only BertPreTokenizer is supported")
    words = sorted(ids, key=lambda word: ids[word] if isinstance(ids[word], int) else -1)
    if [ids[word] for word in words] != list(range(len(words))):
        raise InputError(f"{path}: the ids of its {len(words)} words are not 0 to {len(words) - 1}")
    if any("\n" in word for word in words):
        raise InputError(f"{path}: a word with a line break in it, which vocab.txt cannot hold")
    return words


def _check_same_words(path: Path, words: list[str], fast_path: Path, fast_words: list[str]) -> None:
    """Raises InputError where vocab.txt and tokenizer.json give an id to two words."""
    for number, (word, fast_word) in enumerate(zip(words, fast_words, strict=False)):
        if word != fast_word:
            raise InputError(
                f"{path} and {fast_path.name} contradict each other: word {number} is {word!r} in one and {fast_word!r} in the "
                "other; keep the file that belongs to the weights"
            )


def _refuse_other_settings(directory: Path, settings: dict[str, Any], normalizer: dict[str, Any]) -> None:
    """Raises InputError for a tokenizer that splits texts in another way, by the name of the setting.

    Args:
        directory: for messages.
        settings: of tokenizer_config.json.
        normalizer: of tokenizer.json, see `_normalizer`.
    """
    kind = settings.get("tokenizer_class")
    if isinstance(kind, str) and kind.removesuffix("Fast").removesuffix("Tokenizer") not in _SAME_CLASSES:
        raise InputError(
            f"{directory}: its tokenizer is a {kind}, not BERT's WordPiece; take a model with that, or write BertTokenizer "
            f"into {SETTINGS_FILE} if it splits texts in the same way"
        )
    for name in _SWITCHES:
        if not isinstance(settings.get(name), bool | int | None):
            raise InputError(f"{directory / SETTINGS_FILE}: {name}={settings[name]!r}: must be true or false")
    settings = settings | normalizer
    for name, value in _FIXED.items():
        if settings.get(name) is not None and settings[name] != value:
            raise InputError(f"{directory}: its tokenizer has {name}={settings[name]}; only {value} is supported")
    for name in ("never_split", "normalizer"):
        if settings.get(name):
            raise InputError(f"{directory}: its tokenizer has {name}={settings[name]}, which is not supported")


def _check_special_tokens(
    directory: Path, words: Iterable[str], settings: dict[str, Any], named: dict[str, Any]
) -> None:
    """Raises InputError where another word has the part of one of the five special tokens."""
    words = tuple(words)
    for token in SPECIAL_TOKENS:
        role = f"{token[1:-1].lower()}_token"
        entry = named.get(role) or settings.get(role)
        given = entry.get("content") if isinstance(entry, dict) else entry
        expected = MPNET_SPECIAL_TOKENS[role] if is_mpnet_order(words) else token
        if isinstance(given, str) and given != expected:
            raise InputError(f"{directory}: its tokenizer has {role}={given!r}; only {expected!r} is supported")


def _with_added(
    directory: Path, words: list[str], settings: dict[str, Any], named: dict[str, Any], fast: dict[str, Any]
) -> tuple[list[str], list[AddedToken]]:
    """The words followed by the added ones, and the entries that are never split."""
    found: dict[str, tuple[int | None, AddedToken]] = {}
    for content, index in _optional(directory / "added_tokens.json").items():
        if not str(index).isdecimal():
            raise InputError(f"{directory / 'added_tokens.json'}: the id of {content!r} is {index!r}, not an integer")
        found[content] = int(index), AddedToken(content, normalized=True)
    decoder = settings.get("added_tokens_decoder") or {}
    entries: Iterable[tuple[Any, Any]] = decoder.items() if isinstance(decoder, dict) else ()
    listed = fast.get("added_tokens") or []
    for index, entry in (*entries, *((entry.get("id"), entry) for entry in listed if isinstance(entry, dict))):
        if isinstance(entry, dict) and isinstance(entry.get("content"), str):
            token = AddedToken(entry["content"], bool(entry.get("normalized")), bool(entry.get("single_word")))
            found[token.content] = int(index) if str(index).isdecimal() else None, token
    for name in ("additional_special_tokens", "extra_special_tokens"):
        for entry in _as_list(settings.get(name)) + _as_list(named.get(name)):
            content = entry.get("content") if isinstance(entry, dict) else entry
            if isinstance(content, str):
                index = found[content][0] if content in found else None
                found[content] = index, AddedToken(content)
    ids = {word: index for index, word in enumerate(words)}
    added = []
    for content, (index, token) in sorted(found.items(), key=lambda item: (item[1][0] is None, item[1][0] or 0)):
        if not content or "\n" in content:
            raise InputError(f"{directory}: the added token {content!r} is empty or has a line break in it")
        index = ids.get(content, len(words)) if index is None else index
        if ids.get(content, len(words)) != index:
            found = (
                f"that is {words[index]!r}"
                if index < len(words)
                else f"the vocabulary has {len(words)} words before it"
            )
            raise InputError(f"{directory}: the added token {content!r} has the id {index}, but {found}")
        if index == len(words):
            words.append(content)
            ids[content] = index
        if content not in SPECIAL_TOKENS:
            added.append(token)
    return words, added


def _as_list(value: Any) -> list:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _checked(vocabulary: Vocabulary) -> Vocabulary:
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary.ids]
    if missing:
        raise InputError(
            f"{vocabulary.source}: lacks {', '.join(missing)}; a BERT vocabulary has {', '.join(SPECIAL_TOKENS)}"
        )
    if len(vocabulary.ids) != len(vocabulary.words):
        index = next(index for index, word in enumerate(vocabulary.words) if vocabulary.ids[word] != index)
        word = vocabulary.words[index]
        line = vocabulary.ids[word] + 1
        raise InputError(f"{vocabulary.source}, line {line}: duplicate entry {word!r}")
    return vocabulary
