"""The Android sample's plain Kotlin, compiled and run on the JVM, against the code that the models are trained with.

Needs `java` and a Kotlin compiler: $KOTLIN_HOME, `kotlinc` on the PATH, or the jars of the package kotlin-jupyter-kernel.
"""

import importlib.util
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
SOURCES = [ANDROID / "bert" / "src" / kind / "kotlin" for kind in ("main", "vectors", "test")]
DECLARATIONS = Path(__file__).with_name("android_declarations")


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
def library(tmp_path_factory):
    """The jar of `:bert` with its comparison, and the jars that it needs."""
    command, jars = find_compiler()
    jar = tmp_path_factory.mktemp("kotlin") / "bert.jar"
    compile_kotlin([*command, "-d", str(jar), *map(str, SOURCES)])
    return jar, jars


def compile_kotlin(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def check(library):
    """A function: a folder of vectors -> what CheckVectors.kt says of it."""
    classes = os.pathsep.join(map(str, [library[0], *library[1]]))

    def run(folder) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["java", "-cp", classes, "tinybert.CheckVectorsKt", folder], capture_output=True, text=True
        )

    return run


@pytest.mark.slow
def test_the_app_fits_the_libraries_that_it_calls(library, tmp_path):
    """Types only, and of the libraries only what `android_declarations` writes down of them; the build needs an SDK."""
    command, jars = find_compiler()
    resources = ANDROID / "app" / "src" / "main" / "res"
    text = "".join(path.read_text() for path in resources.glob("*/*.xml"))
    names = {
        "id": re.findall(r"@\+id/(\w+)", text),
        "string": re.findall(r'<string name="(\w+)"', text),
        "layout": [path.stem for path in resources.glob("layout/*.xml")],
    }
    objects = (
        f"object {kind} {{ {' '.join(f'const val {name} = 0;' for name in found)} }}" for kind, found in names.items()
    )
    (tmp_path / "R.kt").write_text(f"package tinybert.sample\nobject R {{ {' '.join(objects)} }}\n")
    classpath = os.pathsep.join(map(str, [library[0], *jars]))
    command = (
        [*command[: command.index("-cp", command.index("-no-stdlib"))], "-cp", classpath]
        if jars
        else [*command, "-cp", classpath]
    )
    app = [ANDROID / "app" / "src" / kind / "kotlin" for kind in ("main", "androidTest")]
    compile_kotlin([*command, "-d", str(tmp_path / "app.jar"), *map(str, [*app, DECLARATIONS, tmp_path / "R.kt"])])


def test_vectors_are_written_without_java(written_vectors):
    folder, vectors = written_vectors
    rows = {path: path.read_text(encoding="ascii").splitlines() for path in sorted(folder.glob("*/*.tsv"))}
    counts = {f"{path.parent.name}/{path.stem}": len(lines) for path, lines in rows.items()}
    assert counts["characters/texts"] > 500
    assert counts["cased/texts"] == counts["made/texts"] == len(vectors.TEXTS)
    assert counts["added/texts"] == counts["added_cased/texts"] > len(vectors.ADDED_TEXTS)
    assert counts["accents/normalized"] == counts["stripped/normalized"] > 30
    assert counts["made/pairs"] == counts["left/pairs"] == len(vectors.PAIRS)
    assert counts["made/questions"] == len(vectors.QUESTIONS) + 1
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
    for name in ("characters", "accents", "stripped", "added", "added_cased"):
        assert f"{name}: " in done.stdout


def test_a_wrong_vector_is_noticed(check, tmp_path, vectors_module):
    tokenizer = vectors_module.make_tokenizer(tmp_path / "made", vectors_module.VOCABULARY)
    right, wrong = vectors_module.text_rows(tokenizer, ["the film", "was bad"])
    wrong[2] = right[2]
    vectors_module.put(tmp_path / "made", "texts", [right, wrong])
    done = check(tmp_path)
    assert done.returncode == 1
    assert "made, texts: [was bad]" in done.stdout and "1 differences" in done.stdout


@pytest.mark.realdata
@pytest.mark.parametrize("vocab_size", [None, 6000])
def test_real_text(check, real_data, tmp_path, vectors_module, vocab_size):
    """5,000 lines, with the whole vocabulary and with one that was cut."""
    vectors_module.write_real(tmp_path / "real", real_data, vocab_size)
    assert vocab_size in (None, len((tmp_path / "real" / "vocab.txt").read_text().splitlines()))
    done = check(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "real: 5000 texts" in done.stdout


@pytest.mark.parametrize("lower_case", [True, False])
def test_what_a_model_file_holds_is_read_from_it(check, tmp_path, lower_case, vectors_module):
    """Vocabulary, labels, how texts are prepared, and lengths, in Kotlin and in JavaScript."""
    labels = {"no": 0, "so so": 1, "na\u00efve": 2}
    model = export_tiny(tmp_path / "model.tflite", vectors_module, labels, lower_case)
    vectors_module.write_model(tmp_path / "vectors" / "model", model)
    done = check(tmp_path / "vectors")
    assert done.returncode == 0, done.stdout + done.stderr
    texts = len(vectors_module.ADDED_TEXTS) + len(vectors_module.whole_texts(vectors_module.TEXTS))
    for line in (f"model: {texts} texts", "model: 3 labels", "model: 2 signatures"):
        assert line in done.stdout
    outputs = (tmp_path / "vectors" / "model" / "outputs.tsv").read_text().splitlines()
    assert len(outputs) == texts and all(len(line.split("\t")[3].split(" ")) == 3 for line in outputs)
    if shutil.which("node"):
        checker = ANDROID.parent / "web" / "check_vectors.mjs"
        done = subprocess.run(["node", checker, tmp_path / "vectors"], capture_output=True, text=True)
        assert done.returncode == 0 and "model: 2 signatures" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("head", ["span", pytest.param("token_classification", marks=pytest.mark.slow)])
def test_outputs_of_each_position_are_those_of_the_length_that_ran(tmp_path, head, vectors_module):
    labels = {"no": 0, "yes": 1, "so so": 2} if head == "token_classification" else None
    model = export_tiny(tmp_path / "model.tflite", vectors_module, labels, lower_case=True, head=head)
    vectors_module.write_model(tmp_path / "vectors", model)
    lines = (tmp_path / "vectors" / "outputs.tsv").read_text().splitlines()
    sizes = [len(line.split("\t")[3].split(" ")) for line in lines]
    each = len(labels) if labels else 1
    assert sizes[0] == 8 * each, "[CLS] [URL] [SEP] run at the shorter length"
    assert set(sizes) == {8 * each, 16 * each}


def test_a_model_without_labels_has_no_row_of_them(check, tmp_path, vectors_module):
    model = export_tiny(tmp_path / "model.tflite", vectors_module, None, lower_case=True, head="regression")
    vectors_module.write_model(tmp_path / "vectors" / "model", model)
    done = check(tmp_path / "vectors")
    assert done.returncode == 0 and "model: 0 labels" in done.stdout, done.stdout + done.stderr


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


def test_gradles_wrapper_names_the_version_that_the_readme_names():
    """The wrapper's jar is third-party: an installed Gradle makes it."""
    properties = (ANDROID / "gradle" / "wrapper" / "gradle-wrapper.properties").read_text()
    version = re.search(r"gradle-([\d.]+)-bin.zip", properties)[1]
    for name in ("gradlew.bat", "README.md"):
        assert f"gradle wrapper --gradle-version {version}" in (ANDROID / name).read_text(), name
    assert not (ANDROID / "gradle" / "wrapper" / "gradle-wrapper.jar").exists()
    done = subprocess.run([ANDROID / "gradlew"], capture_output=True, text=True)
    assert done.returncode == 1 and f"gradle wrapper --gradle-version {version}" in done.stderr


def export_tiny(
    output: Path, vectors, labels: dict[str, int] | None, lower_case: bool, head: str = "classification"
) -> Path:
    """A file of an untrained network with the vectors' vocabulary, added tokens included, and two lengths."""
    from tinybert_tf.bert import BertConfig, build_model
    from tinybert_tf.checkpoints import save_model
    from tinybert_tf.export import export_tflite

    added = vectors.ADDED if lower_case else ()
    vectors.make_tokenizer(output.parent / "tokenizer", vectors.VOCABULARY, lower_case, added=added)
    config = BertConfig(
        vocab_size=len(vectors.VOCABULARY),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        label2id=labels,
    )
    model_dir = output.parent / "tiny"
    save_model(build_model(config, head), model_dir, tokenizer_from=output.parent / "tokenizer")
    return Path(export_tflite(model_dir, output, seq_len=(16, 8), quantize="none").path)
