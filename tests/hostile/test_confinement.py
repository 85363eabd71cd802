"""Nothing that stands in a file is run, and no name in a file leads out of the folder that is read or written."""

import json
import os
import pickle
import struct
import sys
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from tests.conftest import REPOSITORY
from tests.hostile.limits import is_accepted
from tests.hostile.text_readers import Settings, manifest_of
from tests.hostile.weight_readers import OPCODES, PROGRAM, torch_zip
from tinybert_tf.checkpoints.torch_pickle import read_torch_checkpoint
from tinybert_tf.corpus import read_corpus
from tinybert_tf.data import load_task
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.errors import InputError
from tinybert_tf.report.report import report_runs
from tinybert_tf.settings import read_yaml

# === Settings ===


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {proof}']",
        "!!python/object/new:os.system ['touch {proof}']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/tuple [1, 2]",
    ],
)
def test_yaml_makes_no_python_objects(value, tmp_path):
    proof = tmp_path / "was_run"
    with pytest.raises(InputError, match="not valid YAML .*could not determine a constructor"):
        read_yaml(Settings, "--config_file=a.yaml", f"task: {value.format(proof=proof)}")
    assert not proof.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: [a, b]", "a.yaml: task is a list, but must be a text"),
        ("seed: 1.5", "a.yaml: seed is 1.5, but must be an integer"),
        ("seed: true", "seed is True, but must be an integer"),
        ("seed: null", "seed is None, but must be an integer"),
        ("augment: 1", "augment is 1, but must be true or false"),
        ("learning_rate: fast", "learning_rate is 'fast', but must be a number"),
        ("colour: red", "there is no setting 'colour'; the settings are augment, learning_rate, seed, task"),
        ("- task", "a.yaml: holds a list, not settings as name: value"),
        ("a: &a [x, x]\nb: &b [*a, *a]", "there is no setting 'a'"),
        ("[" * 10_000, "not valid YAML"),
        ("seed: 1\x00", "not valid YAML"),
        (b"seed: \xff", "not valid YAML"),
    ],
)
def test_a_setting_of_another_type_is_named(text, message):
    with pytest.raises(InputError, match=message.replace("[", r"\[")) as caught:
        read_yaml(Settings, "a.yaml", text)
    assert str(caught.value).isprintable()


def test_settings_have_the_types_that_they_are_declared_with():
    text = "task: 3\nseed: 7\nlearning_rate: 5e-5\naugment: yes\n"
    found = read_yaml(Settings, "a.yaml", text)
    assert found == {"task": "3", "seed": 7, "learning_rate": 5e-5, "augment": True}
    assert read_yaml(Settings, "a.yaml", "learning_rate: null") == {"learning_rate": None}
    assert [type(value) for value in found.values()] == [str, int, float, bool]


def test_a_list_of_lists_of_lists_takes_no_time():
    """Nine lines that are a billion words when they are written out."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    for text in ("\n".join([*lines, "seed: *a9"]), "\n".join([*lines, "task: *a9"])):
        assert not is_accepted(lambda text=text: read_yaml(Settings, "a.yaml", text))


def test_programs_read_their_settings_so(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "bin"))
    from absl import flags

    import common

    values = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", values)
    for name in ("config_file", "params_override", "task", "seed", "learning_rate", "augment"):
        flags.DEFINE_string(name, None, "", flag_values=values)
    config = tmp_path / "a.yaml"
    config.write_text("task: sst2\nseed: 3\nlearning_rate: 1e-5\n")
    values([sys.argv[0], f"--config_file={config}", "--params_override=seed=4,augment=true"])
    assert common._settings(Settings) == Settings(task="sst2", seed=4, learning_rate=1e-5, augment=True)
    config.write_text("task: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InputError, match="not valid YAML"):
        common._settings(Settings)


# === Weights ===


DEEP_KEY = b"}" + b")" + b"\x85" * 200_000 + b"Ns."
HUNGRY = (
    b"\x80\x02Nr\xff\xff\xff\x7f.",
    b"\x80\x05\x96" + b"\0\0\0\0\4\0\0\0" + b".",
    DEEP_KEY,
    b"\x80\x02ccollections\nOrderedDict\n(" + DEEP_KEY[:-1] + b"tR.",
    b"\x80\x02ccollections\nOrderedDict\n)R" + DEEP_KEY[1:],
    b"(" + b")" + b"\x85" * 200_000 + b"ctorch\nFloatStorage\nNNNtQ.",
    b"(X\x07\0\0\0storagectorch\nFloatStorage\n)" + b"2\x86" * 60 + b"NNtQ.",
)


def test_a_pickle_that_asks_for_memory_or_depth_is_refused(tmp_path):
    """Each of these ends Python's own unpickler by memory (40 GB of memo, 16 GB of bytes) or by the stack."""
    path = tmp_path / "pytorch_model.bin"
    for program in HUNGRY:
        path.write_bytes(torch_zip(program))
        assert not is_accepted(lambda: read_torch_checkpoint(path)), program[:40]


def test_a_tensor_that_repeats_its_storage_is_refused(tmp_path):
    """A stride of 0 makes a terabyte of one number, which the conversion to float32 would write out."""
    path = tmp_path / "pytorch_model.bin"
    huge = b"J\xff\xff\xff\x7f\x85"
    program = PROGRAM.replace(b"K\x03\x85K\x01\x85", huge + b"K\x00\x85")
    assert program != PROGRAM
    path.write_bytes(torch_zip(program))
    with pytest.raises(InputError, match="repeats the 3 numbers of its storage"):
        read_torch_checkpoint(path)


def test_every_operation_of_a_state_dict_is_known(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(torch_zip(PROGRAM))
    found = read_torch_checkpoint(path)
    assert {name: value.shape for name, value in found.items()} == {"a.weight": (2, 3), "b.bias": (3,)}
    assert b"cos\nsystem\n" in OPCODES  # what the fuzz test splices in


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "../model.safetensors", "/etc/x.safetensors", "a/b.safetensors", ""]
)
def test_a_part_of_sharded_weights_lies_beside_its_index(name, tmp_path):
    from tinybert_tf.checkpoints.huggingface import read_tensors

    (tmp_path / "model.safetensors").write_bytes(safetensors.numpy.save({"a": np.ones(2, np.float32)}))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(InputError, match=r"is no name of a \.safetensors file beside it"):
        read_tensors(folder)


def legacy(program: bytes) -> bytes:
    """The format of PyTorch before 1.6, with `program` as its state dict."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, machine))
    storages = [np.arange(6, dtype=np.float32), np.ones(3, np.float16)]
    blocks = b"".join(struct.pack("<q", block.size) + block.tobytes() for block in storages)
    return head + program + pickle.dumps(["0", "1"], 2) + blocks


def test_the_format_before_1_6_is_as_confined(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(legacy(PROGRAM))
    assert read_torch_checkpoint(path)["a.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    command = b"\x80\x02cos\nsystem\nX\x04\0\0\0echo\x85R."
    with pytest.raises(InputError, match=r"asks to load os\.system.*nothing was executed"):
        path.write_bytes(legacy(command)) and read_torch_checkpoint(path)
    for program in (*HUNGRY, *OPCODES):
        path.write_bytes(legacy(program))
        assert not is_accepted(lambda: read_torch_checkpoint(path)), program[:40]
    # A header or a list of storages may ask for no more than a state dict.
    path.write_bytes(command)
    assert not is_accepted(lambda: read_torch_checkpoint(path))
    path.write_bytes(legacy(PROGRAM)[:-14].replace(pickle.dumps(["0", "1"], 2), command))
    assert not is_accepted(lambda: read_torch_checkpoint(path))


# === Names that lead elsewhere ===


@pytest.mark.parametrize("name", ["../train-0.tfrecord.gz", "/etc/passwd", "", "a/b", "gs://bucket/file"])
def test_a_shard_lies_beside_its_manifest(name, tmp_path):

    folder = tmp_path / "corpus"
    folder.mkdir()
    (tmp_path / "train-0.tfrecord.gz").write_bytes(b"x" * 10)
    manifest = manifest_of(10)
    manifest["shards"][0]["train"]["file"] = name
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="is no name of a file beside it"):
        read_corpus(folder)


def test_task_names_are_no_paths(tmp_path):
    for name in ("../cola", "/etc/passwd", "cola/../..", ""):
        with pytest.raises(InputError, match="unknown task"):
            load_task(name, tmp_path)


def test_files_in_archives_are_read_and_never_written(tmp_path, monkeypatch):
    """Archives are read by name; no name in one becomes the name of a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(zipfile.ZipFile, "extract", None)
    monkeypatch.setattr(zipfile.ZipFile, "extractall", None)
    folder = tmp_path / "inside" / "here"
    folder.mkdir(parents=True)
    path = folder / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../escaped/data.pkl", PROGRAM.replace(b"\x01\x00\x00\x000", b"\x09\x00\x00\x00../../../x"))
        archive.writestr("../../escaped/data/0", bytes(24))
    with pytest.raises(InputError):
        read_torch_checkpoint(path)
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()] == [
        os.path.join("inside", "here", "pytorch_model.bin")
    ]


# === Messages and files of ours ===


def test_an_error_is_one_line_whatever_stands_in_the_file(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text('text,"lab\nel\x1b[2J"\n' + "x,1\n" * 3)
    files = CustomFiles(train_file=str(path), text_column="text", label_column="label")
    with pytest.raises(InputError, match=r"has text, lab\\nel\\x1b\[2J"):
        load_task("custom", files=files)
    message = str(InputError("a" * 100_000))
    assert len(message) < 1100 and " … " in message


def test_a_csv_with_a_hundred_thousand_columns_takes_no_time(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(",".join(map(str, range(100_000))) + "\n")
    files = CustomFiles(train_file=str(path), text_column="text", label_column="label")
    assert not is_accepted(lambda: list(load_task("custom", files=files).train))


def test_a_report_escapes_what_runs_say(tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    folder = tmp_path / evil
    folder.mkdir()
    run = {"settings": {"task": evil, evil: [evil]}, "result": {"task": evil, "score": 0.5}}
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "metrics.jsonl").write_text(
        json.dumps({"stage": "</h2>", "step": 1, "split": "train", "loss": 1.0}) + "\n"
    )
    files = report_runs([folder], tmp_path / "report")
    assert "<img src=x" not in files.html.read_text() and "&lt;img src=x" in files.html.read_text()
    assert "<img src=x" not in files.markdown.read_text()
    assert {path.parent for path in (tmp_path / "report").rglob("*")} == {tmp_path / "report"}
