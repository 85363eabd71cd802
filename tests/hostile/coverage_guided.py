"""The same broken inputs, chosen by what they reach in the code: atheris (libFuzzer) drives the strategies of hypothesis.

    pip install atheris
    python -m tests.hostile.coverage_guided READER [-max_total_time=60] [other flags of libFuzzer]

READER is a name that `python -m tests.hostile.survey` prints. It ends at the first input that is not one clear line.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tinybert_tf"]):
    from tests.hostile import survey


def main() -> None:
    name = sys.argv.pop(1)
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        read, _ = survey.reading(name, Path(folder), 1)
        atheris.Setup(sys.argv, lambda content: read.hypothesis.fuzz_one_input(content))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
