"""Answers from logits: against a search over every span, and against the official metric."""

import itertools
import json

import numpy as np
import pytest
from official.nlp.tools import squad_evaluate_v1_1

from tinybert_tf.bert import BertConfig, build_model
from tinybert_tf.checkpoints import save_model
from tinybert_tf.data import Tokenizer, get_task
from tinybert_tf.data.spans import SpanFeatures
from tinybert_tf.data.squad import Answer, SquadExample, write_squad
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model
from tinybert_tf.evaluate.predict import PredictSettings, predict
from tinybert_tf.evaluate.squad import Candidate, Prediction, answer_texts, find_answers, predict_squad, score_squad
from tinybert_tf.settings import compose
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.finetune import FinetuneSettings, finetune

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] who what sat ate the cat dog on a mat . red blue ##s old".split()
SQUAD1, SQUAD2 = get_task("squad1"), get_task("squad2")
CONTEXT = "the old cat sat on a red mat . the dog ate a blue mat . the cats sat ."


@pytest.fixture
def vocabulary(tmp_path):
    folder = tmp_path / "vocabulary"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


@pytest.fixture
def examples():
    answer = lambda text: (Answer(text, CONTEXT.index(text)),)
    return [
        SquadExample("q1", "who sat on a mat", CONTEXT, answer("the old cat")),
        SquadExample("q2", "who ate a mat", CONTEXT, answer("the dog")),
        SquadExample("q3", "what sat", CONTEXT, answer("cats")),
    ]


def test_the_best_span_is_that_of_a_search_over_all(vocabulary, examples):
    """Windows that overlap: each pair of positions of one window competes, of at most `max_answer_length` pieces."""
    features = SpanFeatures(examples, Tokenizer.from_directory(vocabulary), seq_len=16, doc_stride=4)
    random = np.random.default_rng(0)
    logits = [random.normal(size=(length, 2)).astype(np.float32) for length in features.lengths]
    found = find_answers(features, logits, max_answer_length=3, n_best=50)
    number = 0
    for example, windows in enumerate(features.windows_by_example()):
        assert len(windows) > 1
        # A piece begins an answer in the window that shows the most text around it, the first of equals.
        around = lambda piece, window: min(piece - window.first, window.last - 1 - piece)
        best = (-np.inf, None)
        for index, window in enumerate(windows):
            scores = logits[number + index]
            for first, last in itertools.product(range(window.first, window.last), repeat=2):
                rivals = [around(first, w) for w in windows if w.first <= first < w.last]
                if not 0 <= last - first < 3 or around(first, window) < max(rivals):
                    continue
                score = scores[window.offset + first - window.first, 0] + scores[window.offset + last - window.first, 1]
                best = max(best, (score, features.text(example, first, last)), key=lambda pair: pair[0])
        number += len(windows)
        prediction = found[features.examples[example].id]
        assert (prediction.candidates[0].text, prediction.candidates[0].score) == (best[1], pytest.approx(best[0]))
        scores = [candidate.score for candidate in prediction.candidates]
        assert scores == sorted(scores, reverse=True)
        texts = [candidate.text for candidate in prediction.candidates]
        assert len(set(texts)) == len(texts)


def test_scores_are_those_of_the_official_script_on_the_same_file(examples, tmp_path):
    said = {"q1": "an old cat!", "q2": "dog", "q3": "the mat"}
    predictions = {
        name: Prediction([Candidate(text, 1.0, 1.0)], Candidate("", 0.0, 0.0)) for name, text in said.items()
    }
    write_squad(tmp_path / "dev-v1.1.json", examples, SQUAD1)
    dataset = json.loads((tmp_path / "dev-v1.1.json").read_text())["data"]
    official = squad_evaluate_v1_1.evaluate(dataset, answer_texts(SQUAD1, predictions))
    ours = score_squad(SQUAD1, examples, predictions)
    assert ours == {"f1": official["final_f1"], "exact_match": official["exact_match"]}
    # Articles and punctuation do not count: "an old cat!" is right, and so is "dog".
    assert ours["exact_match"] == pytest.approx(2 / 3)


def test_nothing_is_said_above_the_null_threshold(examples):
    odds = {"q1": -2.0, "q2": 3.0}
    predictions = {
        name: Prediction([Candidate("x", 0.0, 0.0)], Candidate("", value, 0.0)) for name, value in odds.items()
    }
    assert answer_texts(SQUAD2, predictions) == {"q1": "x", "q2": ""}
    assert answer_texts(SQUAD2, predictions, null_threshold=5.0) == {"q1": "x", "q2": "x"}
    assert answer_texts(SQUAD1, predictions) == {"q1": "x", "q2": "x"}
    questions = [examples[0]._replace(answers=(Answer("x", 0),)), examples[1]._replace(answers=())]
    scores = score_squad(SQUAD2, questions, predictions)
    assert (scores["f1"], scores["HasAns_f1"], scores["NoAns_f1"]) == (1.0, 1.0, 1.0)
    assert scores["best_f1"] == 1.0 and -2.0 <= scores["best_f1_threshold"] < 3.0


@pytest.mark.slow
def test_a_network_learns_questions_and_its_student_too(vocabulary, examples, tmp_path):
    """From fine-tuning over both stages of distillation to the files that the official scripts read."""
    for split in ("train", "dev"):
        write_squad(tmp_path / f"{split}-v1.1.json", examples, SQUAD1)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    save_model(build_model(config, "encoder"), tmp_path / "encoder", tokenizer_from=vocabulary)
    common = {"task": "squad1", "data_dir": str(tmp_path), "seq_len": 32, "train_batch_size": 4, "evaluations": 2}
    taught = finetune(
        compose(
            FinetuneSettings,
            **common,
            model=str(tmp_path / "encoder"),
            output_dir=str(tmp_path / "t"),
            epochs=30,
            learning_rate=5e-3,
        )
    )
    assert taught["metrics"]["exact_match"] == 1.0
    result = distill_task(
        compose(DistillSettings,
            **common, teacher=taught["model"], student="1x32x2x64", output_dir=str(tmp_path / "s"), teacher_dtype="float32",
            intermediate_epochs=20, prediction_epochs=40, intermediate_learning_rate=5e-3, prediction_learning_rate=5e-3,
        )
    )  # fmt: skip
    asked = {"model_dir": result["model"], "task": "squad1", "data_dir": str(tmp_path), "seq_len": 32}
    assert evaluate_model(compose(EvaluateSettings, **asked))["metrics"] == result["metrics"]
    assert result["score"] > 0.6
    predict(compose(PredictSettings, **asked, output_dir=str(tmp_path / "answers")))
    answers = json.loads((tmp_path / "answers" / "predictions.json").read_text())
    dataset = json.loads((tmp_path / "dev-v1.1.json").read_text())["data"]
    assert squad_evaluate_v1_1.evaluate(dataset, answers)["final_f1"] == pytest.approx(result["score"])


def test_a_network_that_diverged_has_no_answers(vocabulary, examples):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = build_model(BertConfig(vocab_size=len(WORDS), max_position_embeddings=64, **sizes), "span")
    model.head_layer.bias.assign([np.nan, 0.0])
    tokenizer = Tokenizer(vocabulary / "vocab.txt")
    with pytest.raises(FloatingPointError, match="the training diverged"):
        predict_squad(model, examples, tokenizer, seq_len=32)
