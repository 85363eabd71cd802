"""The whole pipeline on the built-in sample: teacher, general distillation, augmentation, both task stages, baseline, int8
TFLite, report."""

import common
from tinybert_tf.pipeline.quickstart import QuickstartSettings, quickstart


def main(settings: QuickstartSettings) -> dict:
    result = quickstart(settings)
    print(f"teacher {result['teacher_score']:.3f}  student {result['student_score']:.3f} "
          f"(retention {result['retention']:.1%})  without a teacher {result['no_teacher_score']:.3f}  "
          f"counting words {result['word_score']:.3f}")  # fmt: skip
    print(f"parameters {result['teacher_params'] / 1e6:.1f}M -> {result['student_params'] / 1e6:.1f}M, TFLite "
          f"{result['float_mb']:.1f} -> {result['int8_mb']:.1f} MB, {result['float_ms']:.2f} -> "
          f"{result['int8_ms']:.2f} ms (float32 -> int8)")  # fmt: skip
    print(
        f"wrote {settings.run.output_dir}: report.html, teacher/, general/, augmented/, student/, no_teacher/, tflite/"
    )
    print(f"verdict: {result['verdict']}")
    return result


if __name__ == "__main__":
    common.run(QuickstartSettings, main)
