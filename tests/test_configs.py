"""Every configuration file sets known settings to values that they take, and says how to use it."""

import contextlib
import shlex
from pathlib import Path

import pytest
import yaml

from tinybert_tf.augmentation import AugmentSettings
from tinybert_tf.data import get_task
from tinybert_tf.pipeline.compare import CompareSettings
from tinybert_tf.pipeline.run_task import RunTaskSettings
from tinybert_tf.settings import compose, flat_fields
from tinybert_tf.train.distill_general import GeneralSettings
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.finetune import FinetuneSettings

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
TASKS = sorted((CONFIGS / "task").glob("*.yaml"))
FULL_SIZE = sorted((CONFIGS / "full_size").glob("*.yaml"))
GENERAL = sorted((CONFIGS / "general").glob("*.yaml"))
METHODS = sorted(
    path for folder in ("ablations", "rivals", "ways", "starts", "chain") for path in (CONFIGS / folder).glob("*.yaml")
)
COMPARISONS = sorted((CONFIGS / "compare").glob("*.yaml"))
# What a recipe begins with that another one made.
FINISHED = {"runs/between/mnli/model"}
SETTINGS = {
    "run_task": RunTaskSettings,
    "distill_task": DistillSettings,
    "distill_general": GeneralSettings,
    "finetune": FinetuneSettings,
    "augment": AugmentSettings,
}


def check(settings, values):
    fields = {name: str(field.type) for name, field in flat_fields(type(settings)).items()}
    for name, value in values.items():
        assert not isinstance(value, str) or "str" in fields[name], f"{name} must be a number"


def number(text: str) -> int | float | str:
    """A flag's value: YAML takes 3e-5 for text."""
    value = yaml.safe_load(text)
    with contextlib.suppress(ValueError):
        return value if isinstance(value, int) else float(text)
    return value


@pytest.mark.parametrize("path", [*TASKS, *FULL_SIZE, *GENERAL, *METHODS], ids=lambda path: path.stem)
def test_a_configuration_says_how_to_run_it_and_what_is_proven(path):
    text = path.read_text()
    header = [line for line in text.splitlines() if line.startswith("#")]
    program = next(name for name in SETTINGS if any(f"bin/{name}.py" in line for line in header))
    assert any(f"--config_file={path.relative_to(CONFIGS.parent)}" in line for line in header)
    assert any("unproven" in line or "Score:" in line for line in header)
    values = yaml.safe_load(text)
    about = values.pop("method", {})
    assert about.get("program", program) == program
    required = {"output_dir": "o", "teacher": "t", "task": "mrpc"} | (
        {"corpus": "c"} if program == "distill_general" else {}
    )
    required = {name: value for name, value in required.items() if name in flat_fields(SETTINGS[program])}
    check(compose(SETTINGS[program], **required | values), values)


@pytest.mark.parametrize("path", FULL_SIZE, ids=lambda path: path.stem)
def test_the_commands_of_a_full_size_recipe_have_settings_that_there_are(path):
    text = path.read_text().replace(" \\\n#", "")
    commands = [
        shlex.split(line[1:])
        for line in text.splitlines()
        if line.startswith(("#   python bin/", "#   python benchmarks/"))
    ]
    outputs = set()
    for _, program, *flags in commands:
        assert (CONFIGS.parent / program).is_file()
        values = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
        assert values["task"] == path.stem if "task" in values else "config_file" in values
        for name in ("teacher", "rows", "augmented_data_dir", "student"):
            made = values.get(name, "").startswith("runs/") and values[name] not in FINISHED
            assert not made or values[name].removesuffix("/model") in outputs, f"{name} is made by no command"
        outputs.add(values["output_dir"])
        if program.startswith("bin/"):
            values = {name: number(value) for name, value in values.items()}
            config = CONFIGS.parent / values.pop("config_file", "")
            given = yaml.safe_load(config.read_text()) if config.is_file() else {}
            settings = SETTINGS[Path(program).stem]
            check(compose(settings, **given | values), given)
    # Scores of more rows are read from a file, which a pipeline does not take.
    assert commands[-1][1] == ("bin/distill_task.py" if path.stem == "stsb" else "bin/run_task.py")


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_a_task_is_trained_as_long_as_the_paper_says(path):
    values = yaml.safe_load(path.read_text())
    task = get_task(path.stem)
    assert values["task"] == path.stem
    assert values["seq_len"] == task.seq_len
    if task.kind != "span":
        assert values["intermediate_epochs"] == task.intermediate_epochs
        assert values["prediction_epochs"] == task.prediction_epochs


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.stem)
def test_a_comparison_names_its_commands_and_files_that_there_are(path):
    text = path.read_text()
    assert f"#   python bin/compare.py --config_file={path.relative_to(CONFIGS.parent)}" in text
    values = yaml.safe_load(text)
    compose(CompareSettings, **values | {"teacher": "t", "output_dir": "o", "steps": 1})
    methods = [CONFIGS.parent / name for name in values["configs"].split(",")]
    assert all(method in METHODS for method in methods) and len(set(methods)) == len(methods)
    assert [get_task(task) for task in values["tasks"].split(",")]
