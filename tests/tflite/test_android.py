"""The Android sample's plain Kotlin, compiled and run on the JVM, against the code that the models are trained with.

Needs `java` and a Kotlin compiler: $KOTLIN_HOME, `kotlinc` on the PATH, or the jars of the package kotlin-jupyter-kernel.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tinybert_tf.data import Tokenizer

ANDROID = Path(__file__).resolve().parents[2] / "tflite" / "android"
SOURCES = [ANDROID / "bert" / "src" / kind / "kotlin" for kind in ("main", "test")]


def find_compiler() -> tuple[list[str], list[Path]]:
    """A command that compiles Kotlin, and the jars that what it compiled needs; skips where there is none."""
    if shutil.which("java") is None:
        pytest.skip("no java on the PATH")
    home = os.environ.get("KOTLIN_HOME")
    kotlinc = Path(home, "bin", "kotlinc") if home else shutil.which("kotlinc")
    if kotlinc:
        return [str(kotlinc), "-include-runtime"], []
    package = importlib.util.find_spec("run_kotlin_kernel")
    if package is None:
        pytest.skip("no Kotlin compiler: set $KOTLIN_HOME, or pip install --no-deps kotlin-jupyter-kernel")
    jars = Path(package.origin).parent / "jars"
    library = next(jars.glob("kotlin-stdlib-*.jar"))
    compiler = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
    java = ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*", compiler]
    return [*java, "-no-stdlib", "-no-reflect", "-cp", str(library)], [library]


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    """A function: a folder of vectors -> what CheckVectors.kt says of it."""
    command, jars = find_compiler()
    program = tmp_path_factory.mktemp("kotlin") / "check.jar"
    done = subprocess.run([*command, "-d", str(program), *map(str, SOURCES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    classes = os.pathsep.join(map(str, [program, *jars]))

    def run(folder) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["java", "-cp", classes, "tinybert.CheckVectorsKt", folder], capture_output=True, text=True
        )

    return run


def test_vectors_are_written_without_java(written_vectors):
    folder, vectors = written_vectors
    rows = {path: path.read_text(encoding="ascii").splitlines() for path in sorted(folder.glob("*/*.tsv"))}
    counts = {f"{path.parent.name}/{path.stem}": len(lines) for path, lines in rows.items()}
    assert counts.pop("characters/texts") > 500
    assert counts == {
        "cased/texts": len(vectors.TEXTS),
        "made/texts": len(vectors.TEXTS),
        "made/pairs": len(vectors.PAIRS),
        "made/questions": len(vectors.QUESTIONS) + 1,
    }
    # By hand: one window, and the span of the largest sum of stand-in logits in it.
    question = vectors.QUESTIONS[0]
    answer, score, margin = rows[folder / "made" / "questions.tsv"][0].split("=>\t")[1].split("\t")
    assert answer.encode().decode("unicode_escape") in question[1]
    tokenizer = Tokenizer(folder / "made" / "vocab.txt")
    features = tokenizer([question[0]], [question[1]], question[2])
    logits = vectors.scramble(features["input_word_ids"].numpy()[features["input_mask"].numpy() == 1])
    sums = [[start + end for end in logits[:, 1]] for start in logits[:, 0]]
    first = int((features["input_type_ids"].numpy() == 0).sum() - (features["input_mask"].numpy() == 0).sum())
    best = max(sums[i][j] for i in range(first, len(sums) - 1) for j in range(i, min(i + 30, len(sums) - 1)))
    assert (float(score), float(margin)) == (best, best - sums[0][0])


def test_made_vectors(check, written_vectors):
    folder, vectors = written_vectors
    done = check(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"made: {len(vectors.TEXTS)} texts" in done.stdout
    assert f"cased: {len(vectors.TEXTS)} texts" in done.stdout
    assert f"made: {len(vectors.PAIRS)} pairs" in done.stdout
    assert f"made: {len(vectors.QUESTIONS) + 1} questions" in done.stdout
    assert "characters: " in done.stdout


def test_a_wrong_vector_is_noticed(check, tmp_path, vectors_module):
    tokenizer = vectors_module.make_tokenizer(tmp_path / "made", vectors_module.VOCABULARY)
    right, wrong = vectors_module.text_rows(tokenizer, ["the film", "was bad"])
    wrong[2] = right[2]
    vectors_module.put(tmp_path / "made", "texts", [right, wrong])
    done = check(tmp_path)
    assert done.returncode == 1
    assert "made, texts: [was bad]" in done.stdout and "1 differences" in done.stdout


@pytest.mark.realdata
def test_real_text(check, real_data, tmp_path, vectors_module):
    vectors_module.write_real(tmp_path / "real", real_data)
    done = check(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "real: 5000 texts" in done.stdout


@pytest.mark.parametrize("lower_case", [True, False])
def test_vocabulary_labels_and_case_are_read_from_a_model_file(check, tmp_path, lower_case, vectors_module):
    vectors = vectors_module
    labels = {"no": 0, "so so": 1, "na\u00efve": 2}
    folder = tmp_path / "vectors" / "model"
    export_tiny(folder / "model.tflite", vectors, labels, lower_case)
    tokenizer = Tokenizer(folder / "vocab.txt", lower_case)
    vectors.put(folder, "texts", vectors.text_rows(tokenizer, vectors.TEXTS))
    vectors.put(folder, "labels", [[str(index), "=>", vectors.escaped(label)] for label, index in labels.items()])
    (folder / "vocab.txt").unlink()  # the words can come from the model file alone
    done = check(folder.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"model: {len(vectors.TEXTS)} texts" in done.stdout and "model: 3 labels" in done.stdout


def test_every_resource_and_library_that_is_named_exists():
    """What the Android build would find out first; it cannot run without an SDK."""
    main = ANDROID / "app" / "src" / "main"
    xml = {path: path.read_text() for path in [*main.glob("res/*/*.xml"), main / "AndroidManifest.xml"]}
    for text in xml.values():
        ElementTree.fromstring(text)
    declared = {("id", name) for text in xml.values() for name in re.findall(r"@\+id/(\w+)", text)}
    declared |= {("string", name) for text in xml.values() for name in re.findall(r'<string name="(\w+)"', text)}
    declared |= {("layout", path.stem) for path in main.glob("res/layout/*.xml")}
    code = "".join(path.read_text() for path in main.rglob("*.kt"))
    named = set(re.findall(r"\bR\.(\w+)\.(\w+)", code))
    named |= {pair for text in xml.values() for pair in re.findall(r'"@(string|layout)/(\w+)"', text)}
    assert named == declared

    catalog = tomllib.loads((ANDROID / "gradle" / "libs.versions.toml").read_text())
    builds = "".join(path.read_text() for path in ANDROID.rglob("*.gradle.kts"))
    aliases = {name.replace("-", ".") for name in catalog["libraries"]}
    aliases |= {f"plugins.{name.replace('-', '.')}" for name in catalog["plugins"]}
    assert set(re.findall(r"\blibs\.([\w.]+)", builds)) == aliases
    entries = [*catalog["libraries"].values(), *catalog["plugins"].values()]
    assert {entry["version"]["ref"] for entry in entries} == set(catalog["versions"])


def export_tiny(output: Path, vectors, labels: dict[str, int], lower_case: bool) -> None:
    """A file of an untrained network with the vectors' vocabulary, and that vocabulary beside it."""
    from tinybert_tf.bert import BertConfig, build_model
    from tinybert_tf.checkpoints import save_model
    from tinybert_tf.export import export_tflite

    vectors.make_tokenizer(output.parent, vectors.VOCABULARY)
    (output.parent / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower_case}))
    config = BertConfig(
        vocab_size=len(vectors.VOCABULARY),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        label2id=labels,
    )
    model_dir = output.parent.parent.with_name("tiny")
    save_model(build_model(config, "classification"), model_dir, tokenizer_from=output.parent)
    export_tflite(model_dir, output, seq_len=16, quantize="none")
