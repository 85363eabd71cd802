"""What is written stands as a whole or not at all, whatever happens on the way."""

import errno
import os

import pytest

from tinybert_tf.errors import InputError
from tinybert_tf.files import atomic_write, held, read_json_object, system_error, write_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fill(folder, text="new"):
    """Writes a directory of one file in its place."""
    with atomic_write(folder) as aside:
        aside.mkdir()
        (aside / "file").write_text(text)


def test_a_file_and_a_directory_take_the_place_of_the_old_ones(tmp_path):
    for text in ("one", "two"):
        fill(tmp_path / "folder", text)
        with atomic_write(tmp_path / "file") as aside:
            aside.write_text(text)
        assert (tmp_path / "folder" / "file").read_text() == (tmp_path / "file").read_text() == text
    assert names(tmp_path) == ["file", "folder"]


def test_a_directory_is_held_by_one_process(tmp_path):
    with held(tmp_path / "out"):
        with (
            pytest.raises(InputError, match="out: another process is writing there; wait for its end"),
            held(tmp_path / "out"),
        ):
            pass
        with held(tmp_path / "other"), held("gs://bucket/folder"):
            pass
    with held(tmp_path / "out"):
        assert names(tmp_path) == ["other", "out"]


def test_an_error_leaves_the_old_one(tmp_path):
    fill(tmp_path / "folder", "old")
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "folder") as aside:
        aside.mkdir()
        (aside / "file").write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["folder"] and (tmp_path / "folder" / "file").read_text() == "old"


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, monkeypatch, renames):
    """Killed before the first rename of a directory onto another, between the two, and after both."""
    fill(tmp_path / "folder", "old")
    with monkeypatch.context() as patched:
        done = []

        def rename(path, target, really=os.rename):
            if len(done) == renames:
                os._exit(0)
            done.append(really(path, target))

        def removed_after_two_renames(path):
            if len(done) == 2:
                os._exit(0)

        patched.setattr("pathlib.Path.rename", rename)
        patched.setattr("tinybert_tf.files.remove", removed_after_two_renames)
        child = os.fork()
        if not child:
            try:
                fill(tmp_path / "folder")
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
    assert (tmp_path / "folder").exists() == (renames != 1)
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "folder"):
        raise RuntimeError
    assert (tmp_path / "folder" / "file").read_text() == ("new" if renames == 2 else "old")
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_cannot_be_written_is_named_in_one_line(tmp_path, code):
    write_json(tmp_path / "result.json", 1)
    with pytest.raises(InputError) as caught, atomic_write(tmp_path / "result.json") as aside:
        aside.write_text("half")
        raise OSError(code, os.strerror(code))
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'result.json'}: cannot be written: {os.strerror(code)}; make room or name")
    assert "\n" not in said
    assert names(tmp_path) == ["result.json"] and (tmp_path / "result.json").read_text() == "1\n"


def test_other_errors_are_left_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "copy") as aside:
        aside.write_text((tmp_path / "nothing").read_text())
    assert system_error(ValueError("no space left")) is None


def test_two_writers_of_one_path_do_not_disturb_each_other(tmp_path):
    """Such as two runs that share a `cache_dir`: what the second begins must not remove what the first is writing."""
    with atomic_write(tmp_path / "folder") as first:
        first.mkdir()
        (first / "file").write_text("first")
        child = os.fork()
        if not child:
            try:
                fill(tmp_path / "folder", "second")
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert (tmp_path / "folder" / "file").read_text() == "second"
        with atomic_write(tmp_path / "folder") as third:
            assert third != first
            fill(third, "third")
    assert (tmp_path / "folder" / "file").read_text() == "first"
    assert names(tmp_path) == ["folder"]


def test_many_directories_of_two_processes_are_all_written(tmp_path):
    children = []
    for _ in range(2):
        if not (child := os.fork()):
            try:
                for number in range(100):
                    fill(tmp_path / "folder", str(number))
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert names(tmp_path) == ["folder"] and (tmp_path / "folder" / "file").read_text() == "99"


def test_a_directory_that_another_process_puts_first_is_replaced(tmp_path, monkeypatch):
    """Between the two renames; and one that is being replaced when a process begins is not taken for a killed one's."""
    fill(tmp_path / "folder", "old")
    others = []

    def rename(path, target, really=os.rename):
        really(path, target)
        if target.name.endswith(".old") and not others:
            others.append(target)
            fill(tmp_path / "folder", "of another process")

    monkeypatch.setattr("pathlib.Path.rename", rename)
    fill(tmp_path / "folder")
    assert others and names(tmp_path) == ["folder"] and (tmp_path / "folder" / "file").read_text() == "new"


def test_of_several_that_stepped_aside_the_last_is_restored(tmp_path):
    """What a user named in the same way stays."""
    (tmp_path / ".folder.old").mkdir()
    for name in (".folder.1700000000000000000-ab.old", ".folder.1800000000000000000-aa.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "folder"):
        raise RuntimeError
    assert names(tmp_path) == [".folder.old", "folder"]
    assert (tmp_path / "folder" / "file").read_text().startswith(".folder.18")


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    fill(tmp_path / "target", "old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    fill(tmp_path / "link")
    assert names(tmp_path) == ["link", "target"] and (tmp_path / "link" / "file").read_text() == "new"
    assert (tmp_path / "target" / "file").read_text() == "old"


def test_an_interruption_between_the_two_renames_leaves_the_old_directory(tmp_path, monkeypatch):
    fill(tmp_path / "folder", "old")

    def rename(path, target, really=os.rename):
        really(path, target)
        if target.name.endswith(".old"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.rename", rename)
        with pytest.raises(KeyboardInterrupt):
            fill(tmp_path / "folder")
    assert (tmp_path / "folder" / "file").read_text() == "old" and names(tmp_path) == ["folder"]


def test_a_file_and_a_directory_do_not_take_each_others_place(tmp_path):
    fill(tmp_path / "folder", "old")
    with pytest.raises(InputError, match=r"folder: is a directory, but a file is written here; name another place"):
        write_json(tmp_path / "folder", 1)
    (tmp_path / "file").write_text("old")
    with pytest.raises(InputError, match=r"file: is a file, but a directory is written here; name another place"):
        fill(tmp_path / "file")
    assert (tmp_path / "folder" / "file").read_text() == "old" and names(tmp_path) == ["file", "folder"]


def test_a_json_object_has_each_name_once(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"a": 1, "b": 2, "a": 3}')
    with pytest.raises(InputError, match=r"config.json: not valid JSON \(two entries named 'a'\); fix it"):
        read_json_object(path)
    path.write_text("[1]")
    with pytest.raises(InputError, match="holds a list, not an object"):
        read_json_object(path)
