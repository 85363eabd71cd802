import pytest

from tinybert_tf.data import get_task, label_ids, load_task
from tinybert_tf.errors import InputError


def write(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    data = text if isinstance(text, bytes) else text.encode("utf-8")
    (folder / name).write_bytes(data)


def test_quotes_emoji_and_odd_line_ends_are_data(tmp_path):
    rows = ['he said " no " .\t1', "\U0001f600 好\t0", "a\u2028b\t1", "\t0"]
    write(tmp_path / "SST-2", "train.tsv", "sentence\tlabel\r\n" + "\r\n".join(rows) + "\r\n")
    read = list(load_task("sst2", tmp_path).train)
    assert [row.text for row in read] == ['he said " no " .', "\U0001f600 好", "a\u2028b", ""]
    assert [row.label for row in read] == ["1", "0", "1", "0"]


def test_cola_has_no_header_but_its_test_set_does(tmp_path):
    write(tmp_path / "CoLA", "train.tsv", "gj04\t1\t\tIt works.\ngj04\t0\t*\tWorks it.\n")
    write(tmp_path / "CoLA", "test.tsv", "index\tsentence\n0\tDoes it?\n")
    data = load_task("cola", tmp_path)
    assert [(row.text, row.label) for row in data.train] == [("It works.", "1"), ("Works it.", "0")]
    assert [(row.text, row.label) for row in data.test] == [("Does it?", None)]


def test_mrpc_reads_microsofts_own_files(tmp_path):
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    write(tmp_path / "MRPC", "msr_paraphrase_train.txt", header + "1\t1\t2\ta\tb\n0\t3\t4\tc\td\n")
    write(tmp_path / "MRPC", "msr_paraphrase_test.txt", header + "1\t5\t6\te\tf\n")
    write(tmp_path / "MRPC", "dev_ids.tsv", "3\t4\n")
    data = load_task("mrpc", tmp_path)
    assert [(row.text, row.text_pair, row.label) for row in data.train] == [("a", "b", "1")]
    assert [(row.text, row.text_pair, row.label) for row in data.dev] == [("c", "d", "0")]
    assert [row.label for row in data.test] == [None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sentence\tlabel\ngood\t1\nshort\n", "line 3: 1 columns, but 2 are needed"),
        ("sentence\tlabel\ngood\t7\n", "line 2: unknown label '7'; task sst2 has 0, 1"),
        ("sentence\tlabel\n", "no rows below the header"),
        ("", "the file is empty"),
        ("text\tlabel\ngood\t1\n", "no column named 'sentence'; the header has text, label"),
        (b"sentence\tlabel\ngood\t1\nb\xffd\t1\n", "line 3: not UTF-8"),
    ],
)
def test_a_bad_file_is_refused_by_name_and_line(tmp_path, text, message):
    write(tmp_path / "SST-2", "train.tsv", text)
    with pytest.raises(InputError, match=message) as refused:
        list(load_task("sst2", tmp_path).train)
    assert "train.tsv" in str(refused.value)


def test_halves_of_qqps_rows_are_left_out_and_counted(tmp_path, caplog):
    caplog.set_level("INFO", "tinybert_tf")
    columns = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
    write(tmp_path / "QQP", "train.tsv", f"{columns}\n0\t1\t2\ta\tb\t1\n1\t3\t4\tc\nd\te\t0\n2\t5\t6\tf\tg\t0\n")
    rows = list(load_task("qqp", tmp_path).train)
    assert [(row.index, row.text, row.text_pair, row.label) for row in rows] == [(0, "a", "b", "1"), (1, "f", "g", "0")]
    assert "left out 2 lines that are halves of rows" in caplog.text


def test_missing_files_and_unknown_tasks_say_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"train\.tsv: no such file"):
        load_task("rte", tmp_path).train  # noqa: B018
    with pytest.raises(InputError, match="no such folder"):
        load_task("rte", tmp_path / "nowhere").train  # noqa: B018
    with pytest.raises(InputError, match="unknown task 'sst3'; use one of cola, sst2"):
        load_task("sst3")


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("task", "train", "dev"),
    [("cola", 8551, 1043), ("sst2", 67349, 872), ("mrpc", 3668, 408), ("stsb", 5749, 1500), ("wnli", 635, 71),
     ("qnli", 8999, 5463), ("qqp", 8999, 1000), ("mnli", 8999, 1000)],
)  # fmt: skip
def test_the_real_files_have_their_rows(real_data, task, train, dev):
    data = load_task(task, real_data / "glue")
    assert (sum(1 for _ in data.train), sum(1 for _ in data.dev)) == (train, dev)


@pytest.mark.realdata
def test_mrpc_is_the_same_from_both_layouts(real_data, tmp_path):
    folder = tmp_path / "MRPC"
    folder.mkdir()
    for name in ("msr_paraphrase_train.txt", "msr_paraphrase_test.txt", "dev_ids.tsv"):
        (folder / name).symlink_to(real_data / "glue" / "MRPC" / name)
    ours, glue = load_task("mrpc", tmp_path), load_task("mrpc", real_data / "glue")
    assert {(r.text, r.text_pair, r.label) for r in ours.dev} == {(r.text, r.text_pair, r.label) for r in glue.dev}


def test_labels_are_matched_by_name_and_not_by_position():
    """A teacher with Hugging Face's MNLI order scores 10% where the order is hard-wired."""
    mnli = get_task("mnli")
    theirs = {"ENTAILMENT": 0, "NEUTRAL": 1, "CONTRADICTION": 2}
    assert label_ids(mnli, theirs) == {"contradiction": 2, "entailment": 0, "neutral": 1}
    assert label_ids(mnli, None) == {"contradiction": 0, "entailment": 1, "neutral": 2}
    assert label_ids(get_task("rte"), {"not-entailment": 0, "Entailment": 1}) == {"entailment": 1, "not_entailment": 0}
    assert label_ids(get_task("sst2"), {"POSITIVE": 0, "NEGATIVE": 1}) == {"0": 1, "1": 0}
    assert label_ids(get_task("sst2"), {"LABEL_0": 0, "LABEL_1": 1}) == {"0": 0, "1": 1}


def test_labels_that_do_not_match_are_shown_side_by_side():
    with pytest.raises(InputError, match="joy, anger, but task sst2 has negative, positive"):
        label_ids(get_task("sst2"), {"joy": 0, "anger": 1})


def test_dev_ids_that_no_row_has_are_refused(tmp_path):
    write(tmp_path / "MRPC", "msr_paraphrase_train.txt", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\ta\tb\n")
    write(tmp_path / "MRPC", "dev_ids.tsv", "7\t8\n")
    with pytest.raises(InputError, match=r"msr_paraphrase_train.txt: no row is in the dev set; .*dev_ids.tsv lists"):
        list(load_task("mrpc", tmp_path).dev)
