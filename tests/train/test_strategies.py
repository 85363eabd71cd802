"""One device, several devices and several processes learn the same.

Several devices and workers are tried in processes of their own, since devices are laid out once: this file is their program.
"""

import json
import logging
import os
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

from tinybert_tf import distribution
from tinybert_tf.checkpoints import load_model
from tinybert_tf.corpus import CorpusSettings, make_corpus, read_corpus
from tinybert_tf.data import Tokenizer, batches, load_task
from tinybert_tf.distribution import replica_slice
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model
from tinybert_tf.evaluate.predict import PredictSettings, predict
from tinybert_tf.settings import compose
from tinybert_tf.train.distill_general import GeneralSettings, distill_general
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.finetune import FinetuneSettings, finetune
from tinybert_tf.train.pretrain import PretrainSettings, pretrain
from tinybert_tf.train.sweep import SweepSettings, sweep

PROGRAMS = {
    "finetune": lambda settings: finetune(compose(FinetuneSettings, **settings)),
    "distill_task": lambda settings: distill_task(compose(DistillSettings, **settings)),
    "distill_general": lambda settings: distill_general(compose(GeneralSettings, **settings)),
    "pretrain": lambda settings: pretrain(compose(PretrainSettings, **settings)),
    "sweep": lambda settings: sweep(compose(SweepSettings, **settings)),
    "evaluate": lambda settings: evaluate_model(compose(EvaluateSettings, **settings)),
    "predict": lambda settings: predict(compose(PredictSettings, **settings)),
}
TRAINED = ("finetune", "distill_task", "distill_general", "pretrain")

REPOSITORY = Path(__file__).resolve().parents[2]
# Small, since most of the time goes into tracing; and dropout would draw other numbers on each device.
SIZES = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_hidden_layers": 2}


@pytest.fixture
def jobs(glue, make_directory, tmp_path):
    """(strategy, steps, names) -> (folder, [[name, settings], ...]): programs on a small task, without dropout.

    40 rows in batches of 12: the last batch is filled up with rows that do not count, and all on the last replica. Scored
    are 9 rows, predicted 5.
    """
    texts = [f"{n}\tthe film was {'not ' * (n % 3)}good" for n in range(5)]
    (glue / "SST-2" / "test.tsv").write_text("\n".join(["index\tsentence", *texts]) + "\n")
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
    data = {"task": "sst2", "data_dir": str(glue), "seq_len": 16}
    task = both | data
    text = both | {"corpus": str(tmp_path / "corpus"), "learning_rate": 1e-3}
    distilling = task | {
        "teacher": str(teacher),
        "student": str(student),
        "teacher_dtype": "float32",
        "intermediate_learning_rate": 1e-3,
        "prediction_learning_rate": 1e-3,
    }
    settings = {
        "finetune": task | {"model": str(teacher), "learning_rate": 1e-3},
        "distill_task": distilling,
        "sweep": distilling | {"stage": "prediction", "batch_sizes": "6,12", "learning_rates": "1e-3"},
        "distill_general": text | {"teacher": str(encoder), "student": "1x8x2x16", "teacher_dtype": "float32"},
        "pretrain": text | {"model": str(encoder)},
        "evaluate": data | {"model_dir": str(teacher), "batch_size": 8},
        "predict": data | {"model_dir": str(teacher), "batch_size": 3},
    }

    def make(strategy: str, steps: int, *names: str, workers: int = 1, **changes):
        run = {"strategy": strategy} | changes
        lengths = {
            "finetune": {"epochs": steps},
            "distill_task": {"intermediate_epochs": steps, "prediction_epochs": steps},
            "sweep": {"prediction_epochs": steps},
            "distill_general": {"epochs": steps},
            "pretrain": {"epochs": steps},
        }
        folder = tmp_path / "_".join(map(str, (strategy, workers, *changes.values())))
        trained = {name: {"max_steps": steps} | length for name, length in lengths.items()}
        return folder, [
            [name, settings[name] | trained.get(name, {}) | run | {"output_dir": str(folder / name)}] for name in names
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


def finish(processes: list[subprocess.Popen], timeout: float = 3000) -> list[tuple[dict, str]]:
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
    """The weights agree within 1e-5; scores of a task are the same, those of losses on held-out text within 1e-5 too."""
    for name, result in results.items():
        if name in ("finetune", "distill_task", "evaluate"):
            assert result["metrics"] == wanted[name]["metrics"], name
        elif name == "predict":
            ours, theirs = ((root / name / "SST-2.tsv").read_text() for root in (folder, expected))
            assert ours == theirs and ours.count("\n") == 6
        else:
            assert result["score"] == pytest.approx(wanted[name]["score"], abs=1e-5), name
        for model in models if name in TRAINED else ():
            ours, theirs = load_model(folder / name / model), load_model(expected / name / model)
            pairs = zip(ours.get_weights(), theirs.get_weights(), strict=True)
            largest = max(float(np.abs(weight - other).max()) for weight, other in pairs)
            print(f"{folder.name} {name} {model}: largest difference of a weight {largest:.1e}", flush=True)
            assert largest < 1e-5, (folder.name, name, model)


def measurements(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if "events" not in path.parts}


@pytest.mark.slow
def test_two_processes_learn_what_one_device_learns(jobs):
    """The shortest program that trains, and those that score; the slow tests have them all."""
    programs = ("finetune", "evaluate", "predict")
    one, alone = jobs("one_device", 3, *programs)
    pair, job = jobs("multi_worker", 3, *programs)
    workers = start_workers(job, 2)
    wanted = {name: PROGRAMS[name](settings) for name, settings in alone}
    (of_chief, said), (of_worker, also_said) = finish(workers)
    check_equal(pair, one, of_chief, wanted)
    for name, result in of_worker.items():
        assert result.items() <= of_chief[name].items()  # the chief alone knows of an archive
    assert files(pair) == files(one)
    # Each worker says what it does, with its number if it is not the chief; the measurements are written once.
    assert any(line.startswith("finetune  step 3/3") for line in said.splitlines())
    assert any(line.startswith("worker 1: finetune  step 3/3") for line in also_said.splitlines())
    written, expected = (
        [(row["stage"], row["step"], row["split"]) for row in measurements(folder / "finetune")]
        for folder in (pair, one)
    )
    assert written == expected


@pytest.mark.slow
def test_devices_and_processes_learn_over_fifty_steps_what_one_device_learns(jobs):
    programs = (*TRAINED, "evaluate", "predict")
    one, alone = jobs("one_device", 50, *programs)
    wanted = finish([start(alone)])[0][0]
    for devices in (2, 4):
        folder, job = jobs("mirrored", 50, *programs, num_devices=devices)
        check_equal(folder, one, finish([start(job)])[0][0], wanted)
    for count in (2, 3):
        folder, job = jobs("multi_worker", 50, *programs, workers=count)
        found = [results for results, _ in finish(start_workers(job, count))]
        check_equal(folder, one, found[0], wanted)
        for results in found[1:]:
            assert all(results[name] == found[0][name] for name in (*TRAINED, "evaluate"))


@pytest.mark.slow
def test_a_bfloat16_teacher_and_accumulated_gradients_are_shared_too(jobs):
    changes = {"accumulation_steps": 2, "teacher_dtype": "bfloat16"}
    one, alone = jobs("one_device", 8, "distill_general", **changes)
    wanted = finish([start(alone)])[0][0]
    folder, job = jobs("mirrored", 8, "distill_general", **changes, num_devices=2)
    check_equal(folder, one, finish([start(job)])[0][0], wanted)
    folder, job = jobs("multi_worker", 8, "distill_general", **changes)
    check_equal(folder, one, finish(start_workers(job, 2))[0][0], wanted)


@pytest.mark.slow
def test_two_processes_sweep_as_one_device_does(jobs):
    one, alone = jobs("one_device", 4, "sweep")
    pair, job = jobs("multi_worker", 4, "sweep")
    wanted = finish([start(alone)])[0][0]["sweep"]
    (of_chief, _), (of_worker, _) = finish(start_workers(job, 2))
    assert of_chief["sweep"] == of_worker["sweep"]
    assert of_chief["sweep"]["metrics"] == wanted["metrics"]
    assert files(pair) == files(one)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_worker_stops_the_other_and_the_restarted_pair_resumes(jobs, lost):
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
    assert "intermediate  resumes after step" in said
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
    assert "pretrain  resumes after step" in said
    check_equal(pair, one, results, wanted, models=("last",))


def check_shares(batches: list[np.ndarray], workers: int, rows: int) -> None:
    """Of row numbers [batch], -1 for filling: over all workers each number occurs once, in as many steps on each."""
    given = [[batch[replica_slice(len(batch), worker, workers)] for batch in batches] for worker in range(workers)]
    assert {len(steps) for steps in given} == {-(-rows // len(batches[0]))}
    assert len({part.shape for steps in given for part in steps}) == 1
    numbers = np.concatenate([part for steps in given for part in steps])
    np.testing.assert_array_equal(np.sort(numbers[numbers >= 0]), np.arange(rows))


def test_1024_workers_read_each_row_of_a_task_once_in_an_epoch(glue, make_directory):
    train = glue / "SST-2" / "train.tsv"
    lines = [f"the film was {'not ' * (n % 7)}good\t{n % 2}" for n in range(3001)]
    train.write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    data, tokenizer = load_task("sst2", str(glue)), Tokenizer.from_directory(make_directory("m"))
    options = {"batch_size": 1024, "seq_len": 16, "shuffle_seed": 0, "row_numbers": True}
    read = [numbers.numpy() for *_, numbers in batches(data.train, tokenizer, data.task, **options)]
    check_shares(read, 1024, 3001)


def test_1024_workers_read_each_example_of_a_corpus_once_in_an_epoch(make_directory, tmp_path):
    """Every example is another text, so that its words say which one it is."""
    words = ("the", "film", "was", "good", "bad", "not")
    text = [" ".join(words[n // 6**place % 6] for place in range(6)) for n in range(3000)]
    (tmp_path / "text.txt").write_text("\n\n".join(text) + "\n")
    settings = CorpusSettings(
        input=str(tmp_path / "text.txt"), vocab=str(make_directory("m") / "vocab.txt"), held_out=0.0, max_seq_length=8,
        output_dir=str(tmp_path / "corpus"), packing="contiguous", shard_mb=0.01,
    )  # fmt: skip
    make_corpus(settings)
    corpus = read_corpus(tmp_path / "corpus")
    assert corpus.examples == 3000 and len(corpus.files("train")) > 5
    first = 5  # the id of the first word; before it come special tokens
    of_text = lambda ids: np.where(ids[:, 0] == 0, -1, ((ids[:, 1:7] - first) * 6 ** np.arange(6)).sum(axis=1))
    read = [of_text(features["input_word_ids"].numpy()) for features in corpus.batches(batch_size=1024, shuffle_seed=0)]
    check_shares(read, 1024, 3000)


def test_a_batch_that_replicas_cannot_share_is_refused(glue, make_directory, tmp_path, monkeypatch):
    settings = compose(
        FinetuneSettings,
        task="sst2",
        data_dir=str(glue),
        output_dir=str(tmp_path / "r"),
        model=str(make_directory("m")),
        train_batch_size=8,
    )
    monkeypatch.setattr(distribution, "make_strategy", lambda *_: SimpleNamespace(num_replicas_in_sync=3))
    with pytest.raises(
        InputError, match="train_batch_size=8: 3 replicas cannot share it equally; take a multiple of 3"
    ):
        finetune(settings)
    assert not (tmp_path / "r").exists()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    # Runs [[name, settings], ...] one after the other; the last line has their results.
    print("RESULTS", json.dumps({name: PROGRAMS[name](settings) for name, settings in json.loads(sys.argv[1])}))
