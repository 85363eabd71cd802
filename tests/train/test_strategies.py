"""One device, several devices and several processes learn the same.

Several devices and workers are tried in processes of their own, since devices are laid out once: this file is their program.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tinybert_tf.checkpoints import load_model
from tinybert_tf.data.corpus import CorpusSettings, make_corpus
from tinybert_tf.errors import InputError
from tinybert_tf.train import distribution
from tinybert_tf.train.distribution import best_strategy, make_strategy, sharded
from tinybert_tf.train.general import GeneralSettings, distill_general
from tinybert_tf.train.pretrain import PretrainSettings, pretrain
from tinybert_tf.train.stages import DistillSettings, FinetuneSettings, distill_task, finetune

PROGRAMS = {
    "finetune": lambda settings: finetune(FinetuneSettings(**settings)),
    "distill_task": lambda settings: distill_task(DistillSettings(**settings)),
    "distill_general": lambda settings: distill_general(GeneralSettings(**settings)),
    "pretrain": lambda settings: pretrain(PretrainSettings(**settings)),
}

REPOSITORY = Path(__file__).resolve().parents[2]
# Small, since most of the time goes into tracing; and dropout would draw other numbers on each device.
SIZES = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_hidden_layers": 2}


@pytest.fixture
def jobs(glue, make_directory, tmp_path):
    """(strategy, steps, names) -> (folder, [[name, settings], ...]): training programs on a small task, without dropout.

    40 rows in batches of 12: the last batch is filled up with rows that do not count, and all on the last replica.
    """
    teacher = make_directory("t", **SIZES)
    student = make_directory("s", **(SIZES | {"num_hidden_layers": 1, "hidden_size": 8}))
    encoder = make_directory("e", head="encoder", **SIZES)
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
    both = {"train_batch_size": 12, "evaluations": 1}
    task = both | {"task": "sst2", "data_dir": str(glue), "seq_len": 16}
    text = both | {"corpus": str(tmp_path / "corpus"), "learning_rate": 1e-3}
    settings = {
        "finetune": task | {"model": str(teacher), "learning_rate": 1e-3},
        "distill_task": task
        | {"teacher": str(teacher), "student": str(student), "teacher_dtype": "float32"}
        | {"intermediate_learning_rate": 1e-3, "prediction_learning_rate": 1e-3},
        "distill_general": text | {"teacher": str(encoder), "student": "1x8x2x16", "teacher_dtype": "float32"},
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
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "CUDA_VISIBLE_DEVICES": "",
        "KERAS_BACKEND": "tensorflow",
    }
    if cluster:
        config = {"cluster": {"worker": cluster}, "task": {"type": "worker", "index": worker}}
        environment["TF_CONFIG"] = json.dumps(config)
    command = [sys.executable, __file__, json.dumps(job)]
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


def wait_for(happened: Callable[[], bool], processes: list[subprocess.Popen], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end and all(process.poll() is None for process in processes)
        time.sleep(0.05)


def check_equal(folder: Path, expected: Path, results: dict, wanted: dict, models=("model", "last")) -> None:
    for name, result in results.items():
        assert result["score"] == pytest.approx(wanted[name]["score"], abs=1e-5), name
        for model in models:
            ours, theirs = load_model(folder / name / model), load_model(expected / name / model)
            for weight, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
                np.testing.assert_allclose(weight, other, atol=1e-5, rtol=0, err_msg=f"{folder.name} {name} {model}")


def measurements(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if "events" not in path.parts}


def test_two_processes_learn_what_one_device_learns(jobs):
    programs = ("finetune", "distill_task", "distill_general")
    one, alone = jobs("one_device", 3, *programs)
    pair, job = jobs("multi_worker", 3, *programs)
    workers = start_workers(job, 2)
    wanted = {name: PROGRAMS[name](settings) for name, settings in alone}
    (of_chief, said), (of_worker, also_said) = finish(workers)
    check_equal(pair, one, of_chief, wanted)
    assert of_worker == of_chief
    assert files(pair) == files(one)
    # Each worker says what it does, with its number if it is not the chief; the measurements are written once.
    assert any(line.startswith("finetune  step 3/3") for line in said.splitlines())
    assert any(line.startswith("worker 1: finetune  step 3/3") for line in also_said.splitlines())
    for name in programs:
        written, expected = (
            [(row["stage"], row["step"], row["split"]) for row in measurements(folder / name)] for folder in (pair, one)
        )
        assert written == expected


@pytest.mark.slow
def test_devices_and_processes_learn_over_fifty_steps_what_one_device_learns(jobs):
    one, alone = jobs("one_device", 50)
    wanted = finish([start(alone)])[0][0]
    for devices in (2, 4):
        folder, job = jobs("mirrored", 50, num_devices=devices)
        check_equal(folder, one, finish([start(job)])[0][0], wanted)
    folder, job = jobs("multi_worker", 50)
    found = [results for results, _ in finish(start_workers(job, 3))]
    check_equal(folder, one, found[0], wanted)
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_worker_stops_the_other_and_the_restarted_pair_goes_on(jobs, lost):
    """SIGKILL in the middle of a stage, whose every step leaves a checkpoint."""
    one, alone = jobs("one_device", 50, "distill_task")
    pair, job = jobs("multi_worker", 50, "distill_task", save_every_seconds=0.0)
    wanted = finish([start(alone)])[0][0]
    workers = start_workers(job, 2)
    wait_for(lambda: any((pair / "distill_task" / "checkpoints").glob("*_intermediate_?")), workers)
    workers[lost].kill()
    begun = time.monotonic()
    _, errors = workers[1 - lost].communicate(timeout=60)
    assert time.monotonic() - begun < 60
    assert workers[1 - lost].returncode == 1
    assert (
        f"LostWorkerError: worker {1 - lost}: another worker has ended or cannot be reached; start the same" in errors
    )
    workers[lost].communicate()

    (results, said), _ = finish(start_workers(job, 2))
    assert "intermediate  goes on after step" in said
    check_equal(pair, one, results, wanted)


@pytest.mark.slow
def test_a_worker_that_is_told_to_stop_stops_all_after_the_same_step(jobs):
    one, alone = jobs("one_device", 50, "pretrain")
    pair, job = jobs("multi_worker", 50, "pretrain", evaluations=50)
    wanted = finish([start(alone)])[0][0]
    workers = start_workers(job, 2)
    wait_for(lambda: (pair / "pretrain" / "model").is_dir(), workers)
    workers[1].send_signal(signal.SIGTERM)
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert "KeyboardInterrupt: after step" in errors
    (results, said), _ = finish(start_workers(job, 2))
    assert "pretrain  goes on after step" in said
    check_equal(pair, one, results, wanted, models=("last",))


@pytest.mark.parametrize("batch_size, workers, replicas", [(12, 2, 4), (12, 3, 3), (1024, 1024, 1024)])
def test_every_row_goes_to_one_replica(monkeypatch, batch_size, workers, replicas):
    """The shares of all workers, one beside the other, are the batch. Only what TensorFlow says of the cluster is made up."""
    cluster = SimpleNamespace(
        num_replicas_in_sync=replicas, distribute_datasets_from_function=lambda function: function
    )
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: cluster)
    rows = np.arange(3 * batch_size, dtype=np.int32)
    batches = tf.data.Dataset.from_tensor_slices(({"ids": rows}, rows)).batch(batch_size)
    share = sharded(batches, batch_size)
    chosen = {0, 1, workers // 2, workers - 1}
    for worker in chosen:
        parts = list(share(tf.distribute.InputContext(workers, worker, replicas)))
        per_worker, per_replica = batch_size // workers, batch_size // replicas
        assert {len(features["ids"]) for features, _ in parts} == {per_replica}
        given = np.concatenate([label for _, label in parts]).reshape(3, per_worker)
        begin = worker * per_worker
        np.testing.assert_array_equal(given, rows.reshape(3, batch_size)[:, begin : begin + per_worker])


def test_a_batch_that_replicas_cannot_share_is_refused(glue, make_directory, tmp_path, monkeypatch):
    settings = FinetuneSettings(
        task="sst2",
        data_dir=str(glue),
        output_dir=str(tmp_path / "r"),
        model=str(make_directory("m")),
        train_batch_size=8,
    )
    monkeypatch.setattr(distribution, "make_strategy", lambda *_: SimpleNamespace(num_replicas_in_sync=3))
    with pytest.raises(
        InputError, match="--train_batch_size=8: 3 replicas cannot share it equally; take a multiple of 3"
    ):
        finetune(settings)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "TF_CONFIG is not set; set it on each worker"),
        ("{", "TF_CONFIG={: names no chief or worker"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "IndexError"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "KeyError: 'ps'"),
    ],
)
def test_a_cluster_that_is_not_one_is_refused(monkeypatch, config, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(InputError, match=re.escape(message)):
        make_strategy("multi_worker")


def test_auto_takes_what_there_is(monkeypatch):
    devices = {"GPU": [], "TPU": []}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: devices[kind])
    for name in ("TF_CONFIG", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert best_strategy() == "one_device"
    devices["GPU"] = ["GPU:0", "GPU:1"]
    assert best_strategy() == "mirrored"
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}')
    assert best_strategy() == "multi_worker"
    devices["TPU"] = ["TPU:0"]
    assert best_strategy() == "tpu"


if __name__ == "__main__":
    # Runs [[name, settings], ...] one after the other; the last line has their results.
    print("RESULTS", json.dumps({name: PROGRAMS[name](settings) for name, settings in json.loads(sys.argv[1])}))
