"""What tests of pages with a model share: a random model, and headless Chromium."""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tinybert_tf.data import load_task
from tinybert_tf.vocabulary import SPECIAL_TOKENS

WEB = Path(__file__).resolve().parents[1] / "tflite" / "web"


def node(program: str, *arguments, **environment) -> subprocess.CompletedProcess:
    """Runs a program of tflite/web; skips the test where there is no Node."""
    if shutil.which("node") is None:
        pytest.skip("no node on the PATH")
    return subprocess.run(
        ["node", WEB / program, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=300,
    )


def chromium() -> str:
    """The browser; skips the test where it or a package of tflite/web is missing."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium on the PATH: apt-get install chromium")
    if not (WEB / "node_modules" / "playwright-core").is_dir():
        pytest.skip("the packages of tflite/web/package.json are missing: make web")
    return found


def drive(folder: Path, page: Path, texts: Sequence[tuple[str, str | None]]) -> dict:
    """What a page answers to texts: RESULTS.json of drive.mjs.

    Args:
        folder: for files.
        page: a .tflite file, for the page of tflite/web, or a report that holds one.
        texts: texts and second texts.
    """
    browser = chromium()
    (folder / "texts.json").write_text(json.dumps(texts))
    done = node("drive.mjs", page, folder / "texts.json", folder / "results.json", CHROMIUM=browser)
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "results.json").read_text())
    assert results["problems"] == [], "errors on the page, or requests to other hosts"
    return results


def odd_sentences(count: int) -> list[str]:
    """Of the built-in sample, some with accents and other characters that a tokenizer may treat in its own way."""
    rows = [row.text for row in itertools.islice(load_task("sample").train, count)]
    odd = (
        "caf\u00e9 ",
        "\uff26\uff49\uff4c\uff4d ",
        "na\u00efve\u00ad ",
        "\U0001f600 ",
        "Stra\u00dfe ",
        "\u4e2d\u6587 ",
    )
    return [odd[index % len(odd)] + text.title() if index % 5 == 0 else text for index, text in enumerate(rows)]


def export_random(folder: Path, sentences: Sequence[str], head: str, seq_len, quantize: str = "dynamic") -> Path:
    """A file of a random network whose vocabulary the sentences are written in; one label looks like a script."""
    import keras

    from tinybert_tf.bert import BertConfig, build_model, logits_model
    from tinybert_tf.checkpoints import save_model
    from tinybert_tf.data import Tokenizer
    from tinybert_tf.export import export_tflite

    words = sorted({word.strip(".,!?'\"").lower() for text in sentences for word in text.split()} | set("abcdefghijk"))
    words = [*SPECIAL_TOKENS, *words, *"!'.,?\u4e2d\u6587\U0001f600", "cafe", "strasse", "##s", "##ing"]
    words = list(dict.fromkeys(filter(None, words)))
    keras.utils.set_random_seed(4)
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
    return export_tflite(folder / "model", folder / "model.tflite", seq_len=seq_len, quantize=quantize).path
