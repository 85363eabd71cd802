"""Runs files of every mode and task kind with old and new client libraries, and keeps tflite/README.md's table of clients.

python benchmarks/clients.py --clients_dir=DIRECTORY [--pythons=3.9=/path/to/python3.9,3.11=...] [--only=mediapipe]

Each client gets an environment of its own under --clients_dir (some 10 GB in all; kept for the next run). A client whose
Python is not found is "not run here"; the Task Library also needs libusb-1.0. The networks are random: the classifier has
TinyBERT4's shape, the others are small. A client passes a file if its answers are those of LiteRT in this Python in 99% of the
rows: the same label or position, or scores that differ by no more than rounding to eight bits does. Kernels of other versions
round activations in other places; what that may change is measured, as the largest difference that the rounding of the file
makes to LiteRT's answers, and of files with fewer bits that of the dynamic and int8 ones.
Results go to benchmarks/results/clients.csv, one line for each client and file; rows of clients that are not run this time
are kept.

Run by hand: it downloads packages, and takes an hour on two cores.
"""

import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import numpy as np
from absl import app, flags

import tinybert_tf as tb
from tinybert_tf.bert import INPUT_NAMES, BertConfig, BertModel, build_model, logits_model
from tinybert_tf.checkpoints import resolve_directory, save_model
from tinybert_tf.data import Tokenizer, load_task
from tinybert_tf.export import QUANTIZE_MODES, TFLiteModel

REPOSITORY = Path(__file__).resolve().parents[1]
FLAGS = flags.FLAGS
flags.DEFINE_string("clients_dir", None, "where the environments of the clients are made", required=True)
flags.DEFINE_list("pythons", [], "VERSION=PATH of Pythons that are not on PATH as pythonVERSION")
flags.DEFINE_list("only", [], "names of clients, or the beginnings of names; absent: all")
flags.DEFINE_string("chromium", "/usr/bin/chromium", "the browser for web clients")
flags.DEFINE_string("model_dir", None, "a classifier of single texts; absent: one of TinyBERT4's shape, random")
flags.DEFINE_integer("rows", 200, "texts for the classifier; the other kinds have a tenth")

RESULTS = REPOSITORY / "benchmarks" / "results" / "clients.csv"
README = REPOSITORY / "tflite" / "README.md"
MARKERS = ("<!-- clients: begin, written by benchmarks/clients.py -->", "<!-- clients: end -->")
COLUMNS = ("client", "version", "kind", "mode", "outcome", "equal", "rows", "largest_difference", "message")
KINDS = ("classifier", "pairs", "regression", "span", "tags")
SHARE_EQUAL = 0.99
LEAST_TOLERANCE = 0.01
EIGHT_BITS = ("dynamic", "int8")


@dataclasses.dataclass(frozen=True)
class Client:
    """A client library in one version.

    Attributes:
        name: of the column in the table.
        version: of the package.
        python: the Python version it needs; "" for web clients.
        packages: what is installed, by pip or npm.
        worker: the client's name in client_worker.py or client_worker.mjs.
        kinds: the task kinds that it has an interface for.
    """

    name: str
    version: str
    python: str
    packages: tuple[str, ...]
    worker: str
    kinds: tuple[str, ...] = KINDS

    @property
    def folder(self) -> str:
        return _folded(f"{self.name}-{self.version}")


def _folded(name: str) -> str:
    return name.replace(" ", "-").lower()


def clients() -> list[Client]:
    """All clients, the old ones of each name first."""
    old_numpy = "numpy<2"
    found = [
        Client("TF Lite", v, "3.9", (f"tflite-runtime=={v}", old_numpy), "interpreter")
        for v in ("2.8.0", "2.9.1", "2.11.0", "2.12.0", "2.14.0")
    ]
    found += [
        Client("TF Lite", v, "3.11", (f"tensorflow-cpu=={v}",), "interpreter")
        for v in ("2.16.2", "2.17.1", "2.18.1", "2.20.0")
    ]
    found += [
        Client("LiteRT", v, "3.11", (f"ai-edge-litert=={v}", old_numpy), "interpreter")
        for v in ("1.0.1", "1.2.0", "1.3.0", "1.4.0")
    ]
    found += [
        Client("LiteRT", v, "3.11", (f"ai-edge-litert=={v}",), "interpreter") for v in ("2.0.3", "2.1.6", "2.3.0")
    ]
    text_classifier = ("classifier", "regression")
    found += [
        Client("MediaPipe", v, "3.11", (f"mediapipe=={v}", old_numpy), "mediapipe", text_classifier)
        for v in ("0.10.9", "0.10.14", "0.10.21")
    ]
    found += [
        Client("MediaPipe", v, "3.11", (f"mediapipe=={v}",), "mediapipe", text_classifier)
        for v in ("0.10.30", "0.10.35", "1.0.1", "1.2.3")
    ]
    task_library = ("classifier", "regression", "span")
    found.append(
        Client("Task Library", "0.4.4", "3.9", ("tflite-support==0.4.4", old_numpy), "task_library", task_library)
    )
    web = {
        "MediaPipe web": ("1.0.1", ("@mediapipe/tasks-text",), "mediapipe-web", text_classifier),
        "LiteRT.js": ("2.5.3", ("@litertjs/core",), "litert-js", KINDS),
        "tfjs-tflite": ("0.0.1-alpha.10", ("@tensorflow/tfjs-tflite",), "tfjs-tflite", KINDS),
    }
    for name, (version, packages, worker, kinds) in web.items():
        pinned = tuple(f"{package}@{version}" for package in packages)
        further = ("@tensorflow/tfjs-core", "@tensorflow/tfjs-backend-cpu") if worker == "tfjs-tflite" else ()
        found.append(Client(name, version, "", (*pinned, *further, "playwright-core"), worker, kinds))
    return found


def choose(names: Iterable[str]) -> list[Client]:
    """Clients whose names begin with one of these, "TF Lite" or "tf-lite-2.8"; all of them without names."""
    everyone = clients()
    chosen = []
    for name in names:
        found = [client for client in everyone if client.folder.startswith(_folded(name))]
        if not found:
            known = ", ".join(dict.fromkeys(client.name for client in everyone))
            raise SystemExit(f"benchmarks/clients.py: --only={name}: begins no client's name; there are {known}")
        chosen += found
    return [client for client in everyone if client in chosen] if chosen else everyone


# === Cases ===


def make_cases(folder: Path) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Files of every kind and mode in a folder: cases for the workers, and by their names the answers of LiteRT."""
    folder.mkdir(parents=True, exist_ok=True)
    sentences = [example.text for example in load_task("sample").dev][: FLAGS.rows]
    few = sentences[: max(FLAGS.rows // 10, 1)]
    vocabulary = (Path(FLAGS.model_dir) if FLAGS.model_dir else resolve_directory("minilm_l6")) / "vocab.txt"
    classifier = FLAGS.model_dir or _classifier(folder / "classifier", vocabulary, sentences)
    directories = {
        "classifier": Path(classifier),
        "regression": _random(folder / "regression", "regression", vocabulary),
        "span": _random(folder / "span", "span", vocabulary, positions=384),
        "tags": _random(folder / "tags", "token_classification", vocabulary),
    }
    texts = {
        "classifier": sentences,
        "regression": few,
        "span": _questions(sentences, len(few)),
        "tags": few,
        "pairs": _pairs(few),
    }
    lengths = {"classifier": 64, "regression": 32, "span": 384, "tags": 32}
    cases, expected = [], {}
    for kind, directory in directories.items():
        tokenizer = Tokenizer.from_directory(directory)
        for mode in QUANTIZE_MODES:
            path = folder / f"{kind}_{mode}.tflite"
            needed = texts[kind][:100] if QUANTIZE_MODES[mode].static else None
            tb.export_tflite(directory, path, seq_len=lengths[kind], quantize=mode, calibration_texts=needed)
            for case_kind in (kind, "pairs") if kind == "classifier" else (kind,):
                rows = _features(tokenizer, texts[case_kind], lengths[kind])
                name = f"{case_kind}_{mode}"
                named = dict(
                    zip(("ids", "mask", "segment_ids"), (rows[key].tolist() for key in INPUT_NAMES), strict=True)
                )
                labels = tb.TFLiteClassifier(path).labels if kind == "classifier" else ("score",)
                cases.append(
                    {"name": name, "kind": case_kind, "mode": mode, "path": str(path), "rows": named,
                     "texts": texts[case_kind], "labels": labels}
                )  # fmt: skip
                answers = TFLiteModel(path).predict(rows)
                if isinstance(answers, dict):
                    answers = np.concatenate([answers["end_logits"], answers["start_logits"]], axis=-1)
                expected[name] = answers
    return cases, expected


def _pairs(sentences: list[str]) -> list[tuple[str, str]]:
    return list(zip(sentences, reversed(sentences), strict=True))


def _questions(sentences: list[str], count: int) -> list[tuple[str, str]]:
    """Questions with contexts that nearly fill the input: at padding the Task Library finds no answer."""
    contexts = [" ".join(sentences[first:] + sentences[:first])[:1800] for first in range(count)]
    return list(zip(sentences[:count], contexts, strict=True))


def _features(tokenizer: Tokenizer, texts: list, seq_len: int) -> dict[str, np.ndarray]:
    columns = [texts] if isinstance(texts[0], str) else [list(column) for column in zip(*texts, strict=True)]
    return {name: value.numpy() for name, value in tokenizer(*columns, seq_len=seq_len).items()}


def _classifier(folder: Path, words: Path, sentences: list[str]) -> Path:
    """A random network of TinyBERT4's shape that gives half of the sentences each label."""
    keras.utils.set_random_seed(0)
    labels = {"negative": 0, "positive": 1}
    model = build_model(BertConfig.named("tinybert4", label2id=labels, initializer_range=0.1), "classification")
    logits = logits_model(model).predict(_features(Tokenizer(words), sentences, 64), verbose=0)
    model.head_layer.bias.assign([np.median(logits[:, 1] - logits[:, 0]), 0.0])
    return _saved(model, folder, words)


def _random(folder: Path, head: str, words: Path, positions: int = 64) -> Path:
    """A small network with weights large enough that its answers differ."""
    keras.utils.set_random_seed(0)
    config = BertConfig(
        vocab_size=len(words.read_text(encoding="utf-8").splitlines()),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=positions,
        initializer_range=0.2,
        label2id={f"tag_{number}": number for number in range(5)} if head == "token_classification" else None,
    )
    return _saved(build_model(config, head), folder, words)


def _saved(model: BertModel, folder: Path, words: Path) -> Path:
    tokenizer = folder.with_name(f"{folder.name}_tokenizer")
    tokenizer.mkdir(exist_ok=True)
    shutil.copyfile(words, tokenizer / "vocab.txt")
    save_model(model, folder, tokenizer_from=tokenizer)
    return folder


# === Environments ===


def install(client: Client, root: Path) -> str | None:
    """Makes a client's environment, once; the reason where it cannot be had."""
    folder = root / client.folder
    stamp = folder / ".installed"
    if stamp.exists():
        return None
    if client.python:
        python = dict(entry.split("=", 1) for entry in FLAGS.pythons).get(client.python)
        python = python or shutil.which(f"python{client.python}")
        if not python:
            return f"no Python {client.python} here"
        commands = [
            [python, "-m", "venv", folder],
            [folder / "bin/python", "-m", "pip", "install", "-q", *client.packages],
        ]
    elif not shutil.which("npm") or not Path(FLAGS.chromium).is_file():
        return f"needs npm and {FLAGS.chromium}"
    else:
        folder.mkdir(parents=True, exist_ok=True)
        commands = [
            ["npm", "install", "--no-audit", "--no-fund", "--legacy-peer-deps", "--prefix", folder, *client.packages]
        ]
    for command in commands:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
            return f"does not install: {lines[-1][:150] if lines else done.returncode}"
    stamp.touch()
    return None


def run(client: Client, root: Path, cases: list[dict], cases_file: Path) -> dict[str, str | None]:
    """Runs a client's cases; error by case. A case that ends the process is left out of the next one."""
    output = root / client.folder / "results"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    wanted = {case["name"] for case in cases if case["kind"] in client.kinds}
    errors: dict[str, str | None] = {}
    while open_cases := wanted - errors.keys():
        skipped = ",".join(case["name"] for case in cases if case["name"] not in open_cases)
        worker = REPOSITORY / "benchmarks" / "client_worker"
        if client.python:
            command = [root / client.folder / "bin/python", f"{worker}.py", f"--client={client.worker}",
                       f"--cases={cases_file}", f"--skip={skipped}", f"--output_dir={output}"]  # fmt: skip
        else:
            # Node looks for modules beside the script.
            script = shutil.copy(f"{worker}.mjs", root / client.folder)
            command = ["node", script, client.worker, cases_file, output, FLAGS.chromium, skipped]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=root / client.folder)
        started = None
        for line in done.stdout.splitlines():
            word, _, rest = line.partition(" ")
            if word == "START":
                started = rest
            elif word == "DONE":
                name, _, result = rest.partition(" ")
                errors[name], started = json.loads(result)["error"], None
        if started:
            errors[started] = f"ends the process ({done.returncode})"
        elif open_cases - errors.keys():
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:150]
            errors |= dict.fromkeys(open_cases - errors.keys(), f"does not start: {reason}")
    return errors


# === Comparison ===


def compare(client: Client, case: dict, error: str | None, expected: dict[str, np.ndarray], output: Path) -> dict:
    """One line of the results.

    Args:
        expected: LiteRT's answers by the names of the cases.
    """
    kind, mode = case["kind"], case["mode"]
    row = {"client": client.name, "version": client.version, "kind": kind, "mode": mode}
    if error:
        return row | {"outcome": "refused" if "process" not in error else "crashes", "message": error.split(". ")[0]}
    found = json.loads((output / f"{case['name']}.json").read_text(encoding="utf-8"))
    if client.worker == "task_library" and kind == "span":
        # Texts of answers; none where start and end do not fit.
        answered = sum(map(bool, found))
        return row | {"outcome": "runs" if answered else "wrong", "equal": answered, "rows": len(found)}
    mask, answers = np.asarray(case["rows"]["mask"]), expected[case["name"]]
    found = np.asarray(found, np.float64).reshape(answers.shape)
    found, rounded = _scores(kind, found, mask), _scores(kind, answers, mask)
    same = _same(kind, found, rounded, _tolerance(kind, mode, expected, mask))
    return row | {
        "outcome": "runs" if same.mean() >= SHARE_EQUAL else "wrong",
        "equal": int(same.sum()),
        "rows": same.size,
        "largest_difference": f"{np.abs(found - rounded).max():.2g}",
    }


def _tolerance(kind: str, mode: str, expected: dict[str, np.ndarray], mask: np.ndarray) -> float:
    """What kernels may change of the scores."""
    exact = _scores(kind, expected[f"{kind}_none"], mask)
    rounding = lambda mode: np.abs(_scores(kind, expected[f"{kind}_{mode}"], mask) - exact).max()
    least = LEAST_TOLERANCE * (exact.std() if kind == "regression" else 1)
    return max(least, min(rounding(mode), max(map(rounding, EIGHT_BITS))))


def _scores(kind: str, answers: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Answers as [decisions, scores]: probabilities of labels or positions, or a regressor's values."""
    if kind == "regression":
        return answers.reshape(-1, 1)
    if kind == "tags":
        return answers[mask == 1]
    if kind == "span":
        logits = np.where(mask[:, None] == 0, -np.inf, answers.reshape(len(mask), 2, -1)).reshape(2 * len(mask), -1)
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        return shares / shares.sum(-1, keepdims=True)
    return answers


def _same(kind: str, found: np.ndarray, expected: np.ndarray, tolerance: float) -> np.ndarray:
    near = np.abs(found - expected).max(-1) <= tolerance
    return near if kind == "regression" else near | (found.argmax(-1) == expected.argmax(-1))


# === Tables ===


def table(rows: Iterable[dict]) -> str:
    """Client x mode: the oldest version from which on all versions run all kinds of files; "—" if the newest does not."""
    rows = list(rows)
    modes = list(QUANTIZE_MODES)
    order: dict[str, list[str]] = {}
    for client in clients():
        order.setdefault(client.name, []).append(client.version)
    outcomes: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        outcomes.setdefault((row["client"], row["version"], row["mode"]), []).append(row["outcome"])
    lines = [f"| client (versions tried) | {' | '.join(modes)} |", f"|---|{'--:|' * len(modes)}"]
    for name, versions in order.items():
        tried = [v for v in versions if set(outcomes.get((name, v, modes[0]), [])) - {"not run here"}]
        if not tried:
            lines.append(f"| {name} | {' | '.join(['not run here'] * len(modes))} |")
            continue
        cells = []
        for mode in modes:
            oldest = None
            for version in reversed(tried):
                if set(outcomes.get((name, version, mode), [])) != {"runs"}:  # older rows may lack a mode
                    break
                oldest = version
            cells.append(oldest or "—")
        span = f" ({tried[0]} to {tried[-1]})" if len(tried) > 1 else f" ({tried[0]})"
        lines.append(f"| {name}{span} | {' | '.join(cells)} |")
    return "\n".join(lines)


def read_results() -> list[dict]:
    if not RESULTS.is_file():
        return []
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_results(rows: Iterable[dict]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_readme(rows: Iterable[dict]) -> None:
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(MARKERS[0])
    _, after = rest.split(MARKERS[1])
    README.write_text(f"{before}{MARKERS[0]}\n{table(rows)}\n{MARKERS[1]}{after}", encoding="utf-8")


def main(_) -> None:
    chosen = choose(FLAGS.only)
    root = Path(FLAGS.clients_dir).resolve()
    cases, expected = make_cases(root / "cases")
    cases_file = root / "cases" / "cases.json"
    cases_file.write_text(json.dumps(cases), encoding="utf-8")
    results = {(row["client"], row["version"], row["kind"], row["mode"]): row for row in read_results()}
    for client in chosen:
        reason = install(client, root)
        mine = [case for case in cases if case["kind"] in client.kinds]
        if reason:
            rows = [{"client": client.name, "version": client.version, "kind": case["kind"], "mode": case["mode"],
                     "outcome": "not run here", "message": reason} for case in mine]  # fmt: skip
        else:
            errors = run(client, root, cases, cases_file)
            output = root / client.folder / "results"
            rows = [compare(client, case, errors[case["name"]], expected, output) for case in mine]
        passed = sum(row["outcome"] == "runs" for row in rows)
        print(
            f"{client.name} {client.version}: {passed} of {len(rows)} files run{f' ({reason})' if reason else ''}",
            flush=True,
        )
        results |= {(row["client"], row["version"], row["kind"], row["mode"]): row for row in rows}
        known = [client.name for client in clients()]
        write_results(sorted(results.values(), key=lambda row: known.index(row["client"])))
        write_readme(results.values())
    print(table(results.values()))


if __name__ == "__main__":
    app.run(main)
