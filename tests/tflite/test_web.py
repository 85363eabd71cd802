"""The page in tflite/web: its tokenizer in Node, and the page itself in headless Chromium, beside Python.

Needs Node; the page also Chromium and the packages of tflite/web/package.json (`make web`).
"""

import json
import shutil
import subprocess

import numpy as np
import pytest

from tests.web_pages import WEB, drive, export_random, node, odd_sentences

COUNT = 200


def test_the_tokenizer_gives_the_ids_of_training(written_vectors):
    folder, vectors = written_vectors
    done = node("check_vectors.mjs", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (f"made: {len(vectors.TEXTS)} texts", f"cased: {len(vectors.TEXTS)} texts", "made: 10 pairs"):
        assert line in done.stdout
    assert "characters: " in done.stdout


@pytest.mark.realdata
@pytest.mark.parametrize("vocab_size", [None, pytest.param(6000, marks=pytest.mark.slow)])
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


def run_module(code):
    """What a module beside those of the page writes to `console.log`, as JSON."""
    if shutil.which("node") is None:
        pytest.skip("no node on the PATH")
    command = ["node", "--input-type=module", "-e", code]
    done = subprocess.run(command, cwd=WEB, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# A network that gives each word piece the label of its own name, and the answer "gold".
NAMING = """
import { LiteRtTextModel } from "./text_model.js";
const vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", "e", "f", "gold", "q"];
class Tensor {
  constructor(values) { this.values = values; }
  async data() { return this.values; }
  delete() {}
}
const ids = (inputs) => [...inputs.input_word_ids.values];
const outputs = {
  tags: (inputs) => ({ probability: ids(inputs).flatMap((id) => vocabulary.map((_, label) => Number(label === id))) }),
  answer: (inputs) => Object.fromEntries(
    ["start_logits", "end_logits"].map((name) => [name, ids(inputs).map((id) => Number(vocabulary[id] === "gold"))])),
};
export const open = (kind, truncation_side) => {
  const signatures = [6, 8].map((length) => ({ key: `seq_${length}`, length }));
  const file = { vocabulary, signatures, settings: { truncation_side }, labels: kind === "tags" ? vocabulary : null };
  const run = async (key, inputs) => Object.fromEntries(
    Object.entries(outputs[kind](inputs)).map(([name, values]) => [name, new Tensor(Float32Array.from(values))]));
  return new LiteRtTextModel(file, { run }, Tensor);
};
"""


@pytest.mark.parametrize(
    ("side", "first", "second", "shown"),
    [
        ("right", "a b c d e f gold q", None, "a b c d e f"),
        ("left", "a b c d e f gold q", None, "c d e f gold q"),
        ("left", "a b", None, "a b"),
        ("right", "a b c d e f", "q q q", "a b c"),
        ("left", "a b c d e f", "q q q", "d e f"),
    ],
)
def test_each_word_piece_that_the_model_sees_has_its_own_tag(side, first, second, shown):
    call = f"open('tags', '{side}').run({json.dumps(first)}, {json.dumps(second)})"
    rows = run_module(f"{NAMING} console.log(JSON.stringify((await {call}).rows));")
    assert [row["text"] for row in rows] == [row["label"] for row in rows] == shown.split()


@pytest.mark.parametrize(("side", "text"), [("right", "a b gold c d e f"), ("left", "a b c d e gold f")])
def test_an_answer_is_found_in_a_text_that_was_cut(side, text):
    found = run_module(f"{NAMING} console.log(JSON.stringify(await open('answer', '{side}').run('q', '{text}')));")
    assert (found["text"], found["value"]) == ("gold", 2)


def test_a_large_vocabulary_is_no_problem():
    words = "['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'film', ...Array.from({ length: 300_000 }, (_, id) => `w${id}`)]"
    code = f"import {{ Tokenizer }} from './tokenizer.js'; const tokenizer = new Tokenizer({words});"
    assert run_module(f"{code} console.log(tokenizer.tokenize('film w299999').map(({{ id }}) => id));") == [4, 300_004]


# The page's elements, and models that a test opens and runs by hand.
FIELDS = """
const element = () => ({
  value: "text", textContent: "", shown: [], style: {}, classList: { toggle() {} }, listeners: {},
  addEventListener(name, listener) { this.listeners[name] = listener; },
  replaceChildren(...nodes) { this.shown = nodes; },
  append(...nodes) { this.shown = nodes; },
});
const elements = {};
globalThis.document = { getElementById: (id) => (elements[id] ??= element()), createElement: element };
const { open } = await import("./fields.js");
const events = [];
const begin = () => { let end; const promise = new Promise((resolve) => { end = resolve; }); return { promise, end }; };
const model = (name, run = Promise.resolve()) => ({
  file: { signatures: [{ length: 8 }], bytes: [], labels: [name] },
  async run() { events.push(`${name} runs`); await run; events.push(`${name} ran`); return { kind: "score", value: 1 }; },
  close() { events.push(`${name} closed`); },
});
const settle = () => new Promise((resolve) => setTimeout(resolve, 5));
"""


def test_of_two_models_the_one_that_was_chosen_last_stays():
    steps = """
    const slow = begin();
    const first = open(() => slow.promise);
    await settle();
    await open(async () => model("second"));
    slow.end(model("first"));
    await first;
    console.log(JSON.stringify(events));
    """
    assert run_module(FIELDS + steps) == ["second runs", "second ran", "first closed"]


def test_a_file_that_is_read_after_a_later_one_is_not_opened():
    steps = """
    await import("./page.js");
    document.getElementById("runtime").value = "wasm";
    const told = [];
    Object.defineProperty(document.getElementById("about"), "textContent", { set(text) { told.push(text); } });
    const take = (file) => elements.file.listeners.change({ target: { files: [file] } });
    const slow = begin();
    take({ name: "first", arrayBuffer: () => slow.promise });
    take({ name: "second", arrayBuffer: async () => new ArrayBuffer(4) });
    await settle();
    slow.end(new ArrayBuffer(4));
    await settle();
    console.log(JSON.stringify([elements["file-name"].textContent, told.length]));
    """
    assert run_module(FIELDS + steps) == ["second", 2], "Loading, an error"


def test_an_error_of_a_model_that_was_replaced_is_not_shown():
    steps = """
    const slow = begin();
    const first = open(() => slow.promise.then(() => { throw new Error("damaged"); }));
    await settle();
    await open(async () => model("second"));
    slow.end();
    await first;
    console.log(JSON.stringify(elements.about.textContent));
    """
    assert run_module(FIELDS + steps).endswith("1 labels.")


def test_a_model_is_closed_behind_its_run():
    steps = """
    const run = begin();
    const first = open(async () => model("first", run.promise));
    await settle();
    const second = open(async () => model("second"));
    await settle();
    run.end();
    await Promise.all([first, second]);
    console.log(JSON.stringify(events));
    """
    events = ["first runs", "first ran", "first closed", "second runs", "second ran"]
    assert run_module(FIELDS + steps) == events


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
