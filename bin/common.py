"""Shared by all programs: a flag for each setting, config files, and one clear line for bad input."""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import shared.fast_help  # noqa: F401 - before anything that takes long to import

# Without a GPU, TensorFlow logs an error that it found none; real errors also raise an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if Path("/dev/nvidiactl").exists() else "3")
os.environ["KERAS_BACKEND"] = "tensorflow"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml
from absl import app, flags

from tinybert_tf.distribution import first_line
from tinybert_tf.errors import InputError, LostWorkerError
from tinybert_tf.files import system_error
from tinybert_tf.progress import LogHandler
from tinybert_tf.settings import build, flat_fields, read_yaml, setting_type

# Failures outside the program: reported in one line, without a traceback.
_ONE_LINE = (LostWorkerError, FloatingPointError, FileExistsError, NotADirectoryError)
# The flags below are registered for the calling program, so that its --help lists them.
flags.disclaim_key_flags()
_DEFINE = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}


def run(settings_class: type, main: Callable) -> None:
    """Runs a program: flags -> settings -> `main(settings)`, whose result is printed as the last line.

    A setting comes from, in rising order: its default, `--config_file`, `--params_override`, its own flag.
    Exit codes: 0 done, 1 bad input (one line), 130 interrupted.
    """
    flags.DEFINE_string("config_file", None, "YAML file with settings; see configs/.")
    flags.DEFINE_string("params_override", None, 'Settings as "name=value,name=value" or as YAML.')
    flags.DEFINE_bool("quiet", False, "Show warnings and the result only, no progress.")
    for field in flat_fields(settings_class).values():
        default = f" (default: {field.default})" if field.default not in (None, "") else ""
        _DEFINE[setting_type(field)](field.name, None, field.metadata.get("help", field.name) + default)

    def guarded(argv: list[str]) -> int:
        # Explicitly, because SIGINT is ignored in a script's background processes.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        _show_log()
        try:
            if len(argv) > 1:
                raise InputError(f"unknown argument {argv[1]!r}; settings are given as --name=value")
            result = main(_settings(settings_class))
        except InputError as error:
            print(f"error: {error.as_flags(set(flags.FLAGS))}", file=sys.stderr)
            return 1
        except _ONE_LINE as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt as interrupt:
            print(f"interrupted {interrupt}".rstrip(), file=sys.stderr)
            return 130
        except Exception as error:
            # An InputError inside a tf.data pipeline arrives as an error of TensorFlow.
            line = first_line(error)
            if system_error(error) is None and "InputError: " not in line:
                raise
            print(f"error: {line.rpartition('InputError: ')[2]}", file=sys.stderr)
            return 1
        print(f"RESULT {json.dumps(result)}")
        return 0

    app.run(guarded)


def _show_log() -> None:
    """Prints the library's INFO messages to standard output without a prefix; of other packages, warnings and errors."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", force=True)
    library = logging.getLogger("tinybert_tf")
    handler = LogHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    library.handlers, library.propagate = [handler], False
    library.setLevel(logging.WARNING if flags.FLAGS.quiet else logging.INFO)


def _settings(settings_class: type):
    """The settings of this call."""
    fields = flat_fields(settings_class)
    values = {}
    for flag in ("config_file", "params_override"):
        given = flags.FLAGS[flag].value
        if not given:
            continue
        if flag == "config_file" and not Path(given).is_file():
            raise InputError("no such file", flag, given)
        text = Path(given).read_bytes() if flag == "config_file" else _as_yaml(given)
        values |= read_yaml(settings_class, f"--{flag}={given}", text)
    values |= {name: flags.FLAGS[name].value for name in fields if flags.FLAGS[name].value is not None}
    for name, field in fields.items():
        if field.metadata.get("required") and values.get(name, field.default) in (None, ""):
            raise InputError(f"is missing; it is {field.metadata['help']}", name)
    return build(settings_class, values)


def _as_yaml(override: str) -> str:
    """name=value,name=value as YAML; YAML is unchanged."""
    from official.modeling.hyperparams import params_dict

    try:
        return params_dict.nested_csv_str_to_json_str(override)
    except ValueError:
        if "=" in override and not _is_mapping(override):
            message = "a value with a comma or another sign needs quotes, as layer_map='3,6' in a list of name=value"
            raise InputError(message, "params_override", override) from None
        return override


def _is_mapping(text: str) -> bool:
    try:
        return isinstance(yaml.safe_load(text), dict)
    except yaml.YAMLError:
        return False
