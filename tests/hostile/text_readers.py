"""The readers of text files, each with small valid files and a way to make broken ones."""

import atexit
import dataclasses
import gzip
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.hostile.mutation import altered, damaged, json_files, numbers, texts, utf8_texts, values
from tinybert_tf.augmentation.word_vectors import WordVectors
from tinybert_tf.corpus import read_corpus
from tinybert_tf.corpus.shards import FEATURE
from tinybert_tf.corpus.sources import TextFiles, read_blocks
from tinybert_tf.corpus.text import documents
from tinybert_tf.data import Tokenizer, load_task
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.report.curves import read_metrics
from tinybert_tf.report.report import report_runs
from tinybert_tf.settings import read_yaml, setting

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "was", "good", "not", "##ly", "café")
VOCABULARY = "".join(f"{word}\n" for word in WORDS).encode()


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader under test.

    Attributes:
        file: the name of the file that is broken, in a folder of its own.
        inputs: the contents that are tried.
        read: reads it; given the folder.
        prepare: writes what has to lie beside it.
        cost: how many other inputs could be tried in the time of one.
    """

    file: str
    inputs: st.SearchStrategy[bytes]
    read: Callable[[Path], Any]
    prepare: Callable[[Path], None] = lambda folder: None
    cost: int = 1


def scratch_folder() -> Path:
    """A folder for valid files, which goes when the process ends."""
    folder = tempfile.mkdtemp(prefix="hostile-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _consume(split) -> None:
    """Reads every row; texts go to TensorFlow as UTF-8."""
    for row in split:
        for text in row:
            str("" if text is None else text).encode()


# === Tables ===


@st.composite
def tables(draw, separator: str, header: tuple[str, ...] | None) -> bytes:
    """Rows of a number of columns that now and then is another, joined without a care for quotes."""
    columns = st.integers(0, 8) if draw(st.booleans()) else st.just(len(header or "1234"))
    rows = draw(st.lists(st.lists(utf8_texts | numbers.map(str), max_size=8), max_size=6))
    lines = [separator.join(header)] if header and draw(st.integers(0, 9)) else []
    for row in rows:
        count = draw(columns)
        lines.append(separator.join((row * count)[:count] if row else [""] * count))
    return draw(st.sampled_from(("\n", "\n", "\r\n", "\r"))).join(lines).encode()


def _glue(task: str, header: str | None, row: str) -> Callable[[], Reader]:
    content = ("" if header is None else f"{header}\n") + f"{row}\n" * 3
    columns = None if header is None else tuple(header.split("\t"))

    def read(folder: Path) -> None:
        data = load_task(task, folder)
        _consume(data.train)
        if header is not None:
            _consume(data.test)

    def prepare(folder: Path) -> None:
        for test in ("test", "test_matched"):
            (folder / f"{test}.tsv").symlink_to("train.tsv")

    return lambda: Reader("train.tsv", damaged([content.encode()]) | tables("\t", columns), read, prepare)


def _paraphrases() -> Reader:
    content = b"Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tone text\tanother\n0\t9\t10\tx\ty\n"

    def read(folder: Path) -> None:
        for split in ("train", "dev"):
            _consume(load_task("mrpc", folder).split(split))

    return Reader(
        "msr_paraphrase_train.txt",
        damaged([content]) | tables("\t", ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String")),
        read,
        lambda folder: (folder / "dev_ids.tsv").write_text("9\t10\n") and None,
    )


_CUSTOM = {"text_column": "text", "text_pair_column": "second", "label_column": "label"}


def _custom(kind: str, content: bytes, inputs: st.SearchStrategy[bytes], **more: str) -> Callable[[], Reader]:
    def read(folder: Path) -> None:
        path = str(folder / f"train.{kind}")
        data = load_task("custom", files=CustomFiles(train_file=path, dev_file=path, **_CUSTOM, **more))
        for split in ("train", "dev", "test"):
            _consume(data.split(split))

    return lambda: Reader(f"train.{kind}", damaged([content]) | inputs, read)


_COLUMNS = ("text", "second", "label")
_JSON_LINES = b'{"text": "a", "second": "b", "label": 1}\n{"text": "c", "second": "", "label": 2}\n'
_records = st.lists(
    st.fixed_dictionaries({}, optional=dict.fromkeys(_COLUMNS, values) | {"more": values})
    | st.dictionaries(texts, values, max_size=3)
    | values,
    max_size=5,
)
_json_lines = _records.map(lambda records: "".join(json.dumps(record) + "\n" for record in records).encode())


def _conll() -> Reader:
    content = b"-DOCSTART- -X- O O\n\nEU NNP B-ORG\nrejects VBZ O\n\nPeter\tNNP\tB-PER\n"
    words = st.lists(utf8_texts | st.sampled_from(("word B-PER", "word\tO", "", " ", "-DOCSTART-")), max_size=12)

    def read(folder: Path) -> None:
        path = str(folder / "train.conll")
        data = load_task("token_classification", files=CustomFiles(train_file=path, dev_file=path))
        for split in ("train", "dev", "test"):
            _consume(data.split(split))

    return Reader("train.conll", damaged([content]) | words.map("\n".join).map(str.encode), read)


def _squad(task: str, version: str) -> Callable[[], Reader]:
    answer = {"text": "café film", "answer_start": 4}
    questions = [{"id": "q1", "question": "what?", "answers": [answer], "is_impossible": False},
                 {"id": "q2", "question": "who?", "answers": [answer, answer]}]  # fmt: skip
    document = {
        "version": version,
        "data": [{"title": "t", "paragraphs": [{"context": "the café film was good", "qas": questions}]}],
    }
    name = f"train-v{version}.json"
    inputs = damaged([json.dumps(document).encode()]) | json_files([document])
    return lambda: Reader(name, inputs, lambda folder: _consume(load_task(task, folder).train))


# === Settings and vocabularies ===


@dataclasses.dataclass(frozen=True)
class Settings:
    task: str = setting("", "which", required=True)
    seed: int = setting(0, "of everything")
    learning_rate: float | None = setting(None, "peak")
    augment: bool = setting(False, "more rows")


YAML = (
    b"# settings\ntask: sst2\nseed: 3\nlearning_rate: 5.0e-5\naugment: true\n",
    b"{task: cola, seed: 1, learning_rate: 1e-5, augment: no}",
    b"anchor: &a [x, x]\nb: &b [*a, *a, *a]\ntask: &c [*b, *b, *b]\nseed: [*c, *c]\n",
    b"task: !!python/object/apply:os.getcwd []\nseed: !!python/name:os.system\n",
    b"task: |\n  text\n  more\nseed: 0x1F\nlearning_rate: .inf\naugment: ~\n",
)


def _yaml() -> Reader:
    mapping = st.dictionaries(st.sampled_from(("task", "seed", "learning_rate", "augment")) | texts, values, max_size=4)
    written = mapping.map(lambda value: json.dumps(value).encode())
    return Reader(
        "settings.yaml",
        damaged(YAML) | written,
        lambda folder: Settings(**read_yaml(Settings, "--config_file", (folder / "settings.yaml").read_bytes())),
    )


def _vocabulary() -> Reader:
    words = st.lists(utf8_texts | st.sampled_from(WORDS), max_size=20).map(lambda more: "\n".join([*WORDS[:5], *more]))

    def read(folder: Path) -> None:
        Tokenizer(folder / "vocab.txt")(["the café film \u2028 ##ly", "x" * 300], seq_len=16)

    return Reader("vocab.txt", damaged([VOCABULARY]) | words.map(str.encode), read)


def _tokenizer_config() -> Reader:
    content = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    return Reader(
        "tokenizer_config.json",
        damaged([json.dumps(content).encode()]) | json_files([content]),
        Tokenizer.from_directory,
        lambda folder: (folder / "vocab.txt").write_bytes(VOCABULARY) and None,
    )


def _word_vectors() -> Reader:
    glove = b"the 0.1 0.2 0.3\nfilm 1 2 3\ngood 1e-3 -2 0\nNew York 1 1 1\n"
    word2vec = b"2 3\nthe 0.1 0.2 0.3\nfilm 1 2 3\n"
    rows = st.lists(st.lists(utf8_texts | numbers.map(str), min_size=1, max_size=5).map(" ".join), max_size=5)
    written = st.tuples(st.sampled_from(("", "2 3\n", "the 1 2 3\n")), rows).map(
        lambda parts: (parts[0] + "\n".join(parts[1])).encode()
    )

    def read(folder: Path) -> None:
        WordVectors.read(folder / "vectors.txt").neighbors(["film", "the"], 3)

    return Reader("vectors.txt", damaged([glove, word2vec]) | written, read)


# === Corpora ===

_TEXT = b"A film.\nIt was good.\n\nAnother one.\n"
_EXTRACTED = b'<doc id="1" title="Film">\nFilm\n\nIt was good.\n</doc>\n<doc id="2" title="b">\nb\nx\n</doc>\n'


def _corpus_text(name: str, contents: list[bytes]) -> Callable[[], Reader]:
    def read(folder: Path) -> None:
        source = TextFiles(str(folder / name), block_bytes=64)
        source.describe()
        for number, group in enumerate(source.groups()):
            for block in read_blocks(source, number, group):
                for text in block.texts:
                    list(documents(text))

    return lambda: Reader(name, damaged(contents), read)


SEQ_LEN = 4


def manifest_of(size: int) -> dict:
    return {
        "settings": {"max_seq_length": SEQ_LEN, "packing": "contiguous"},
        "vocabulary": {"sha256": "0", "words": len(WORDS), "lower_case": True},
        "counts": {"documents": 1, "tokens": 4, "examples": 2, "held_out_examples": 0, "shards": 1},
        "shards": [
            {"documents": 1, "tokens": 4, "train": {"file": "train-0.tfrecord.gz", "examples": 2, "bytes": size}}
        ],
    }


def records_file(*payloads: bytes) -> bytes:
    import tensorflow as tf

    with tempfile.NamedTemporaryFile() as file:
        with tf.io.TFRecordWriter(file.name, "GZIP") as writer:
            for payload in payloads:
                feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[payload]))
                example = tf.train.Example(features=tf.train.Features(feature={FEATURE: feature}))
                writer.write(example.SerializeToString())
        return Path(file.name).read_bytes()


def id_bytes(*ids: int) -> bytes:
    return b"".join(id.to_bytes(2, "little") for id in ids)


def _read_corpus(folder: Path) -> None:
    corpus = read_corpus(folder)
    files = [*corpus.files("train"), *corpus.files("held_out")]
    assert all(Path(path).parent == folder for path, _, _ in files), "a path out of the corpus"
    corpus.tokenizer, corpus.seq_len, corpus.examples, corpus.held_out_examples  # noqa: B018
    for path, examples, _ in files:
        corpus.read_file(path, examples)


def _corpus_manifest() -> Reader:
    records = records_file(id_bytes(2, 5, 3, 0), id_bytes(2, 6, 3, 0))
    manifest = manifest_of(len(records))

    def prepare(folder: Path) -> None:
        (folder / "vocab.txt").write_bytes(VOCABULARY)
        (folder / "train-0.tfrecord.gz").write_bytes(records)

    return Reader(
        "manifest.json", damaged([json.dumps(manifest).encode()]) | json_files([manifest]), _read_corpus, prepare
    )


def _corpus_records() -> Reader:
    """Here the manifest goes along with the size, so that it is the content that is found out."""
    valid = [records_file(id_bytes(2, 5, 3, 0), id_bytes(2, 6, 3, 0)), records_file(id_bytes(2, 5, 3)),
             records_file(id_bytes(2, 60_000, 3, 0), b""), records_file()]  # fmt: skip
    unpacked = damaged([gzip.decompress(file) for file in valid]).map(
        lambda content: gzip.compress(content, 1, mtime=0)
    )

    def read(folder: Path) -> None:
        size = (folder / "train-0.tfrecord.gz").stat().st_size
        (folder / "manifest.json").write_text(json.dumps(manifest_of(size)))
        _read_corpus(folder)

    def prepare(folder: Path) -> None:
        (folder / "vocab.txt").write_bytes(VOCABULARY)

    return Reader("train-0.tfrecord.gz", damaged(valid) | unpacked | st.sampled_from(valid), read, prepare, cost=3)


# === What a report is made of ===


def _metrics() -> Reader:
    record = {"stage": "prediction", "step": 3, "split": "train", "loss": 0.5, "learning_rate": 1e-4}
    dev = {"stage": "prediction", "step": 3, "split": "dev", "accuracy": 0.9}
    lines = (json.dumps(record) + "\n" + json.dumps(dev) + "\n").encode() * 2
    several = st.lists(altered([record, dev]), min_size=1, max_size=4).map(
        lambda records: "".join(json.dumps(record) + "\n" for record in records).encode()
    )

    def read(folder: Path) -> None:
        (folder / "run.json").write_text("{}")
        read_metrics(folder / "metrics.jsonl")
        report_runs([folder], folder / "report")

    return Reader("metrics.jsonl", damaged([lines]) | several, read, cost=2)


def _run() -> Reader:
    result = {"task": "sst2", "score": 0.9, "parameters": 14_350_248, "float_mb": 57.4, "int8_ms": 1.1}
    student = {"task": "sample", "score": 0.8, "teacher_score": 0.9, "retention": 0.9, "int8_mb": 1.5}
    runs = [
        {"settings": {"task": "sst2", "seed": 0}, "result": made, "versions": {"keras": "3"}}
        for made in (result, student)
    ]
    inputs = damaged([json.dumps(run).encode() for run in runs]) | json_files(runs)
    return Reader("run.json", inputs, lambda folder: report_runs([folder], folder / "report"), cost=2)


READERS: dict[str, Callable[[], Reader]] = {
    "GLUE: CoLA": _glue("cola", None, "gj04\t1\t\tOur friends won't buy this."),
    "GLUE: SST-2": _glue("sst2", "sentence\tlabel", "a charming journey\t1"),
    "GLUE: MRPC": _glue("mrpc", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "1\t7\t8\tone\tanother"),
    "GLUE: MRPC's first form": _paraphrases,
    "GLUE: STS-B": _glue("stsb", "index\tsentence1\tsentence2\tscore", "0\ta plane\tan air plane\t5.000"),
    "GLUE: QQP": _glue("qqp", "id\tquestion1\tquestion2\tis_duplicate", "0\twhy?\tfor what?\t1"),
    "GLUE: MNLI": _glue("mnli", "index\tsentence1\tsentence2\tgold_label", "0\tone\ttwo\tneutral"),
    "custom CSV": _custom("csv", b'text,second,label\na,b,x\n"said ""no""\nand",c,y\n', tables(",", _COLUMNS)),
    "custom TSV": _custom("tsv", b"text\tsecond\tlabel\na\tb\tx\nc\td\ty\n", tables("\t", _COLUMNS)),
    "custom JSONL": _custom("jsonl", _JSON_LINES, _json_lines),
    "custom numbers": _custom("csv", b"text,second,label\na,b,1.5\nc,d,-2\n", tables(",", _COLUMNS), label_type="number"),
    "CoNLL": _conll,
    "SQuAD 1.1": _squad("squad1", "1.1"),
    "SQuAD 2.0": _squad("squad2", "2.0"),
    "YAML settings": _yaml,
    "vocab.txt": _vocabulary,
    "tokenizer_config.json": _tokenizer_config,
    "word vectors": _word_vectors,
    "corpus text": _corpus_text("a.txt", [_TEXT, _EXTRACTED]),
    "corpus text, gzip": _corpus_text("a.gz", [gzip.compress(_TEXT, mtime=0)]),
    "corpus manifest": _corpus_manifest,
    "corpus TFRecords": _corpus_records,
    "metrics.jsonl": _metrics,
    "run.json": _run,
}  # fmt: skip
