import dataclasses
import doctest

import pytest

from tinybert_tf import settings
from tinybert_tf.errors import InputError
from tinybert_tf.settings import build, flat_fields, flat_values, integers, nested, read_yaml, replace, setting


@dataclasses.dataclass(frozen=True)
class Run:
    seed: int = setting(0, "random seed")
    output_dir: str = setting("", "where", required=True)


@dataclasses.dataclass(frozen=True)
class Program:
    run: Run = nested(Run)
    rate: float = setting(0.1, "learning rate")


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(settings).failed == 0


def test_groups_are_flattened_and_built_again():
    made = build(Program, {"seed": 3, "rate": 0.5, "unknown": 1})
    assert made == Program(Run(seed=3), rate=0.5)
    assert flat_values(made) == {"seed": 3, "output_dir": "", "rate": 0.5}
    assert replace(made, output_dir="x") == Program(Run(3, "x"), 0.5)


def test_a_name_stands_for_one_setting():
    @dataclasses.dataclass(frozen=True)
    class Twice:
        run: Run = nested(Run)
        seed: int = setting(1, "random seed")

    with pytest.raises(TypeError, match="two settings named seed"):
        flat_fields(Twice)


def test_yaml_names_settings_of_groups():
    assert read_yaml(Program, "f.yaml", "seed: 4\nrate: 1e-3") == {"seed": 4, "rate": 1e-3}
    with pytest.raises(InputError, match="seed is 'x', but must be an integer"):
        read_yaml(Program, "f.yaml", "seed: x")


@pytest.mark.parametrize("written", ["2024_01_05", "2024-01-05", "0012", "1.10", "12:30", "1e5", "true_story"])
def test_a_text_that_looks_like_a_number_stays_as_it_is_written(written):
    assert read_yaml(Program, "x.yaml", f"output_dir: {written}")["output_dir"] == written


def test_an_empty_file_sets_nothing_and_a_switch_is_no_text():
    assert read_yaml(Program, "f.yaml", "# nothing\n") == {}
    with pytest.raises(InputError, match="output_dir is False, but must be a text; put it in quotes"):
        read_yaml(Program, "f.yaml", "output_dir: no")


def test_integers_are_positive():
    assert integers("threads", "1,2") == [1, 2]
    with pytest.raises(InputError, match="threads=0: must be integers from 1 on"):
        integers("threads", "0")


def test_a_setting_that_is_written_twice_is_refused():
    with pytest.raises(InputError, match=r"f.yaml: not valid YAML \(two entries named 'seed'\)"):
        read_yaml(Program, "f.yaml", "seed: 4\nrate: 1e-3\nseed: 5")
    merged = "method: &all {seed: 4}\n<<: *all\nseed: 5"  # one that replaces a merged one is no second one
    assert read_yaml(Program, "f.yaml", merged) == {"seed": 5}
