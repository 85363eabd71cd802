"""The program `tflite/convert.py`."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.data.settings import DATA_DIR_HELP, check_read
from tinybert_tf.errors import InputError
from tinybert_tf.export.auto import Limits, export_best
from tinybert_tf.export.convert import export_tflite
from tinybert_tf.export.examples import Texts, file_texts, task_texts
from tinybert_tf.export.writer.delegation import delegation
from tinybert_tf.export.writer.quantization import QUANTIZE_MODES
from tinybert_tf.settings import UNUSED_SEED, integers, nested, setting

_MODES = ", ".join(f"{name} ({how.meaning})" for name, how in QUANTIZE_MODES.items())


@dataclasses.dataclass(frozen=True)
class ConvertSettings:
    """A model directory, the file that is made of it, and texts to calibrate with."""

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

    def __post_init__(self):
        for name in ("max_drop", "max_mb", "max_ms"):
            if (limit := getattr(self, name)) is None:
                continue
            if not math.isfinite(limit):
                raise InputError("must be a number", name, limit)
            if self.quantize != "auto":
                raise InputError(
                    f"limits what `quantize=auto` may choose, not `quantize={self.quantize}`; leave it out or take auto",
                    name,
                    limit,
                )
        mode = QUANTIZE_MODES.get(self.quantize)
        if self.calibration_file and mode is not None and not mode.integer_weights:
            raise InputError(
                f"calibrates integer weights, which `quantize={self.quantize}` has not; leave it out", "calibration_file",
                self.calibration_file,
            )  # fmt: skip
        check_read(self.task, self.data_dir, self.custom)
        if self.quantize == "auto" and (not self.task or self.text_input or self.output_vector):
            message = "scores files on `task`, which must be given, and takes no `text_input` and no `output_vector`"
            raise InputError(message, "quantize", "auto")

    @property
    def limits(self) -> Limits:
        given = {} if self.max_drop is None else {"max_drop": self.max_drop}
        return Limits(max_mb=self.max_mb, max_ms=self.max_ms, **given)

    def calibration_texts(self) -> Texts | None:
        """Those of the file or, where the mode reads any, of the task; None where `auto` takes them itself."""
        if self.calibration_file:
            return file_texts(self.calibration_file)
        mode = QUANTIZE_MODES.get(self.quantize)
        if self.task and mode is not None and mode.integer_weights:
            return task_texts(self.task, self.data_dir, self.custom)
        return None


def convert_model(settings: ConvertSettings) -> dict[str, Any]:
    """Converts a model directory; the result of `tflite/convert.py`.

    Args:
        settings: of the program.

    Returns:
        the fields of an `ExportReport`; with `quantize=auto` also `trials`, and `path` None where no mode is within the limits;
        `delegated`, `nodes` and `not_delegated` of a file that LiteRT's own interpreter loads.

    Raises:
        InputError: what `export_tflite` and `export_best` raise.
    """
    lengths = integers("seq_len", settings.seq_len)
    output = Path(settings.output_dir or ".") / settings.output
    if settings.quantize == "auto":
        report, trials = export_best(
            settings.model_dir,
            output,
            settings.task,
            settings.data_dir,
            files=settings.custom,
            limits=settings.limits,
            seq_len=lengths,
            calibration_texts=settings.calibration_texts(),
        )
        result: dict[str, Any] = {"trials": [dataclasses.asdict(trial) for trial in trials]}
        if report is None:
            return result | {"path": None}
    else:
        result = {}
        report = export_tflite(
            settings.model_dir,
            output,
            seq_len=lengths,
            quantize=settings.quantize,
            calibration_texts=settings.calibration_texts(),
            text_input=settings.text_input,
            output_vector=settings.output_vector,
        )
    if not settings.text_input:
        nodes = delegation(report.path)
        result |= {"delegated": nodes.delegated, "nodes": nodes.nodes, "not_delegated": nodes.left}
    return dataclasses.asdict(report) | result
