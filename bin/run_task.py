"""One task from teacher to phone: augments optionally, distills in two stages or a sweep, evaluates, predicts, converts,
reports.
"""

import common
from tinybert_tf.pipeline.run_task import RunTaskSettings, run_task


def main(settings: RunTaskSettings) -> dict:
    result = run_task(settings)
    print(f"teacher {result['teacher_score']:.4f}  student {result['student_score']:.4f}  "
          f"retention {result['retention']:.1%}")  # fmt: skip
    print(
        f"wrote {settings.grid.distill.run.output_dir}: report.html, intermediate/, prediction/ or sweep/, predictions/, tflite/"
    )
    return result


if __name__ == "__main__":
    common.run(RunTaskSettings, main)
