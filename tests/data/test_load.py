"""A task takes the settings that it reads, and refuses the others."""

import pytest

from tinybert_tf.data import CustomFiles, load_task
from tinybert_tf.data.settings import DataSettings
from tinybert_tf.errors import InputError


@pytest.mark.parametrize("given", [{"train_file": "my.csv"}, {"text_column": "review"}, {"main_metric": "macro_f1"},
                                   {"quoting": "none"}])  # fmt: skip
@pytest.mark.parametrize("task", ["sst2", "squad1", "sample"])
def test_a_setting_of_own_files_is_refused_by_the_papers_tasks(task, given):
    (name, value), *_ = given.items()
    with pytest.raises(InputError, match=f"{name}={value}: task {task} does not read it; leave it out, or take one of"):
        load_task(task, "glue", CustomFiles(**given))


@pytest.mark.parametrize(
    ("task", "given"),
    [
        ("custom", {"tag_column": "xpos"}),
        ("token_classification", {"text_column": "review"}),
        ("token_classification", {"label_type": "number"}),
    ],
)
def test_tasks_on_own_files_refuse_each_others_settings(task, given):
    (name, value), *_ = given.items()
    with pytest.raises(InputError, match=f"{name}={value}: task {task} does not read it; leave it out"):
        load_task(task, files=CustomFiles(train_file="train.csv", **given))


def test_unlabelled_texts_and_bad_rows_are_settings_of_every_task(tmp_path):
    (tmp_path / "more.csv").write_text('sentence\n"good\n', encoding="utf-8")
    files = CustomFiles(unlabelled_file=str(tmp_path / "more.csv"), quoting="none", skip_bad_rows=True)
    assert [row.text for row in load_task("sst2", "glue", files).unlabelled] == ['"good']
    with pytest.raises(InputError, match="skip_bad_rows=True: task sst2 does not read it"):
        load_task("sst2", "glue", CustomFiles(skip_bad_rows=True))


@pytest.mark.parametrize("task", ["sst2", "squad1", "sample"])
def test_labels_are_those_of_own_files(task):
    with pytest.raises(
        InputError, match=f"labels are those of own files; task {task} has its own labels, leave them out"
    ):
        load_task(task, "glue", labels=["b", "a"])


@pytest.mark.parametrize("task", ["custom", "token_classification"])
def test_own_files_are_in_no_folder(task):
    with pytest.raises(InputError, match=f"data_dir=glue: task {task} reads no folder; name its files"):
        load_task(task, "glue", CustomFiles(train_file="train.csv"))


@pytest.mark.parametrize(("task", "reason"), [("token_classification", "words to tag"), ("squad2", "a long context")])
def test_a_side_that_is_never_cut_is_refused(task, reason):
    with pytest.raises(InputError, match=f"truncate=left: has no effect, since {reason}"):
        DataSettings(task=task, truncate="left")
    assert DataSettings(task=task, truncate="right").truncate == "right"


def test_settings_open_a_vocabulary_as_they_open_a_directory(vocab_file):
    settings = DataSettings(task="sst2", normalization="mediapipe", truncate="left")
    specs = [settings.open_tokenizer(source).spec for source in (vocab_file, vocab_file.parent)]
    assert all((spec.normalization, spec.truncation_side) == ("mediapipe", "left") for spec in specs)
