"""Every program that writes, on a disk that is full, that fills up on the way, or that may only be read.

The disk is a small tmpfs: file modes would not stop a test that runs as root.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tinybert_tf.augmentation import Augmentation, AugmentSettings, augment_task
from tinybert_tf.checkpoints import load_model
from tinybert_tf.corpus import CorpusSettings, make_corpus
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model
from tinybert_tf.evaluate.predict import PredictSettings, predict
from tinybert_tf.export import export_tflite
from tinybert_tf.export.runtime import TFLiteModel
from tinybert_tf.report import report_runs
from tinybert_tf.settings import compose
from tinybert_tf.train.checkpoint import CheckpointFolder
from tinybert_tf.train.distill_general import GeneralSettings, distill_general
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.finetune import FinetuneSettings, finetune
from tinybert_tf.train.pretrain import PretrainSettings, pretrain
from tinybert_tf.train.sweep import SweepSettings, sweep

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = ("corpus", "augment", "pretrain", "general", "finetune", "distil", "sweep", "evaluate", "predict", "convert",
            "report")  # fmt: skip
QUICK = ("corpus", "convert", "report")
SLOW = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in PROGRAMS]


class Disk:
    """A file system of 8 MB."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        self._mount("-t", "tmpfs", "-o", "size=8m", "tmpfs")

    def _mount(self, *arguments: str) -> None:
        done = subprocess.run(["mount", *arguments, self.folder], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")

    def leave(self, kilobytes: int) -> None:
        """Leaves so much room, in steps of 4 KB."""
        free = os.statvfs(self.folder)
        (self.folder / "filling").write_bytes(bytes(free.f_bavail * free.f_frsize - 1024 * kilobytes))

    def make_room(self) -> None:
        (self.folder / "filling").unlink()

    def forbid(self) -> None:
        self._mount("-o", "remount,ro")

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", self.folder], check=True)


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "disk")
    yield disk
    disk.unmount()


@pytest.fixture
def programs(glue, make_directory, tmp_path):
    """Name -> a function that runs a program and has it write to a path."""
    labels = {"label2id": {"negative": 0, "positive": 1}, "num_hidden_layers": 2}
    teacher, masked_lm = (
        str(make_directory("teacher", "classification", **labels)),
        str(make_directory("lm", "masked_lm")),
    )
    text, corpus, run = tmp_path / "text.txt", tmp_path / "corpus", tmp_path / "run"
    text.write_text("the film was good and the play was not dull\n" * 200)
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"settings": {"seed": 0}, "result": {"task": "sst2", "score": 0.5}}))
    rows = [{"stage": "finetune", "step": step, "split": "train", "loss": 1.0 / step} for step in (1, 2, 3)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"task": "sst2", "data_dir": str(glue), "seq_len": 16}
    training = {"train_batch_size": 8, "max_steps": 6, "evaluations": 2, "save_every_seconds": 0.0}
    distilling = (
        task | training | {"teacher": teacher, "student": "2x16x2x32", "teacher_dtype": "float32", "init": "random"}
    )
    making = {"input": str(text), "vocab": f"{teacher}/vocab.txt", "max_seq_length": 16, "packing": "contiguous"}
    make = lambda out: make_corpus(CorpusSettings(**making, output_dir=str(out), held_out=0.1, shard_mb=0.002))

    def on_text(program, settings, **others):
        def run_program(out):
            if not corpus.exists():
                make(corpus)
            return program(compose(settings, **training, corpus=str(corpus), output_dir=str(out), **others))

        return run_program

    return {
        "corpus": make,
        "augment": lambda out: augment_task(
            AugmentSettings(
                task="sst2",
                data_dir=str(glue),
                output_dir=str(out),
                masked_lm=masked_lm,
                word_vectors="none",
                algorithm=Augmentation(copies=2),
            )
        ),
        "pretrain": on_text(pretrain, PretrainSettings, model=masked_lm),
        "general": on_text(
            distill_general, GeneralSettings, teacher=masked_lm, student="2x16x2x32", init="random", teacher_dtype="float32"
        ),
        "finetune": lambda out: finetune(compose(FinetuneSettings, **task, **training, model=teacher, output_dir=str(out))),
        "distil": lambda out: distill_task(compose(DistillSettings, **distilling, output_dir=str(out))),
        "sweep": lambda out: sweep(
            compose(SweepSettings, **distilling, output_dir=str(out), batch_sizes="8", learning_rates="1e-3", stage="prediction")
        ),
        "evaluate": lambda out: evaluate_model(compose(EvaluateSettings, **task, model_dir=teacher, output_dir=str(out))),
        "predict": lambda out: predict(compose(PredictSettings, **task, model_dir=teacher, output_dir=str(out))),
        "convert": lambda out: export_tflite(teacher, out / "model.tflite", seq_len=16),
        "report": lambda out: report_runs([run], out),
    }  # fmt: skip


def check_whole(folder: Path) -> None:
    """Every file below a folder is whole, and none is left from writing."""
    for path in folder.rglob("*"):
        if path.is_dir() or "events" in path.parts or path.name == "filling":
            continue
        assert not path.name.endswith((".partial", ".old")), path
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            assert all(json.loads(line) for line in path.read_text().splitlines())
        elif path.suffix == ".safetensors":
            safetensors.numpy.load_file(path)
        elif path.suffix == ".tflite":
            TFLiteModel(path)
        else:
            assert path.stat().st_size, path


def check_stops(program, out: Path, reason: str) -> str:
    """The program ends with one line, which says why and where; returns it."""
    with pytest.raises(InputError) as caught:
        program(out)
    said = str(caught.value)
    assert reason in said and str(out.parent) in said and "\n" not in said
    assert "make room or name another place" in said
    check_whole(out.parent)
    return said


@pytest.mark.parametrize("name", SLOW)
def test_a_disk_that_may_only_be_read_is_named(programs, disk, name):
    (disk.folder / "out").mkdir()
    (disk.folder / "out" / "scores.json").write_text("1")
    disk.forbid()
    out = disk.folder / ("new" if name in ("corpus", "augment") else "out")
    check_stops(programs[name], out, "Read-only file system")
    assert (disk.folder / "out" / "scores.json").read_text() == "1"


@pytest.mark.parametrize("name", SLOW)
def test_a_disk_that_is_full_or_fills_up_is_named_and_the_work_continues_when_there_is_room(programs, disk, name):
    program, stopped = programs[name], []
    for kilobytes in (0, 12, 40, 100) if name not in ("evaluate", "predict") else (0,):
        disk.leave(kilobytes)
        try:
            said = check_stops(program, disk.folder / "out", "No space left on device")
        except pytest.fail.Exception:  # it had room enough
            break
        finally:
            disk.make_room()
        stopped.append(said)
    assert stopped
    program(disk.folder / "out")
    check_whole(disk.folder)


@pytest.mark.slow
def test_a_checkpoint_that_finds_no_room_leaves_the_one_before_it(programs, disk, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole", disk.folder / "out"
    programs["finetune"](whole)
    write = CheckpointFolder.write

    def write_on_a_full_disk(folder, checkpoint):
        if checkpoint.step == 4:
            disk.leave(16)
        write(folder, checkpoint)

    with monkeypatch.context() as patched:
        patched.setattr(CheckpointFolder, "write", write_on_a_full_disk)
        said = check_stops(programs["finetune"], out, "No space left on device")
    assert said.startswith(f"{out}/checkpoints/000004_finetune_4: cannot be written")
    assert CheckpointFolder(out / "checkpoints").last().step == 3
    disk.make_room()
    programs["finetune"](out)
    for model in ("model", "last"):
        pairs = zip(load_model(out / model).get_weights(), load_model(whole / model).get_weights(), strict=True)
        assert all(np.array_equal(ours, theirs) for ours, theirs in pairs)


@pytest.mark.slow
def test_a_program_on_a_full_disk_ends_with_one_line_and_exit_code_1(programs, disk, tmp_path):
    """Standing for all: they share what turns an error into a line."""
    disk.leave(0)
    vocabulary = tmp_path / "teacher" / "vocab.txt"
    command = [sys.executable, "bin/make_corpus.py", f"--input={tmp_path / 'text.txt'}", f"--vocab={vocabulary}"]
    command.append(f"--output_dir={disk.folder / 'out'}")
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(lines) == 1 and "No space left on device" in lines[0]
    assert "Traceback" not in done.stderr
