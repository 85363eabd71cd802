"""A run that was cut off ends like one that was not: the same weights, the same measurements."""

import contextlib
import json
import shutil
import signal

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model
from tinybert_tf.corpus import CorpusSettings, make_corpus
from tinybert_tf.errors import InputError
from tinybert_tf.settings import compose
from tinybert_tf.train import fit as fit_module
from tinybert_tf.train import training_set
from tinybert_tf.train.checkpoint import CheckpointFolder, StageCheckpoint
from tinybert_tf.train.distill_general import GeneralSettings, distill_general
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.finetune import FinetuneSettings, finetune
from tinybert_tf.train.inputs import check_inputs_of, input_states
from tinybert_tf.train.pretrain import PretrainSettings, pretrain
from tinybert_tf.train.run import Run

TASK = {"task": "sst2", "train_batch_size": 8, "seq_len": 16, "evaluations": 2}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture
def corpus(make_directory, tmp_path):
    """Sentences as a corpus, in the vocabulary of `make_directory`."""
    words = ("the", "film", "was", "good", "bad", "not")
    random = np.random.default_rng(0)
    lines = [" ".join(random.choice(words, 12)) for _ in range(60)]
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n")
    vocabulary = make_directory("vocabulary_of") / "vocab.txt"
    settings = CorpusSettings(
        input=str(tmp_path / "text.txt"), vocab=str(vocabulary), output_dir=str(tmp_path / "corpus"), max_seq_length=16,
        packing="contiguous", held_out=0.1,
    )  # fmt: skip
    make_corpus(settings)
    return tmp_path / "corpus"


@pytest.fixture
def programs(glue, corpus, make_directory, tmp_path):
    """Name -> a function that runs a program into a directory; every network has dropout."""
    teacher, student = make_directory("t"), make_directory("s", num_hidden_layers=2, hidden_size=8)
    encoder = make_directory("e", head="encoder")
    wide = make_directory("w", num_hidden_layers=2, hidden_size=32, intermediate_size=64)
    task, text = TASK | {"data_dir": str(glue)}, {"corpus": str(corpus), "train_batch_size": 8, "evaluations": 2}

    def distilling(**changes):
        common = task | {"teacher": str(teacher), "prediction_epochs": 1, "teacher_dtype": "float32"} | changes
        return lambda output: distill_task(compose(DistillSettings, **common, output_dir=str(output)))

    return {
        "finetune": lambda output: finetune(
            compose(FinetuneSettings, **task, model=str(teacher), output_dir=str(output), epochs=2, learning_rate=1e-2)
        ),
        "distill_task": distilling(student=str(student), intermediate_epochs=1),
        # The scales that the second stage begins with are chosen after the first, and the average begins with them.
        "quantize_aware": distilling(
            student=str(wide),
            intermediate_epochs=0.6,
            prediction_learning_rate=1e-2,
            quantize_aware="int4",
            weight_averaging=0.9,
        ),
        "biases": distilling(
            student=str(wide),
            stage="prediction",
            prediction_epochs=2,
            prediction_learning_rate=1e-2,
            quantize_aware="int4",
            train_integers=False,
        ),
        "distill_general": lambda output: distill_general(
            compose(
                GeneralSettings,
                **text,
                teacher=str(encoder),
                student="2x8x2x16",
                init="random",
                output_dir=str(output),
                max_steps=8,
                teacher_dtype="float32",
                accumulation_steps=2,
            )
        ),
        "pretrain": lambda output: pretrain(
            compose(
                PretrainSettings, **text, model=str(encoder), output_dir=str(output), max_steps=8, learning_rate=1e-2
            )
        ),
    }


class AfterSteps:
    """Interrupts a run after a number of steps."""

    def __init__(self, steps: int):
        self.left = steps

    @property
    def received(self) -> bool:
        self.left -= 1
        return self.left < 0


def interrupt_after(monkeypatch, steps: int) -> None:
    interruption = AfterSteps(steps)
    monkeypatch.setattr(fit_module, "deferred_signals", lambda: contextlib.nullcontext(interruption))


def measurements(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "examples_per_second"} for row in rows]


@pytest.mark.parametrize(
    "program",
    [
        slow("finetune"),
        "distill_task",
        slow("quantize_aware"),
        slow("biases"),
        slow("distill_general"),
        slow("pretrain"),
    ],
)
def test_an_interrupted_run_resumes_exactly(programs, program, tmp_path, monkeypatch):
    run, whole, parts = programs[program], tmp_path / "whole", tmp_path / "parts"
    expected = run(whole)
    for steps in (2, 4):
        with monkeypatch.context() as patched:
            interrupt_after(patched, steps)
            with pytest.raises(KeyboardInterrupt, match="start the same command again"):
                run(parts)
    result = run(parts)
    assert result["metrics"] == pytest.approx(expected["metrics"], rel=1e-6)
    # Graphs that are traced again may add up the parts of a loss in another order: its last digit, not a weight, differs.
    for ours, theirs in zip(measurements(parts), measurements(whole), strict=True):
        assert (ours["stage"], ours["step"], ours["split"]) == (theirs["stage"], theirs["step"], theirs["split"])
        number = lambda row: {name: value for name, value in row.items() if name not in ("stage", "split")}
        assert number(ours) == pytest.approx(number(theirs), rel=1e-6)
    for name in ("model", "last"):
        for ours, theirs in zip(
            load_model(parts / name).get_weights(), load_model(whole / name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    assert not (parts / "checkpoints").exists()


# Settings that the first version wrote into run.json; it wrote neither how rows are read nor what settings resolve to.
RUN = "output_dir seed max_steps save_every_seconds strategy num_devices train_batch_size evaluations"
TASK_RUN = f"{RUN} task data_dir seq_len max_train_examples augmented_data_dir train_file dev_file text_column"
STUDENT = "teacher student init layer_map student_dropout padding teacher_dtype"
STAGES = "stage intermediate_epochs prediction_epochs intermediate_learning_rate prediction_learning_rate"
FIRST_SETTINGS = {
    "finetune": f"{TASK_RUN} model vocab epochs learning_rate".split(),
    "distill_task": f"{TASK_RUN} {STUDENT} {STAGES} temperature prediction_target".split(),
    "distill_general": f"{RUN} {STUDENT} corpus epochs learning_rate warmup_proportion accumulation_steps".split(),
}


def as_the_first_version_wrote(run, program: str) -> None:
    path = run / "run.json"
    description = json.loads(path.read_text())
    for name in ("reading", "resolved"):
        description.pop(name, None)
    description["settings"] = {n: v for n, v in description["settings"].items() if n in FIRST_SETTINGS[program]}
    # Its defaults; now the recipe decides.
    former = {"padding": "exclude", "student_dropout": False, "prediction_target": "teacher"}
    description["settings"] |= {name: former[name] for name in former.keys() & set(FIRST_SETTINGS[program])}
    path.write_text(json.dumps(description))


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(("program", "steps"), [("finetune", 2), ("distill_task", 7), ("distill_general", 2)])
def test_a_run_of_the_first_version_is_resumed_exactly(programs, program, steps, tmp_path, monkeypatch):
    """It read its rows in another order, and knew half of today's settings."""
    run, whole, parts = programs[program], tmp_path / "whole", tmp_path / "parts"
    with monkeypatch.context() as first_version:
        first_version.setattr(training_set, "reads_shards", lambda settings: False)
        run(whole)
        interrupt_after(first_version, steps)
        with pytest.raises(KeyboardInterrupt):
            run(parts)
    as_the_first_version_wrote(parts, program)
    run(parts)
    for weights in zip(*(load_model(folder / "last").get_weights() for folder in (parts, whole)), strict=True):
        np.testing.assert_array_equal(*weights)
    as_the_first_version_wrote(whole, program)
    assert run(whole)["steps" if program != "distill_general" else "score"] > 0  # finished, and not refused


@pytest.mark.slow
def test_a_signal_during_the_last_checkpoint_of_a_stage_interrupts_too(programs, tmp_path, monkeypatch):
    write, ends = Run.write_checkpoint, []

    def write_and_signal(run, stage, step, steps, *rest):
        write(run, stage, step, steps, *rest)
        if step == steps and not ends:
            ends.append(step)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Run, "write_checkpoint", write_and_signal)
    with pytest.raises(KeyboardInterrupt, match=r"after step \d+ of finetune; start the same command again"):
        programs["finetune"](tmp_path / "run")
    assert programs["finetune"](tmp_path / "run")["steps"] == ends[0]


@pytest.mark.usefixtures("eagerly")
def test_a_finished_run_is_not_run_again_and_other_settings_are_refused(programs, tmp_path, caplog):
    first = programs["finetune"](tmp_path / "run")
    caplog.clear()
    assert programs["finetune"](tmp_path / "run") == first
    assert "this run is finished" in caplog.text
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    with pytest.raises(InputError, match="holds a run with `learning_rate=0.01`, this one has 0.5"):
        finetune(compose(FinetuneSettings, **settings | {"learning_rate": 0.5}))


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("finished", [True, False])
def test_a_run_does_not_go_on_with_other_files(programs, glue, tmp_path, monkeypatch, finished):
    """Of equal size: dev's labels are the other way around, so the best score so far would be that of other rows."""
    run, dev = tmp_path / "run", glue / "SST-2" / "dev.tsv"
    if not finished:
        with monkeypatch.context() as patched:
            interrupt_after(patched, 7)
            with pytest.raises(KeyboardInterrupt):
                programs["finetune"](run)
    else:
        programs["finetune"](run)
    text = dev.read_text()
    dev.write_text(text.replace("\t1\n", "\tx\n").replace("\t0\n", "\t1\n").replace("\tx\n", "\t0\n"))
    message = r"holds a run whose `data_dir` has changed since it began \(SST-2/dev.tsv: other contents\)"
    with pytest.raises(InputError, match=message):
        programs["finetune"](run)
    dev.write_text(text)
    assert programs["finetune"](run)["task"] == "sst2"


@pytest.mark.usefixtures("eagerly")
def test_a_finished_run_is_where_it_was_moved_to_and_needs_its_model(programs, tmp_path):
    programs["finetune"](tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    assert programs["finetune"](tmp_path / "moved")["model"] == str(tmp_path / "moved" / "model")
    shutil.rmtree(tmp_path / "moved" / "model")
    (tmp_path / "moved" / "checkpoints").mkdir()
    with pytest.raises(InputError, match="holds a finished run without its model/; delete it to train again"):
        programs["finetune"](tmp_path / "moved")


def test_inputs_are_the_files_that_settings_name(glue, make_directory, tmp_path):
    teachers = [make_directory("t"), make_directory("u")]
    (tmp_path / "t" / "README.md").write_text("a card, to which later steps add")
    settings = compose(
        DistillSettings,
        **TASK,
        data_dir=str(glue),
        teacher=",".join(map(str, teachers)),
        output_dir=str(tmp_path / "run"),
    )
    states = input_states(settings)
    assert states.keys() == {"data_dir", "teacher"}
    assert states["data_dir"].keys() == {"SST-2/dev.tsv", "SST-2/train.tsv"}
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    assert {name for name in states["teacher"] if name.startswith("t/")} <= {f"t/{name}" for name in names}
    assert states["teacher"]["u/model.safetensors"][0] == (tmp_path / "u" / "model.safetensors").stat().st_size
    earlier = json.loads(json.dumps(states))
    check_inputs_of(earlier, states, tmp_path)
    check_inputs_of({}, states, tmp_path)  # of an earlier version
    (glue / "SST-2" / "dev.tsv").unlink()
    with pytest.raises(InputError, match=r"SST-2/dev.tsv: \d+ bytes then, no such file now"):
        check_inputs_of(earlier, input_states(settings), tmp_path)


def test_a_malformed_row_is_named_before_anything_is_written(glue, make_directory, tmp_path):
    train = glue / "SST-2" / "train.tsv"
    train.write_text(train.read_text() + "the film\n")
    settings = compose(
        FinetuneSettings,
        **TASK,
        data_dir=str(glue),
        model=str(make_directory("m")),
        output_dir=str(tmp_path / "run"),
        epochs=1,
    )
    with pytest.raises(InputError, match="train.tsv, line 42: 1 columns"):
        finetune(settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_that_came_to_nothing_does_not_stand_in_the_way(programs, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"settings": {"learning_rate": 0.5}, "seed": 0}')
    assert programs["finetune"](tmp_path / "run")["task"] == "sst2"


def damage(checkpoint, how: str) -> None:
    variables = checkpoint / "variables.safetensors"
    content = variables.read_bytes()
    if how == "one bit":
        variables.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif how == "cut short":
        variables.write_bytes(content[: len(content) // 2])
    elif how == "unreadable":  # a read error
        variables.unlink()
        variables.mkdir()
    else:
        (checkpoint / "state.json").write_text("{" if how == "state cut short" else "[]")


@pytest.mark.parametrize("how", ["one bit", "cut short", "unreadable", "state cut short", "no state"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path, caplog, how):
    folder = CheckpointFolder(tmp_path)
    for step in (1, 2, 3):
        folder.write(StageCheckpoint("finetune", step, 9, {"metrics_bytes": 0}, [np.full(3, step, np.float32)]))
    assert folder.last().step == 3
    newest = sorted(tmp_path.iterdir())[-1]
    damage(newest, how)
    assert folder.last().step == 2
    assert f"{newest}: damaged checkpoint" in caplog.text
    assert len(list(tmp_path.iterdir())) == 1  # three were written, two are kept, and one of them was damaged


@pytest.mark.slow
def test_a_run_resumes_from_the_checkpoint_before_a_damaged_one(programs, tmp_path, monkeypatch, caplog):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    programs["finetune"](whole)
    for steps in (2, 1):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            interrupt_after(patched, steps)
            programs["finetune"](parts)
    before, newest = sorted((parts / "checkpoints").iterdir())
    assert before.name.endswith("finetune_3") and newest.name.endswith("finetune_5")
    damage(newest, "cut short")
    caplog.clear()
    programs["finetune"](parts)
    said = caplog.text
    assert f"{newest}: damaged checkpoint" in said and "finetune  resumes after step 3/" in said
    pairs = (load_model(parts / "last").get_weights(), load_model(whole / "last").get_weights())
    for ours, theirs in zip(*pairs, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("eagerly")
def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_the_batch(glue, make_directory, tmp_path):
    settings = compose(
        FinetuneSettings,
        **TASK,
        data_dir=str(glue),
        model=str(make_directory("m")),
        output_dir=str(tmp_path / "run"),
        learning_rate=1e30,
    )
    with pytest.raises(FloatingPointError, match=r"finetune, step \d+: the loss is not finite"):
        finetune(settings)
    batch = np.load(tmp_path / "run" / "not_finite.npz")
    assert set(batch) == {"input_word_ids", "input_mask", "input_type_ids", "label", "weight"}
    assert batch["input_word_ids"].shape[0] == 8


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("value", [np.nan, slow(np.inf)])
def test_the_batch_of_the_step_that_went_wrong_is_the_one_that_is_left(
    glue, make_directory, tmp_path, monkeypatch, value
):
    """The loss of the third step is spoilt."""
    settings = compose(
        FinetuneSettings, **TASK, data_dir=str(glue), model=str(make_directory("m")), output_dir=str(tmp_path / "r")
    )
    seen = []

    class Spoilt(fit_module._FiniteLoss):
        def on_step(self, step, logs):
            seen.append(next(iter(self.batches(step - 1)))[0]["input_word_ids"].numpy())
            super().on_step(step, {"loss": value} if step == 3 else logs)

    monkeypatch.setattr(fit_module, "_FiniteLoss", Spoilt)
    with pytest.raises(FloatingPointError, match=r"finetune, step 3: the loss is not finite; the batch is in .*npz"):
        finetune(settings)
    np.testing.assert_array_equal(np.load(tmp_path / "r" / "not_finite.npz")["input_word_ids"], seen[2])
    assert len(seen) == 3
