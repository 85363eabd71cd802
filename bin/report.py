"""One run or several -> report.html, report.md and results.csv."""

import common
from tinybert_tf.report import ReportSettings, report_runs


def main(settings: ReportSettings) -> dict:
    files = report_runs([name.strip() for name in settings.runs.split(",") if name.strip()], settings.output_dir)
    print(f"wrote {files.html}, {files.markdown}, {files.csv}")
    return {"report": str(files.html)}


if __name__ == "__main__":
    common.run(ReportSettings, main)
