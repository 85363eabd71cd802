"""One run or several -> report.html, report.md and results.csv."""

import common
from tinybert_tf.report import ReportSettings, report_runs


def main(settings: ReportSettings) -> dict:
    runs = [name.strip() for name in settings.runs.split(",") if name.strip()]
    files = report_runs(runs, settings.output_dir, settings.live)
    print(f"wrote {files.html}, {files.markdown}, {files.csv}")
    return {"report": str(files.html)}


if __name__ == "__main__":
    common.run(ReportSettings, main)
