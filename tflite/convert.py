"""Converts a model directory to a .tflite file with its vocabulary, labels and metadata inside."""

import dataclasses
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bin"))

import common
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.data.settings import DATA_DIR_HELP
from tinybert_tf.errors import InputError
from tinybert_tf.export import QUANTIZE_MODES, Limits, delegation, export_best, export_tflite, file_texts, task_texts
from tinybert_tf.report import Column, markdown_table
from tinybert_tf.settings import UNUSED_SEED, integers, nested, setting

_MODES = ", ".join(f"{name} ({how.meaning})" for name, how in QUANTIZE_MODES.items())


@dataclasses.dataclass(frozen=True)
class ConvertSettings:
    model_dir: str = setting("", "the model directory that is converted", required=True)
    output: str = setting("", "the .tflite file that is written", required=True)
    seq_len: str = setting("128", "the fixed length of the inputs; of several (16,32,64,128) a text takes the shortest")
    quantize: str = setting("dynamic", f"weights: {_MODES}; or auto: the smallest that holds --max_drop on --task")
    task: str | None = setting(
        None, "texts of its training set calibrate integer weights and int8's ranges; auto scores files on its dev set"
    )
    data_dir: str | None = setting(None, DATA_DIR_HELP)
    custom: CustomFiles = nested(CustomFiles)
    calibration_file: str | None = setting(
        None, "texts to calibrate with instead of the task's, one a line, pairs with a tab between"
    )
    max_drop: float | None = setting(None, "auto: the largest loss of score, 0 to 1 (absent: 0.01)")
    max_mb: float | None = setting(None, "auto: the largest file; with it or --max_ms the most faithful file is kept")
    max_ms: float | None = setting(None, "auto: the longest median time of a text on one thread of this machine")
    text_input: str | None = setting(None, "single or pair: the tokenizer in the file, by TensorFlow Text's operations")
    output_vector: str | None = setting(
        None,
        "pooled, mean or first_token: the encoder's vector instead of its head, for search and MediaPipe's TextEmbedder",
    )
    output_dir: str | None = setting(None, "the folder of a relative --output")
    seed: int = setting(0, UNUSED_SEED)


def main(settings: ConvertSettings) -> dict:
    output = Path(settings.output_dir or ".") / settings.output
    lengths = integers("seq_len", settings.seq_len)
    result = {}
    _check_limits(settings)
    if settings.quantize == "auto":
        report, trials = _try_all(settings, output, lengths)
        result["trials"] = [dataclasses.asdict(trial) for trial in trials]
    else:
        report = export_tflite(
            settings.model_dir,
            output,
            seq_len=lengths,
            quantize=settings.quantize,
            calibration_texts=_calibration_texts(settings),
            text_input=settings.text_input,
            output_vector=settings.output_vector,
        )
    needed = "with TensorFlow Text's tokenizer" if settings.text_input else "all builtin"
    print(f"wrote {report.path}: {report.mb:.1f} MB, {sum(report.operators.values())} operations, {needed}")
    if QUANTIZE_MODES[report.quantize].integer_weights and report.calibrated is False:
        print("its weights are rounded to the nearest; with --task or --calibration_file the file is more faithful")
    if len(lengths) > 1:
        print("MediaPipe's tasks load files of one length; this one is for LiteRT's signatures")
    if not settings.text_input:  # which LiteRT's own interpreter does not load
        nodes = delegation(report.path)
        print(
            f"XNNPACK takes {nodes.delegated} of {nodes.nodes} operations; left are {', '.join(nodes.left) or 'none'}"
        )
        result["delegated"], result["nodes"], result["not_delegated"] = nodes.delegated, nodes.nodes, nodes.left
    return dataclasses.asdict(report) | result


def _check_limits(settings: ConvertSettings) -> None:
    for name in ("max_drop", "max_mb", "max_ms"):
        if (limit := getattr(settings, name)) is None:
            continue
        if not math.isfinite(limit):
            raise InputError("must be a number", name, limit)
        if settings.quantize != "auto":
            message = (
                f"limits what `quantize=auto` may choose, not `quantize={settings.quantize}`; leave it out or take auto"
            )
            raise InputError(message, name, limit)


def _try_all(settings: ConvertSettings, output: Path, lengths: list[int]):
    if not settings.task or settings.text_input or settings.output_vector:
        message = "scores files on `task`, which must be given, and takes no `text_input` and no `output_vector`"
        raise InputError(message, "quantize", "auto")
    given = {} if settings.max_drop is None else {"max_drop": settings.max_drop}
    limits = Limits(max_mb=settings.max_mb, max_ms=settings.max_ms, **given)
    report, trials = export_best(
        settings.model_dir,
        output,
        settings.task,
        settings.data_dir,
        files=settings.custom,
        limits=limits,
        seq_len=lengths,
        calibration_texts=file_texts(settings.calibration_file) if settings.calibration_file else None,
    )
    columns = ["quantize", "mb", "median_ms", Column("score", "score", "{:.4f}".format)]
    columns += [Column("drop", "drop", "{:.4f}".format), "max_logit_error", "delegated", "fails", "chosen"]
    print(markdown_table([dataclasses.asdict(trial) for trial in trials], columns))
    if report is None:
        raise InputError(f"no mode holds {limits}; the table above says which limits each exceeds: allow more")
    return report, trials


def _calibration_texts(settings: ConvertSettings):
    if settings.calibration_file:
        return file_texts(settings.calibration_file)
    if settings.task and settings.quantize in QUANTIZE_MODES and QUANTIZE_MODES[settings.quantize].integer_weights:
        return task_texts(settings.task, settings.data_dir, settings.custom)
    return None


if __name__ == "__main__":
    common.run(ConvertSettings, main)
