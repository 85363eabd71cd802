"""Small inputs that went wrong in use, each run by the program that a user would run: situation, outcome, as it should be.

    python -m tests.situations --cases=DIR          # DIR holds the folders 01, 05, 10, ...

Prints a Markdown table and exits with 1 where an outcome is not as it should be.
"""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

ROOT = Path(__file__).resolve().parents[1]
TRAINING = ("--max_steps=2", "--train_batch_size=8", "--evaluations=1", "--seq_len=32")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a program did."""

    code: int
    output: str
    error: str

    @property
    def line(self) -> str:
        """The error line, or the RESULT."""
        lines = [line for line in (self.error if self.code else self.output).splitlines() if line.strip()]
        return lines[-1] if lines else ""

    @property
    def is_one_line(self) -> bool:
        errors = [line for line in self.error.splitlines() if line.startswith("error: ")]
        return self.code == 1 and len(errors) == 1 and "Traceback" not in self.error

    @property
    def result(self) -> dict:
        return json.loads(self.output.splitlines()[-1].removeprefix("RESULT "))


@dataclasses.dataclass(frozen=True)
class Situation:
    """A command and what is right about its outcome."""

    name: str
    command: Sequence[str]
    should: str
    is_right: Callable[[Outcome], bool]


def run(command: Sequence[str]) -> Outcome:
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, cwd=ROOT, timeout=600)
    return Outcome(done.returncode, done.stdout, done.stderr)


def refused(*patterns: str) -> Callable[[Outcome], bool]:
    """One line, exit code 1, and all of `patterns` in it."""
    return lambda outcome: outcome.is_one_line and all(re.search(p, outcome.error) for p in patterns)


def done(*patterns: str) -> Callable[[Outcome], bool]:
    """Exit code 0, and all of `patterns` in what was printed."""
    return lambda outcome: outcome.code == 0 and all(re.search(p, outcome.output) for p in patterns)


def model(folder: Path, words: Sequence[str], labels: Sequence[str] = ("bad", "good"), **sizes) -> Path:
    """A tiny classifier directory with its own vocabulary."""
    import tinybert_tf as tb

    source = folder.with_name(f"{folder.name}_vocabulary")
    source.mkdir(parents=True)
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (source / "vocab.txt").write_text("\n".join([*specials, *words]) + "\n", encoding="utf-8")
    tiny = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 12, "intermediate_size": 32}
    config = tb.BertConfig(
        **tiny | {"vocab_size": len(words) + 5} | sizes, label2id={label: i for i, label in enumerate(labels)}
    )
    tb.save_model(tb.build_model(config, head="classification"), folder, tokenizer_from=source)
    return folder


def situations(cases: Path, work: Path) -> list[Situation]:
    letters = [chr(c) for c in range(97, 123)]
    words = [*letters, *(f"##{c}" for c in letters), "fine", "day", "row", "middle", "one", "two"]
    teacher = model(work / "teacher", words)
    own = (
        "--task=custom",
        f"--train_file={work}/rows.csv",
        f"--dev_file={work}/rows.csv",
        "--text_column=text",
        "--label_column=label",
    )
    (work / "rows.csv").write_text("text,label\n" + "a fine day,good\nmiddle one,bad\n" * 8)
    students = {
        "another vocabulary, longer": model(work / "longer", [*words, "extra"]),
        "as many words in another order": model(work / "order", words[::-1]),
        "a shorter vocabulary": model(work / "shorter", words[:-2]),
        "32 positions for 64 tokens": model(work / "positions", words, max_position_embeddings=32),
    }
    distill = ("bin/distill_task.py", *own, f"--teacher={teacher}", "--allow_weak_teacher=true", *TRAINING[:3])
    found = [
        Situation(
            f"student with {name}",
            (*distill, "--seq_len=64", f"--student={student}", f"--output_dir={work}/out_{student.name}"),
            "refused before training",
            refused("student|position"),
        )
        for name, student in students.items()
    ]

    def finetune(name: str, start: Path, *flags: str) -> tuple[str, ...]:
        return ("bin/finetune.py", f"--model={start}", f"--output_dir={work}/{name}", *TRAINING, *flags)

    def custom(file: str | Path, text: str, label: str, dev: str | Path | None = None) -> tuple[str, ...]:
        files = (f"--train_file={cases / file}", f"--dev_file={cases / (dev or file)}")
        return ("--task=custom", *files, f"--text_column={text}", f"--label_column={label}")

    many = custom("01/train.csv", "sentence", "label_des", "01/dev.csv")
    classes = sorted(
        {line.rpartition(",")[2] for line in (cases / "01/dev.csv").read_text("utf-8-sig").splitlines()[1:]}
    )
    characters = sorted(set((cases / "01/train.csv").read_text("utf-8-sig")) - set(" \n\r,"))
    chinese = model(work / "chinese", characters, classes)
    found.append(
        Situation(
            "own data at the phone's end: convert with int8",
            (
                "tflite/convert.py",
                f"--model_dir={chinese}",
                f"--output={work}/own.tflite",
                "--quantize=int8",
                "--seq_len=32",
                *many,
            ),
            "takes the file flags",
            done("RESULT"),
        )
    )
    found.append(
        Situation(
            "own data at the phone's end: evaluate",
            ("tflite/evaluate.py", f"--model={work}/own.tflite", f"--model_dir={chinese}", "--max_drop=1", *many),
            "takes the file flags",
            done("tflite_score"),
        )
    )
    for file, column in (
        ("05/columns.csv", "toxic,insult,threat"),
        ("05/joined.csv", "labels"),
        ("05/lists.jsonl", "labels"),
    ):
        found.append(
            Situation(
                f"several labels a text: {Path(file).stem}",
                finetune(f"multi_{Path(file).stem}", teacher, *custom(file, "comment_text", column)),
                "refused by name, or trained as several labels",
                lambda outcome: outcome.is_one_line or "multi" in outcome.output,
            )
        )
    multi = model(work / "multi", words)
    description = json.loads((multi / "config.json").read_text())
    (multi / "config.json").write_text(json.dumps(description | {"problem_type": "multi_label_classification"}))
    found.append(
        Situation(
            "problem_type multi_label_classification, converted",
            (
                "tflite/convert.py",
                f"--model_dir={multi}",
                f"--output={work}/multi.tflite",
                "--quantize=none",
                "--seq_len=16",
            ),
            "refused by name",
            refused("multi_label_classification"),
        )
    )
    found.append(
        Situation(
            "a cased checkpoint without tokenizer_config.json",
            finetune("cased", cases / "12/cased_L-2_H-64_A-2", *custom("12/train.csv", "text", "label")),
            "case is kept, and said",
            lambda outcome: (
                done("(?i)case")(outcome)
                and not json.loads((work / "cased/model/tokenizer_config.json").read_text())["do_lower_case"]
            ),
        )
    )
    found.append(
        Situation(
            "a TSV in which a quotation mark swallows rows",
            finetune("swallow", teacher, *custom("13/swallow.tsv", "text", "label")),
            "refused with both lines",
            refused("3", "6"),
        )
    )
    found += [
        Situation(
            f"{name}.csv",
            finetune(name, teacher, *custom(f"13/{name}.csv", "text", "label")),
            "read, or one line that says what it is",
            lambda outcome, words=words: outcome.code == 0 or refused(words)(outcome),
        )
        for name, words in (("semicolon", "semicolon|;"), ("mac", r"line end|carriage|\\r"))
    ]
    conll = ("--task=token_classification",)
    found.append(
        Situation(
            "CoNLL-U",
            finetune("ud", teacher, *conll, f"--train_file={cases}/14/ud.conllu", f"--dev_file={cases}/14/ud.conllu"),
            "recognized",
            done("CoNLL-U|RESULT"),
        )
    )
    found.append(
        Situation(
            "a tag of dev that train lacks",
            finetune(
                "unseen",
                teacher,
                *conll,
                f"--train_file={cases}/14/train.conll",
                f"--dev_file={cases}/14/dev_unseen.conll",
            ),
            "scored as missed, and said",
            done("B-TIME|TIME"),
        )
    )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, required=True, help="the folder that holds 01, 05, 10, ...")
    arguments = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as work:
        print("| situation | should be | outcome | |\n|---|---|---|---|")
        for each in situations(arguments.cases.resolve(), Path(work)):
            outcome = run(each.command)
            is_right = each.is_right(outcome)
            wrong += not is_right
            line = (
                outcome.line.replace(str(work), "WORK")
                .replace(str(arguments.cases.resolve()), "CASES")
                .replace("|", "\\|")
            )
            print(
                f"| {each.name} | {each.should} | {line[:300]} | {'as it should be' if is_right else 'WRONG'} |",
                flush=True,
            )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
