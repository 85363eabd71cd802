"""What has become slower: the newest rows of results/*.csv against those of the last commit.

python benchmarks/compare.py

Compared are ratios to the reference of each run: absolute times differ from machine to machine, these hardly do. Prints every
figure whose ratio is more than 10% lower than the committed one. Rows without a committed counterpart are counted.
"""

import csv
import io
import subprocess
import sys

from measuring import REPOSITORY, RESULTS

LARGEST_LOSS = 0.10
Key = tuple[str, str, str]


def last_ratios(program: str, text: str, after: int = 0) -> dict[Key, float]:
    """(program, case, variant) -> ratio, of the last row of each in a CSV text without its first `after` rows."""
    rows = list(csv.DictReader(io.StringIO(text)))[after:]
    return {(program, row["case"], row["variant"]): float(row["ratio"]) for row in rows if row.get("ratio")}


def compare(committed: dict[Key, float], now: dict[Key, float]) -> tuple[list[str], int]:
    """(a line for each figure that became slower by more than `LARGEST_LOSS`, how many could be compared)."""
    shared = [key for key in now if key in committed]
    lines = [
        f"slower: {' | '.join(key)}: {now[key]:.2f} times the reference, {committed[key]:.2f} when it was committed "
        f"({now[key] / committed[key] - 1:+.0%})"
        for key in shared
        if now[key] < (1 - LARGEST_LOSS) * committed[key]
    ]
    return lines, len(shared)


def committed_text(path) -> str:
    """A file as it is in the last commit; nothing where it is not in it."""
    name = f"HEAD:{path.relative_to(REPOSITORY).as_posix()}"
    return subprocess.run(["git", "show", name], cwd=REPOSITORY, capture_output=True, text=True).stdout


def main() -> int:
    lines, compared, new = [], 0, 0
    for path in sorted(RESULTS.glob("*.csv")):
        if "ratio" not in path.read_text(encoding="utf-8").partition("\n")[0]:
            continue  # a table without figures, such as that of the clients
        before = committed_text(path)
        rows_before = len(list(csv.DictReader(io.StringIO(before))))
        now = last_ratios(path.stem, path.read_text(encoding="utf-8"), rows_before)
        slower, count = compare(last_ratios(path.stem, before), now)
        lines, compared, new = lines + slower, compared + count, new + len(now) - count
    print("\n".join(lines) if lines else "nothing became slower by more than 10%")
    print(f"{compared} figures compared with the last commit, {new} without a counterpart")
    return 0


if __name__ == "__main__":
    sys.exit(main())
