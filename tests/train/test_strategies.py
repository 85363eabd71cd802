"""One device, several devices and several processes learn the same. Each in processes of its own: devices are laid out once."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model
from tinybert_tf.data.corpus import CorpusSettings, make_corpus

# Runs training programs one after the other: [[name, settings], ...] -> a line of JSON with their results.
PROGRAM = """
import json, sys
from tinybert_tf.train.general import GeneralSettings, distill_general
from tinybert_tf.train.pretrain import PretrainSettings, pretrain
from tinybert_tf.train.stages import DistillSettings, FinetuneSettings, distill_task, finetune
programs = {"finetune": (finetune, FinetuneSettings), "distill_task": (distill_task, DistillSettings),
            "distill_general": (distill_general, GeneralSettings), "pretrain": (pretrain, PretrainSettings)}
results = {}
for name, settings in json.loads(sys.argv[1]):
    program, kind = programs[name]
    results[name] = program(kind(**settings))
print("RESULTS", json.dumps(results))
"""

REPOSITORY = Path(__file__).resolve().parents[2]
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture
def jobs(glue, make_directory, tmp_path):
    """(strategy, steps) -> what PROGRAM is told: every training program on a small task, without dropout.

    40 rows in batches of 12: the last batch is filled up with rows that do not count, and all on the last replica.
    """
    teacher = make_directory("t", **NO_DROPOUT)
    student = make_directory("s", num_hidden_layers=2, hidden_size=8, **NO_DROPOUT)
    encoder = make_directory("e", head="encoder", **NO_DROPOUT)
    random = np.random.default_rng(0)
    words = ("the", "film", "was", "good", "bad", "not")
    lines = [" ".join(random.choice(words, random.integers(2, 13))) for _ in range(70)]
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n")
    make_corpus(
        CorpusSettings(
            input=str(tmp_path / "text.txt"), vocab=str(teacher / "vocab.txt"), output_dir=str(tmp_path / "corpus"),
            max_seq_length=16, packing="contiguous", held_out=0.1,
        )
    )  # fmt: skip
    both = {"train_batch_size": 12, "evaluations": 2}
    task = both | {"task": "sst2", "data_dir": str(glue), "seq_len": 16}
    text = both | {"corpus": str(tmp_path / "corpus"), "learning_rate": 1e-3}
    settings = {
        "finetune": task | {"model": str(teacher), "learning_rate": 1e-3},
        "distill_task": task
        | {"teacher": str(teacher), "student": str(student), "teacher_dtype": "float32"}
        | {"intermediate_learning_rate": 1e-3, "prediction_learning_rate": 1e-3},
        "distill_general": text | {"teacher": str(encoder), "student": "2x8x2x16", "teacher_dtype": "float32"},
        "pretrain": text | {"model": str(encoder)},
    }

    def make(strategy: str, steps: int, *names: str, **changes):
        run = {"strategy": strategy, "max_steps": steps} | changes
        lengths = {
            "finetune": {"epochs": steps},
            "distill_task": {"intermediate_epochs": steps, "prediction_epochs": steps},
            "distill_general": {"epochs": steps},
            "pretrain": {"epochs": steps},
        }
        folder = tmp_path / "_".join(map(str, (strategy, *changes.values())))
        return folder, [
            [name, settings[name] | lengths[name] | run | {"output_dir": str(folder / name)}]
            for name in names or settings
        ]

    return make


def start(job, cluster=None, worker=0) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if cluster:
        config = {"cluster": {"worker": cluster}, "task": {"type": "worker", "index": worker}}
        environment["TF_CONFIG"] = json.dumps(config)
    command = [sys.executable, "-c", PROGRAM, json.dumps(job)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes)


def start_workers(job, count: int) -> list[subprocess.Popen]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    cluster = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return [start(job, cluster, worker) for worker in range(count)]


def finish(processes: list[subprocess.Popen], timeout: float = 500) -> list[tuple[dict, str]]:
    """(results, what was printed) of each process."""
    found = []
    try:
        for process in processes:
            output, errors = process.communicate(timeout=timeout)
            assert process.returncode == 0, errors[-3000:]
            line = output.strip().splitlines()[-1]
            assert line.startswith("RESULTS "), output
            found.append((json.loads(line.removeprefix("RESULTS ")), output))
    finally:
        for process in processes:
            process.kill()
    return found


def check_equal(folder: Path, expected: Path, results: dict, wanted: dict) -> None:
    for name, result in results.items():
        assert result["score"] == pytest.approx(wanted[name]["score"], abs=1e-5), name
        for model in ("model", "last"):
            ours, theirs = load_model(folder / name / model), load_model(expected / name / model)
            for weight, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
                np.testing.assert_allclose(weight, other, atol=1e-5, rtol=0, err_msg=f"{folder.name} {name} {model}")


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if "events" not in path.parts}


def test_devices_and_processes_learn_what_one_device_learns(jobs):
    one, alone = jobs("one_device", 4)
    two, devices = jobs("mirrored", 4, num_devices=2)
    pair, workers = jobs("multi_worker", 4)
    (wanted, _), (results, _) = finish([start(alone), start(devices)])
    check_equal(two, one, results, wanted)
    (of_chief, said), (of_worker, also_said) = finish(start_workers(workers, 2))
    check_equal(pair, one, of_chief, wanted)
    assert of_worker == of_chief
    assert files(pair) == files(one)
    for lines, prefix in ((said, "finetune  step 4/4"), (also_said, "worker 1: finetune  step 4/4")):
        assert any(line.startswith(prefix) for line in lines.splitlines()), lines
    rows = [json.loads(line) for line in (pair / "finetune" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == len((one / "finetune" / "metrics.jsonl").read_text().splitlines())
