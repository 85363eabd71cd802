"""Converts a model directory to a .tflite file with its vocabulary, labels and metadata inside."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bin"))

import common
from tinybert_tf.errors import InputError
from tinybert_tf.export import QUANTIZE_MODES
from tinybert_tf.export.program import ConvertSettings, convert_model
from tinybert_tf.report import Column, markdown_table


def main(settings: ConvertSettings) -> dict:
    result = convert_model(settings)
    if "trials" in result:
        columns = ["quantize", "mb", "median_ms", Column("score", "score", "{:.4f}".format)]
        columns += [Column("drop", "drop", "{:.4f}".format), "max_logit_error", "delegated", "fails", "chosen"]
        print(markdown_table(result["trials"], columns))
    if result["path"] is None:
        raise InputError(f"no mode holds {settings.limits}; the table above says which limits each exceeds: allow more")
    needed = "with TensorFlow Text's tokenizer" if settings.text_input else "all builtin"
    print(f"wrote {result['path']}: {result['mb']:.1f} MB, {sum(result['operators'].values())} operations, {needed}")
    if QUANTIZE_MODES[result["quantize"]].integer_weights and result["calibrated"] is False:
        print("its weights are rounded to the nearest; with --task or --calibration_file the file is more faithful")
    if len(result["seq_lens"]) > 1:
        print("MediaPipe's tasks load files of one length; this one is for LiteRT's signatures")
    if "nodes" in result:
        left = ", ".join(result["not_delegated"]) or "none"
        print(f"XNNPACK takes {result['delegated']} of {result['nodes']} operations; left are {left}")
    return result


if __name__ == "__main__":
    common.run(ConvertSettings, main)
