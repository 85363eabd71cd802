"""A pipeline that is killed again and again ends with the bytes of one that is not.

The pipeline runs in processes of its own, which can be killed: this file is their program.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import pytest
import tensorflow as tf

from tinybert_tf.corpus import CorpusSettings, make_corpus
from tinybert_tf.pipeline import run_task as run_task_module
from tinybert_tf.pipeline.run_task import RunTaskSettings, run_task
from tinybert_tf.pipeline.steps import Steps
from tinybert_tf.settings import compose
from tinybert_tf.train.distill_general import GeneralSettings, distill_general
from tinybert_tf.train.finetune import FinetuneSettings, finetune
from tinybert_tf.train.pretrain import PretrainSettings, pretrain

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS = 50
_STAGE = re.compile(r"\[step \d+\] (\w+)$")


def pipeline(output: Path, text: Path, glue: Path, pretrained: Path) -> None:
    """From plain text to files for the device. Every network that trains has dropout, whose random state is to be kept."""
    steps = Steps(output)
    training = {"output_dir": "", "train_batch_size": 8, "evaluations": 3, "save_every_seconds": 0.2}
    made = CorpusSettings(
        input=str(text), vocab=str(pretrained / "vocab.txt"), output_dir="", max_seq_length=16, packing="contiguous",
        held_out=0.1, shard_mb=0.1,
    )  # fmt: skip
    steps.run_program("corpus", make_corpus, made, text=text)
    on_text = training | {"corpus": str(output / "corpus"), "max_steps": 60, "learning_rate": 1e-3}
    masked_lm = compose(PretrainSettings, **on_text, model=str(pretrained), freeze_encoder=True)
    masked_lm = steps.run_program("masked_lm", pretrain, masked_lm)["model"]
    general = compose(GeneralSettings,
        **on_text, teacher=str(pretrained), student="2x16x2x32", init="random", student_dropout=True,
        accumulation_steps=2, teacher_dtype="float32",
    )  # fmt: skip
    general = steps.run_program("general", distill_general, general)["model"]
    task = {"task": "sst2", "data_dir": str(glue), "seq_len": 16}
    teacher = compose(FinetuneSettings, **training, **task, model=str(pretrained), epochs=8.0, learning_rate=1e-3)
    teacher = steps.run_program("teacher", finetune, teacher)["model"]
    run_task(
        compose(RunTaskSettings,
            **training | {"output_dir": str(output / "task")}, **task, teacher=teacher, student=general,
            masked_lm=masked_lm, copies=3, intermediate_epochs=4.0, prediction_epochs=4.0, student_dropout=True,
            teacher_dtype="float32",
        )
    )  # fmt: skip


class Forks:
    """Pipelines in processes of their own, forked from one that has imported TensorFlow, which takes many seconds."""

    def __init__(self):
        environment = os.environ | {
            "PYTHONPATH": str(REPOSITORY),
            "CUDA_VISIBLE_DEVICES": "",
            "KERAS_BACKEND": "tensorflow",
        }
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.process = subprocess.Popen([sys.executable, __file__], env=environment, **pipes)

    def run(self, arguments: list[Path], at_stage: Callable[[str], bool]) -> str | None:
        """Runs a pipeline, and kills it when `at_stage`, called with the name of each stage that begins, returns True.

        Returns:
            the stage that it was killed in, or None if it ended before.
        """
        self.process.stdin.write(json.dumps([str(path) for path in arguments]) + "\n")
        self.process.stdin.flush()
        pid, current, said, is_to_live = int(self.process.stdout.readline()), None, [], True
        for line in self.process.stdout:
            if line.startswith("ENDED "):
                break
            said.append(line)
            if found := _STAGE.match(line.strip()):
                current = found[1]
                if is_to_live and at_stage(current):
                    is_to_live = False
                    os.kill(pid, signal.SIGKILL)
        code = int(line.removeprefix("ENDED "))
        assert code in (0, -signal.SIGKILL), "".join(said[-30:])
        return current if code else None

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    """For each line of paths, a pipeline in a process of its own, whose number is printed first and whose end last."""
    write_report = run_task_module._write_report

    def announced_report(*arguments):
        print("[step 0] report", flush=True)
        return write_report(*arguments)

    run_task_module._write_report = announced_report
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                print(os.getpid(), flush=True)
                pipeline(*map(Path, json.loads(line)))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        print("ENDED", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def check_same(folder: Path, whole: Path) -> None:
    """The files of two runs: the same ones, and in them the same as far as they hold neither times nor paths."""

    def files(root: Path) -> list[str]:
        found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return sorted(path.as_posix() for path in found if "events" not in path.parts)

    assert files(folder) == files(whole)
    for name in files(whole):
        ours, theirs = folder / name, whole / name
        if name.endswith((".safetensors", ".tflite", ".tsv", ".txt", ".gz", "config.json", "manifest.json")):
            assert ours.read_bytes() == theirs.read_bytes(), name
        elif name.endswith(".json"):
            ours, theirs = json.loads(ours.read_text()), json.loads(theirs.read_text())
            assert ours.keys() == theirs.keys(), name
            if ours.get("result") and "metrics" in ours["result"]:
                assert ours["result"]["metrics"] == pytest.approx(theirs["result"]["metrics"], rel=1e-6), name
        elif name.endswith(".jsonl"):
            check_measurements(ours, theirs)
        elif name.endswith(".zip"):
            assert zipfile.ZipFile(ours).testzip() is None
        elif name.endswith(".png"):
            matplotlib.image.imread(ours)
        else:
            assert name.endswith((".html", ".md", ".csv")), name
            assert len(ours.read_text().splitlines()) == len(theirs.read_text().splitlines()), name
    for path in folder.rglob("events.*"):
        list(tf.compat.v1.train.summary_iterator(str(path)))


def check_measurements(ours: Path, theirs: Path) -> None:
    rows = [[json.loads(line) for line in path.read_text().splitlines()] for path in (ours, theirs)]
    for row, other in zip(*rows, strict=True):
        for key in ("stage", "split"):
            assert row.pop(key) == other.pop(key), ours
        row.pop("examples_per_second", None), other.pop("examples_per_second", None)
        assert row == pytest.approx(other, rel=1e-6), ours


@pytest.mark.slow
def test_a_pipeline_that_is_killed_fifty_times_ends_with_the_same_bytes(glue, make_directory, tmp_path, seed):
    """In each round every stage is killed once, after a random part of the time that it takes undisturbed."""
    chance = random.Random(seed)
    words = ("the", "film", "was", "good", "bad", "not", "play", "dull", "fine")
    text = tmp_path / "text.txt"
    text.write_text("".join(" ".join(chance.choices(words, k=20)) + ".\n" for _ in range(4000)))
    inputs = [text, glue, make_directory("pretrained", "encoder", num_hidden_layers=2)]
    forks, whole, begun = Forks(), tmp_path / "whole", {}
    assert forks.run([whole, *inputs], lambda stage: begun.update({stage: time.monotonic()})) is None
    ends = [*list(begun.values())[1:], time.monotonic()]
    seconds = {stage: end - begin for (stage, begin), end in zip(begun.items(), ends, strict=True)}
    print({stage: round(time, 1) for stage, time in seconds.items()}, flush=True)
    hits: Counter[str] = Counter()
    rounds = 0
    while sum(hits.values()) < KILLS:
        rounds += 1
        folder, left = tmp_path / f"round{rounds}", set(seconds)

        def at_stage(stage: str) -> bool:
            if stage in left:  # noqa: B023
                time.sleep(chance.uniform(0, seconds[stage]))
                return True
            return False

        while stage := forks.run([folder, *inputs], at_stage):
            hits[stage] += 1
            left.discard(stage)
            print(f"round {rounds}: killed in {stage}, {sum(hits.values())} kills", flush=True)
        check_same(folder, whole)
    forks.end()
    assert set(hits) == set(seconds), hits
    print(dict(hits), flush=True)


if __name__ == "__main__":
    main()
