"""The page in tflite/web: its tokenizer in Node, and the page itself in headless Chromium, beside Python.

Needs Node; the page also Chromium and the packages of tflite/web/package.json (`make web`).
"""

import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tinybert_tf.data import load_task
from tinybert_tf.tokenizer_files import SPECIAL_TOKENS

WEB = Path(__file__).resolve().parents[2] / "tflite" / "web"
COUNT = 200


def node(program: str, *arguments, **environment) -> subprocess.CompletedProcess:
    if shutil.which("node") is None:
        pytest.skip("no node on the PATH")
    return subprocess.run(
        ["node", WEB / program, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=300,
    )


def test_the_tokenizer_gives_the_ids_of_training(written_vectors):
    folder, vectors = written_vectors
    done = node("check_vectors.mjs", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (f"made: {len(vectors.TEXTS)} texts", f"cased: {len(vectors.TEXTS)} texts", "made: 10 pairs"):
        assert line in done.stdout
    assert "characters: " in done.stdout


def test_a_wrong_vector_is_noticed(tmp_path, vectors_module):
    tokenizer = vectors_module.make_tokenizer(tmp_path / "made", vectors_module.VOCABULARY)
    right, wrong = vectors_module.text_rows(tokenizer, ["the film", "was bad"])
    wrong[2] = right[2]
    vectors_module.put(tmp_path / "made", "texts", [right, wrong])
    done = node("check_vectors.mjs", tmp_path)
    assert done.returncode == 1 and "1 differences" in done.stdout


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    """Of the built-in sample, some with accents and other characters that a tokenizer may treat in its own way."""
    rows = [row.text for row in itertools.islice(load_task("sample").train, COUNT)]
    odd = (
        "caf\u00e9 ",
        "\uff26\uff49\uff4c\uff4d ",
        "na\u00efve\u00ad ",
        "\U0001f600 ",
        "Stra\u00dfe ",
        "\u4e2d\u6587 ",
    )
    return [odd[index % len(odd)] + text.title() if index % 5 == 0 else text for index, text in enumerate(rows)]


@pytest.fixture(scope="module")
def export(sentences, tmp_path_factory):
    """A function: (head, seq_len) -> a file of a random network whose vocabulary the sentences are written in."""
    from tinybert_tf.bert import BertConfig, build_model, logits_model
    from tinybert_tf.checkpoints import save_model
    from tinybert_tf.data import Tokenizer
    from tinybert_tf.export import export_tflite

    words = sorted({word.strip(".,!?'\"").lower() for text in sentences for word in text.split()} | set("abcdefghijk"))
    words = [*SPECIAL_TOKENS, *words, *"!'.,?\u4e2d\u6587\U0001f600", "cafe", "strasse", "##s", "##ing"]
    words = list(dict.fromkeys(filter(None, words)))

    def write(head, seq_len):
        import keras

        keras.utils.set_random_seed(4)
        folder = tmp_path_factory.mktemp("web")
        (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
        config = BertConfig(
            vocab_size=len(words),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=64,
            initializer_range=0.3,
            label2id=None if head in ("regression", "span") else {"<script>bad": 0, "good": 1, "so so": 2},
        )
        model = build_model(config, head)
        if head == "classification":  # each class is the likeliest of some sentences
            logits = logits_model(model).predict(Tokenizer.from_directory(folder)(sentences, seq_len=48), verbose=0)
            model.head_layer.bias.assign(-logits.mean(axis=0))
        save_model(model, folder / "model", tokenizer_from=folder)
        return export_tflite(folder / "model", folder / "model.tflite", seq_len=seq_len, quantize="dynamic").path

    return write


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A function: (file, texts) -> what the page and its modules answer."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on the PATH: apt-get install chromium")
    if not (WEB / "node_modules" / "playwright-core").is_dir():
        pytest.skip("the packages of tflite/web/package.json are missing: make web")

    def run(file, texts):
        folder = tmp_path_factory.mktemp("page")
        (folder / "texts.json").write_text(json.dumps(texts))
        done = node("drive.mjs", file, folder / "texts.json", folder / "results.json", CHROMIUM=chromium)
        assert done.returncode == 0, done.stderr
        results = json.loads((folder / "results.json").read_text())
        assert results["problems"] == [], "errors on the page, or requests to other hosts"
        return results

    return run


def test_labels_in_the_browser_are_pythons(browser, export, sentences):
    from tinybert_tf.export import TFLiteClassifier

    path = export("classification", 48)
    classifier = TFLiteClassifier(path)
    expected = classifier.predict(sentences)
    labels = [classifier.labels[index] for index in expected.argmax(axis=-1)]
    assert len(set(labels)) > 1
    results = browser(path, [(text, None) for text in sentences])
    for runtime in ("litert", "mediapipe"):
        found = results[runtime]
        assert [result["rows"][0]["label"] for result in found] == labels, runtime
        values = [[{row["label"]: row["value"] for row in result["rows"]}[label] for label in classifier.labels]
                  for result in found]  # fmt: skip
        np.testing.assert_allclose(values, expected, atol=0.02)
    # What is typed is classified, and a label is shown as text, whatever it holds.
    shown = [row.split("\n")[0] for row in results["page"]]
    assert shown[0] == labels[0] and sorted(shown) == sorted(classifier.labels)


def test_pairs_and_several_lengths(browser, export, sentences):
    from tinybert_tf.export import TFLiteClassifier

    path = export("classification", (48, 24, 12))
    pairs = [(text, sentences[-index]) for index, text in enumerate(sentences[:20], 1)]
    pairs += [(text[:8], "good") for text in sentences[:10]]
    expected = TFLiteClassifier(path).predict(*zip(*pairs, strict=True))
    results = browser(path, pairs)
    assert "12, 24, 48 word pieces" in results["about"]
    best = [max(row["value"] for row in result["rows"]) for result in results["litert"]]
    np.testing.assert_allclose(best, expected.max(axis=-1), atol=0.02)


@pytest.mark.parametrize("head", ["regression", "token_classification", "span"])
def test_other_heads_are_shown(browser, export, sentences, head):
    results = browser(export(head, 32), [(sentences[1], sentences[2] if head == "span" else None)])
    (result,) = results["litert"]
    assert result["kind"] == {"regression": "score", "token_classification": "tags", "span": "answer"}[head]
    if head == "span":
        assert result["text"] in sentences[2]
    assert len(results["page"]) == (len(result["rows"]) if head == "token_classification" else 1)
