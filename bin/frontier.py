"""Distills many sizes from one teacher, exports and measures them: score against megabytes and milliseconds."""

import common
from tinybert_tf.pipeline.frontier import FrontierSettings, frontier
from tinybert_tf.report.frontier import COLUMNS
from tinybert_tf.report.tables import markdown_table


def main(settings: FrontierSettings) -> dict:
    result = frontier(settings)
    print(markdown_table(result["rows"], COLUMNS))
    for share, names in result["keeps"].items():
        found = f"smallest {names['smallest']}, fastest {names['fastest']}" if names["smallest"] else "no file does"
        print(f"keep {share} of the teacher: {found}")
    print(f"wrote {settings.output_dir}: frontier.md, frontier.csv, frontier.png, and every model and file")
    return result


if __name__ == "__main__":
    common.run(FrontierSettings, main)
