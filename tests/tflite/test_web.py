"""The page in tflite/web: its tokenizer in Node, and the page itself in headless Chromium, beside Python.

Needs Node; the page also Chromium and the packages of tflite/web/package.json (`make web`).
"""

import numpy as np
import pytest

from tests.web_pages import drive, export_random, node, odd_sentences

COUNT = 200


def test_the_tokenizer_gives_the_ids_of_training(written_vectors):
    folder, vectors = written_vectors
    done = node("check_vectors.mjs", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (f"made: {len(vectors.TEXTS)} texts", f"cased: {len(vectors.TEXTS)} texts", "made: 10 pairs"):
        assert line in done.stdout
    assert "characters: " in done.stdout


@pytest.mark.realdata
@pytest.mark.parametrize("vocab_size", [None, 6000])
def test_real_text(real_data, tmp_path, vectors_module, vocab_size):
    """5,000 lines, with the whole vocabulary and with one that was cut."""
    vectors_module.write_real(tmp_path / "real", real_data, vocab_size)
    done = node("check_vectors.mjs", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "real: 5000 texts" in done.stdout


def test_a_wrong_vector_is_noticed(tmp_path, vectors_module):
    tokenizer = vectors_module.make_tokenizer(tmp_path / "made", vectors_module.VOCABULARY)
    right, wrong = vectors_module.text_rows(tokenizer, ["the film", "was bad"])
    wrong[2] = right[2]
    vectors_module.put(tmp_path / "made", "texts", [right, wrong])
    done = node("check_vectors.mjs", tmp_path)
    assert done.returncode == 1 and "1 differences" in done.stdout


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return odd_sentences(COUNT)


@pytest.fixture(scope="module")
def export(sentences, tmp_path_factory):
    """A function: (head, seq_len) -> a file of a random network whose vocabulary the sentences are written in."""
    return lambda head, seq_len: export_random(tmp_path_factory.mktemp("web"), sentences, head, seq_len)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A function: (file, texts) -> what the page and its modules answer."""
    return lambda file, texts: drive(tmp_path_factory.mktemp("page"), file, texts)


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
