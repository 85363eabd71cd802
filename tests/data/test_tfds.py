"""GLUE from its files and from TensorFlow Datasets, whose own builder is run on the same files here."""

import functools

import numpy as np
import pytest

from tinybert_tf.data import TASKS, batches, get_task, load_task
from tinybert_tf.errors import InputError

GLUE = [name for name, task in TASKS.items() if task.submissions and task.kind != "span"]
TEXTS = ['the film was "good', "not bad .", "the cafe\u2028was good", "a film", "bad", " the , film "]
# The columns of the files: of train and dev, and of test. A row's number, texts and label are put in.
COLUMNS = {
    "cola": (None, "index\tsentence"),
    "sst2": ("sentence\tlabel", "index\tsentence"),
    "stsb": ("index\tgenre\tsentence1\tsentence2\tscore", "index\tgenre\tsentence1\tsentence2"),
    "qqp": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "id\tquestion1\tquestion2"),
    "mnli": ("index\tgenre\tsentence1\tsentence2\tlabel1\tgold_label", "index\tgenre\tsentence1\tsentence2"),
    "qnli": ("index\tquestion\tsentence\tlabel", "index\tquestion\tsentence"),
    "rte": ("index\tsentence1\tsentence2\tlabel", "index\tsentence1\tsentence2"),
    "wnli": ("index\tsentence1\tsentence2\tlabel", "index\tsentence1\tsentence2"),
    "ax": (None, "index\tsentence1\tsentence2"),
}


def label_of(task, number):
    return f"{number % 6 * 0.85:.3f}" if task.kind == "regression" else task.labels[number % len(task.labels)]


def write_files(folder, task, rows=17):
    """The task's files in GLUE's layout; each part has texts of its own."""
    folder.mkdir(parents=True)
    if task.name == "mrpc":
        return write_paraphrases(folder, task)
    parts = ("test",) if task.name == "ax" else ("train", *task.dev_splits, *task.test_splits)
    for place, part in enumerate(parts):
        train_columns, test_columns = COLUMNS[task.name]
        columns = test_columns if part.startswith("test") else train_columns
        lines = [] if columns is None else [columns]
        for number in range(rows + place):
            text, pair, label = TEXTS[(number + place) % 6], TEXTS[number % 5], label_of(task, number)
            values = {task.text: text, task.text_pair: pair, task.label: label, "index": str(number)}
            values |= {"sentence": text} if task.name in ("cola", "sst2") else {}
            line = f"gj04\t{label}\t\t{text}"
            if columns is not None:
                line = "\t".join(values.get(column, "-") for column in columns.split("\t"))
            lines.append(line)
        (folder / f"{part}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_paraphrases(folder, task):
    """MRPC in Microsoft's files, which TensorFlow Datasets reads, and in GLUE's, cut from them."""
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
    rows = [f"{n % 2}\t{n}\t{n + 100}\t{TEXTS[n % 6]}\t{TEXTS[n % 5]}" for n in range(20)]
    in_dev = [n for n in range(20) if n % 4 == 1]
    parts = {
        "msr_paraphrase_train.txt": ["\ufeff" + header, *rows],
        "msr_paraphrase_test.txt": ["\ufeff" + header, *rows[:7]],
        "dev_ids.tsv": [f"{n}\t{n + 100}" for n in in_dev],
        "train.tsv": [header, *(row for n, row in enumerate(rows) if n not in in_dev)],
        "dev.tsv": ["\ufeff" + header, *(rows[n] for n in in_dev)],
        "test.tsv": ["index" + header[7:], *(f"{n}{row[1:]}" for n, row in enumerate(rows[:7]))],
    }
    for name, lines in parts.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def builder_reads(monkeypatch):
    """A function that makes TensorFlow Datasets' builder of GLUE read a folder instead of the internet."""
    import tensorflow_datasets as tfds

    def from_folder(folder, prepared_in):
        def local(self, url):
            if isinstance(url, dict):
                names = {
                    "dev_ids": "dev_ids.tsv",
                    "train": "msr_paraphrase_train.txt",
                    "test": "msr_paraphrase_test.txt",
                }
                return {name: str(folder / "MRPC" / names[name]) for name in url}
            return str(folder / "AX" / "test.tsv") if "bit.ly" in url else str(folder)

        for name in ("download", "download_and_extract"):
            monkeypatch.setattr(tfds.download.DownloadManager, name, local)
        monkeypatch.setattr("tinybert_tf.data.tfds._is_reachable", lambda host: True)
        monkeypatch.setattr(tfds, "builder", functools.partial(tfds.builder, data_dir=prepared_in))

    return from_folder


def tensors(data, tokenizer):
    dataset = batches(data.train, tokenizer, data.task, batch_size=4, seq_len=16, shuffle_seed=3)
    return [[*features.values(), label, weight] for features, label, weight in dataset.as_numpy_iterator()]


def rows_of(split, task):
    """The rows as they count: 4.4 and 4.400 are one score."""
    is_score = task.kind == "regression"
    return [row._replace(label=np.float32(row.label) if is_score and row.label else row.label) for row in split]


@pytest.mark.parametrize("name", GLUE)
def test_files_and_tensorflow_datasets_give_the_same_rows(name, tmp_path, builder_reads):
    task, glue, prepared = get_task(name), tmp_path / "glue", tmp_path / "tfds"
    write_files(glue / task.folder, task)
    builder_reads(glue, prepared)
    ours, fetched = load_task(name, glue), load_task(name)
    for part in ("test",) if name == "ax" else ("train", *task.dev_splits, *task.test_splits):
        rows = rows_of(ours.split(part), task)
        assert rows == rows_of(fetched.split(part), task) and len(rows) >= 5
        assert all((row.label is None) == part.startswith("test") for row in rows)
    # What was prepared above is found under --data_dir too.
    assert (prepared / task.tfds).is_dir()
    assert rows_of(load_task(name, prepared).test, task) == rows_of(ours.test, task)


@pytest.mark.parametrize("name", ["sst2", "stsb", "mnli"])
def test_files_and_tensorflow_datasets_give_the_same_tensors(name, tmp_path, builder_reads, tokenizer):
    task = get_task(name)
    write_files(tmp_path / "glue" / task.folder, task)
    builder_reads(tmp_path / "glue", tmp_path / "tfds")
    ours, theirs = (tensors(load_task(name, folder), tokenizer) for folder in (tmp_path / "glue", None))
    assert len(ours) == len(theirs) == 5
    for one, other in zip(ours, theirs, strict=True):
        for our_array, their_array in zip(one, other, strict=True):
            np.testing.assert_array_equal(our_array, their_array)


def test_matched_and_mismatched_are_kept_apart(tmp_path):
    """After its first save, the published code selects MNLI's model on the mismatched set."""
    write_files(tmp_path / "MNLI", get_task("mnli"))
    data = load_task("mnli", tmp_path)
    assert [split.name for split in data.dev_splits()] == ["dev_matched", "dev_mismatched"]
    assert [split.name for split in data.test_splits()] == ["test_matched", "test_mismatched"]
    assert data.dev.name == "dev_matched"
    assert list(data.dev) == list(data.split("dev_matched")) != list(data.split("dev_mismatched"))


def test_the_mismatched_set_may_be_missing_but_not_the_matched(tmp_path, caplog):
    caplog.set_level("INFO", "tinybert_tf")
    write_files(tmp_path / "MNLI", get_task("mnli"))
    (tmp_path / "MNLI" / "dev_mismatched.tsv").unlink()
    data = load_task("mnli", tmp_path)
    assert [split.name for split in data.dev_splits()] == ["dev_matched"]
    assert "dev_mismatched is left out" in caplog.text
    (tmp_path / "MNLI" / "dev_matched.tsv").unlink()
    with pytest.raises(InputError, match=r"dev_matched\.tsv: no such file"):
        data.dev_splits()


def test_ax_has_a_test_set_alone(tmp_path):
    write_files(tmp_path / "AX", get_task("ax"))
    data = load_task("ax", tmp_path)
    assert len(list(data.test)) == 17
    with pytest.raises(InputError, match="ax has no dev set"):
        data.dev  # noqa: B018
    (tmp_path / "AX").rename(tmp_path / "diagnostic")  # as GLUE's download script names it
    (tmp_path / "diagnostic" / "test.tsv").rename(tmp_path / "diagnostic" / "diagnostic.tsv")
    assert list(load_task("ax", tmp_path).test) == list(data.test)


def test_what_cannot_be_fetched_says_so(monkeypatch, tmp_path):
    import tensorflow_datasets as tfds

    def offline(self, url):
        raise OSError("no route to host")

    monkeypatch.setattr("tinybert_tf.data.tfds._is_reachable", lambda host: True)
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", offline)
    monkeypatch.setattr(tfds, "builder", functools.partial(tfds.builder, data_dir=tmp_path))
    with pytest.raises(InputError, match=r"cannot provide dev of glue/rte \(no route to host\); .*`data_dir`"):
        load_task("rte").dev  # noqa: B018


def test_a_host_that_does_not_answer_is_named_in_seconds(monkeypatch, tmp_path):
    """Downloads of TensorFlow Datasets have no time limit."""
    import tensorflow_datasets as tfds

    def silent(request, timeout):
        assert timeout <= 10
        raise TimeoutError

    monkeypatch.setattr("urllib.request.urlopen", silent)
    monkeypatch.setattr(tfds, "builder", functools.partial(tfds.builder, data_dir=tmp_path))
    with pytest.raises(InputError, match=r"\(dl\.fbaipublicfiles\.com cannot be reached\)"):
        load_task("sst2").dev  # noqa: B018


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["mrpc", "stsb", "wnli"])
def test_the_real_files_too(name, real_data, tmp_path, builder_reads):
    builder_reads(real_data / "glue", tmp_path)
    for part in ("train", "dev", "test"):
        files, fetched = load_task(name, real_data / "glue").split(part), load_task(name).split(part)
        assert rows_of(files, get_task(name)) == rows_of(fetched, get_task(name))
