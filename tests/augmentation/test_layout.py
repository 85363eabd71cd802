import json

import pytest

from tinybert_tf.augmentation.layout import FileLayout, Layout
from tinybert_tf.data import CustomFiles, load_task
from tinybert_tf.errors import InputError

ROWS = {
    "cola": 'gj04\t1\t\tHe said "no" .\ngj04\t0\t*\t\U0001f600 \u597d \'quoted"\n',
    "sst2": 'sentence\tlabel\nhe said " no " \t1\n"\t0\n\t1\n',
    "mrpc": '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\ta "b\tc\n0\t9\t10\td\te"\n',
    "stsb": "index\tgenre\tsentence1\tsentence2\tscore\n0\tnews\ta\tb\t3.250\n",
    "mnli": 'index\tsentence1\tsentence1_parse\tsentence2\tlabel1\tgold_label\n0\ta "b"\t( a )\tc\tneutral\tneutral\n',
}


@pytest.mark.parametrize("task", ROWS)
def test_originals_come_back_byte_for_byte_and_copies_keep_the_other_columns(tmp_path, task):
    """The published code writes fields with a double quote so that they come back corrupted."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "train.tsv").write_text(ROWS[task], encoding="utf-8")
    data = load_task(task, folder)
    layout = Layout.of(data, folder)
    rows = list(layout.rows())
    written = layout.header_line() + b"".join(layout.line(row.fields) for row in rows)
    assert written.decode("utf-8") == ROWS[task].removeprefix("\ufeff")

    other = 'x "y" z"'
    copies = [row.example._replace(text=other, text_pair=row.example.text_pair and f"{other} 2") for row in rows]
    out = tmp_path / "out"
    out.mkdir()
    lines = (layout.line(row.fields, copy) for row, copy in zip(rows, copies, strict=True))
    (out / "train.tsv").write_bytes(layout.header_line() + b"".join(lines))
    assert list(load_task(task, out).train) == copies
    for row, line in zip(rows, (out / "train.tsv").read_text("utf-8").splitlines()[-len(rows) :], strict=True):
        same = [a for a in row.fields if a not in (row.example.text, row.example.text_pair)]
        assert [field for field in line.split("\t") if not field.startswith(other)] == same


def test_rows_from_elsewhere_get_the_columns_that_the_reader_looks_for(tmp_path):
    data = load_task("sample")
    layout = Layout.of(data, None)
    example = next(iter(data.train))
    assert layout.header_line() == b"sentence\tlabel\n"
    fields = layout.fields(example._replace(text='a\ttab "and"\r\na line'))
    assert layout.line(fields) == f'a tab "and"  a line\t{example.label}\n'.encode()
    layout.write_other_splits(tmp_path)
    assert len((tmp_path / "dev.tsv").read_text().splitlines()) == 1001
    assert (tmp_path / "test.tsv").read_text().startswith("index\tsentence\n0\t")


def test_mrpc_from_microsofts_files_is_written_in_glues_layout(tmp_path):
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    (tmp_path / "msr_paraphrase_train.txt").write_text(header + "1\t1\t2\ta\tb\n0\t3\t4\tc\td\n", "utf-8")
    (tmp_path / "msr_paraphrase_test.txt").write_text(header + "1\t5\t6\te\tf\n", "utf-8")
    (tmp_path / "dev_ids.tsv").write_text("3\t4\n")
    data = load_task("mrpc", tmp_path)
    layout, out = Layout.of(data, tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "train.tsv").write_bytes(layout.header_line() + b"".join(layout.line(row.fields) for row in layout.rows()))
    layout.write_other_splits(out)
    again = load_task("mrpc", out)
    for split in ("train", "dev", "test"):
        assert list(again.split(split)) == list(data.split(split))


def test_cola_from_elsewhere_has_its_four_columns(tmp_path):
    (tmp_path / "train.tsv").write_text("gj04\t1\t\tIt works.\n")
    data = load_task("cola", tmp_path)
    layout = Layout(data, None)
    assert layout.header_line() == b""
    assert layout.line(layout.fields(next(iter(data.train)))) == b"\t1\t\tIt works.\n"


def test_a_task_without_sentences_to_train_on_is_refused(tmp_path):
    (tmp_path / "AX.tsv").write_text("index\tsentence1\tsentence2\tlabel\n")
    with pytest.raises(InputError, match="task ax has no training set"):
        Layout.of(load_task("ax", tmp_path), tmp_path)


@pytest.mark.realdata
@pytest.mark.parametrize("task", ["cola", "sst2", "mrpc", "stsb", "wnli", "qnli", "qqp", "mnli"])
def test_the_real_files_come_back_byte_for_byte(real_data, task):
    folder = real_data / "glue"
    layout = Layout.of(load_task(task, folder), folder)
    written = layout.header_line() + b"".join(layout.line(row.fields) for row in layout.rows())
    original = layout.file.read_bytes().removeprefix("\ufeff".encode()).replace(b"\r\n", b"\n")
    assert written == original if original.endswith(b"\n") else written == original + b"\n"


def test_halves_of_qqps_rows_take_no_other_rows_place(tmp_path):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    whole = ["0\t1\t2\ta\tb\t0\n", "2\t5\t6\td\te\t1\n", "3\t7\t8\tf\tg\t0\n"]
    (tmp_path / "train.tsv").write_text(header + whole[0] + "1\t3\t4\tbroken\n half\tc\t1\n" + whole[1] + whole[2])
    layout = Layout.of(load_task("qqp", tmp_path), tmp_path)
    assert [layout.line(row.fields).decode() for row in layout.rows()] == whole
    for row, line in zip(layout.rows(limit=2), whole[:2], strict=True):
        assert layout.line(row.fields, row.example).decode() == line


def own_rows(path, text: str) -> FileLayout:
    path.write_text(text, encoding="utf-8")
    files = CustomFiles(train_file=str(path), text_column="text", label_column="label")
    return FileLayout(load_task("custom", files=files), files)


def test_columns_without_names_are_refused_before_any_copy_is_made(tmp_path):
    with pytest.raises(InputError, match="2 columns have no name, so they cannot be written again; name them"):
        own_rows(tmp_path / "rows.csv", "text,label,,\na,x,,\nb,y,,\n")


def test_half_a_character_in_a_column_that_is_not_read_stays(tmp_path):
    lines = [
        '{"text": "\u00e9", "label": "x", "user": "hi \\ud83d"}\n',
        '{"text": "\u00e9", "label": "y", "user": ""}\n',
    ]
    layout = own_rows(tmp_path / "rows.jsonl", "".join(lines))
    written = [layout.line(row.fields).decode() for row in layout.rows()]
    assert [json.loads(line) for line in written] == [json.loads(line) for line in lines]
    assert written[1] == lines[1]
