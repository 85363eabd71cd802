"""Answers to SQuAD's questions from a network's logits, and their official scores."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.special
import tensorflow as tf
from official.nlp.tools import squad_evaluate_v1_1, squad_evaluate_v2_0

from tinybert_tf.bert import BertModel, logits_model
from tinybert_tf.data import Split, Task, Tokenizer
from tinybert_tf.data.spans import SpanFeatures, Window
from tinybert_tf.data.squad import SquadExample, allows_no_answer
from tinybert_tf.distribution import on_all_replicas, round_up_to_replicas
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.logits import checked_seq_len
from tinybert_tf.files import write_json
from tinybert_tf.progress import Progress

# Devlin et al.'s limits: tokens in an answer, and answers kept for a question.
MAX_ANSWER_LENGTH = 30
N_BEST = 20


class Candidate(NamedTuple):
    """A passage of the context, and the logits of its first and last token."""

    text: str
    start_logit: float
    end_logit: float

    @property
    def score(self) -> float:
        return self.start_logit + self.end_logit


class Prediction(NamedTuple):
    """A network's answer to a question: passages, the best first, and the score of no answer."""

    candidates: list[Candidate]
    null: Candidate

    @property
    def null_odds(self) -> float:
        """The score of no answer minus that of the best passage."""
        return self.null.score - self.candidates[0].score


def predict_squad(
    model: BertModel,
    examples: Iterable[SquadExample],
    tokenizer: Tokenizer,
    *,
    seq_len: int = 384,
    batch_size: int = 32,
) -> dict[str, Prediction]:
    """A network's answers to questions, by their ids."""
    features = SpanFeatures(examples, tokenizer, seq_len)
    return find_answers(features, make_span_predict(model, features, batch_size)())


def squad_evaluation(
    model: BertModel,
    split: Split,
    tokenizer: Tokenizer,
    task: Task,
    *,
    seq_len: int | None = None,
    batch_size: int = 32,
) -> Callable[[], dict[str, float]]:
    """A function that scores `model` on a split, which is tokenized once; see `score_squad`."""
    features = SpanFeatures(split, tokenizer, seq_len or task.seq_len)
    predict = make_span_predict(model, features, batch_size)
    return lambda: score_squad(task, features.examples, find_answers(features, predict()))


def make_span_predict(model: BertModel, features: SpanFeatures, batch_size: int = 32) -> Callable[[], list[np.ndarray]]:
    """A function that returns the logits, float32 [length, 2] (start, end), of each window.

    Raises:
        InputError: windows longer than the network's positions.
        FloatingPointError: (when it predicts) logits that are not finite.
    """
    checked_seq_len(model, features.seq_len)
    network = logits_model(model)
    forward = on_all_replicas(lambda batch: network(batch, training=False))

    def predict() -> list[np.ndarray]:
        found: list[np.ndarray] = [np.empty((0, 2), np.float32)] * len(features.lengths)
        progress, done = Progress("answers", len(found), "window"), 0
        for batch, _, _, numbers in features.batches(batch_size=round_up_to_replicas(batch_size), row_numbers=True):
            logits = tf.cast(forward(batch), tf.float32).numpy()
            if not np.isfinite(logits).all():
                raise FloatingPointError("the logits are not finite: the training diverged; lower the learning rate")
            numbers = numbers.numpy()
            for number, row in zip(numbers[numbers >= 0], logits, strict=False):
                found[number] = row[: features.lengths[number]]
            done += int((numbers >= 0).sum())
            progress.show(done)
        progress.close()
        return found

    return predict


def find_answers(
    features: SpanFeatures,
    logits: list[np.ndarray],
    *,
    max_answer_length: int = MAX_ANSWER_LENGTH,
    n_best: int = N_BEST,
) -> dict[str, Prediction]:
    """The best passages over all windows of each question, by the question's id.

    A passage begins in the window with the most context on both sides of its first token (Devlin et al.'s
    "maximum context") and ends in the same; every passage of at most `max_answer_length` tokens is compared, not only those
    between the best starts and the best ends. Its text is cut out of the context. The score of no answer is the
    lowest of the windows' [CLS] scores.

    Args:
        features: the windows.
        logits: float32 [length, 2] of each window.
        max_answer_length: longest passage in tokens.
        n_best: passages of different text that are kept of a question.
    """
    found = {}
    number = 0
    for windows in features.windows_by_example():
        spans, nulls = [], []
        for window, owned in zip(windows, _owned_pieces(windows), strict=True):
            spans += _best_spans(logits[number], window, owned, max_answer_length, n_best)
            nulls.append(Candidate("", *map(float, logits[number][0])))
            number += 1
        example = windows[0].example
        candidates: dict[str, Candidate] = {}
        for start, end, first, last in sorted(spans, key=lambda span: -(span[0] + span[1])):
            text = features.text(example, first, last)
            candidates.setdefault(text, Candidate(text, start, end))
        null = min(nulls, key=lambda candidate: candidate.score)
        found[features.examples[example].id] = Prediction(list(candidates.values())[:n_best], null)
    return found


def answer_texts(task: Task, predictions: Mapping[str, Prediction], null_threshold: float = 0.0) -> dict[str, str]:
    """The answers as the official scripts read them; "" (SQuAD 2.0) where the null odds are above the threshold."""
    may_be_null = allows_no_answer(task)
    return {
        name: "" if may_be_null and prediction.null_odds > null_threshold else prediction.candidates[0].text
        for name, prediction in predictions.items()
    }


def score_squad(
    task: Task, examples: Iterable[SquadExample], predictions: Mapping[str, Prediction]
) -> dict[str, float]:
    """The official scores, as parts of 1; the main one first.

    Returns:
        `f1`, `exact_match`; for SQuAD 2.0, both at null odds of 0, also for questions with an answer (`HasAns_f1`,
        `HasAns_exact_match`) and without (`NoAns_...`) if there are such, and the scores at the best thresholds: `best_f1`,
        `best_f1_threshold`, `best_exact_match`, `best_exact_match_threshold`.

    Raises:
        InputError: questions whose answers are not known.
    """
    articles = _articles(examples)
    texts = answer_texts(task, predictions)
    if not allows_no_answer(task):
        scores = squad_evaluate_v1_1.evaluate(articles, texts)
        return {"f1": scores["final_f1"], "exact_match": scores["exact_match"]}
    scores = squad_evaluate_v2_0.evaluate(articles, texts)
    prefixes = ("", *(prefix for prefix in ("HasAns_", "NoAns_") if f"{prefix}f1" in scores))
    found = {}
    for prefix in prefixes:
        found[f"{prefix}f1"] = scores[f"{prefix}f1"] / 100
        found[f"{prefix}exact_match"] = scores[f"{prefix}exact"] / 100
    return found | _best_thresholds(articles, predictions)


def write_squad_predictions(
    directory: str | Path, task: Task, predictions: Mapping[str, Prediction], null_threshold: float = 0.0
) -> None:
    """Writes `predictions.json` (id -> answer), `nbest.json` (id -> passages with probabilities and logits) and, for SQuAD
    2.0, `null_odds.json` (id -> score of no answer minus that of the best passage), as the official scripts read them."""
    directory = Path(directory)
    write_json(directory / "predictions.json", answer_texts(task, predictions, null_threshold))
    may_be_null = allows_no_answer(task)
    write_json(directory / "nbest.json", {name: _n_best(found, may_be_null) for name, found in predictions.items()})
    if may_be_null:
        odds = {name: prediction.null_odds for name, prediction in predictions.items()}
        write_json(directory / "null_odds.json", odds)


def _n_best(prediction: Prediction, may_be_null: bool) -> list[dict]:
    candidates = prediction.candidates + ([prediction.null] if may_be_null else [])
    candidates = sorted(candidates, key=lambda candidate: -candidate.score)
    probabilities = scipy.special.softmax([candidate.score for candidate in candidates])
    return [
        {"text": text, "probability": float(probability), "start_logit": start, "end_logit": end}
        for (text, start, end), probability in zip(candidates, probabilities, strict=True)
    ]


def _owned_pieces(windows: list[Window]) -> Iterator[np.ndarray]:
    """For each window of a question: its tokens that have at least as much context in it as in any other window."""
    pieces = np.arange(max(window.last for window in windows))
    around = []
    for window in windows:
        on_either_side = np.minimum(pieces - window.first, window.last - 1 - pieces)
        # Between equals the longer window wins, and then the earlier.
        context = on_either_side + 0.01 * (window.last - window.first)
        around.append(np.where(on_either_side >= 0, context, -np.inf))
    owner = np.argmax(around, axis=0)
    return (owner[window.first : window.last] == number for number, window in enumerate(windows))


def _best_spans(logits: np.ndarray, window: Window, owned: np.ndarray, longest: int, n_best: int) -> list[tuple]:
    """The best (start logit, end logit, first piece, last piece) of a window that begin with an owned piece."""
    starts, ends = logits[window.offset : -1].T
    starts = np.where(owned, starts, -np.inf)
    ends = np.pad(ends, (0, longest - 1), constant_values=-np.inf)
    scores = starts[:, None] + np.lib.stride_tricks.sliding_window_view(ends, longest)  # [pieces, length - 1]
    best = np.argpartition(scores, -min(n_best, scores.size), axis=None)[-n_best:]
    first, more = np.unravel_index(best[np.isfinite(scores.flat[best])], scores.shape)
    return [
        (float(starts[i]), float(ends[i + j]), window.first + i, window.first + i + j)
        for i, j in zip(first.tolist(), more.tolist(), strict=True)
    ]


def _articles(examples: Iterable[SquadExample]) -> list[dict]:
    """Questions in the official files' form."""
    questions = []
    for example in examples:
        if example.answers is None:
            raise InputError(f"question {example.id}: has no gold answers to score against; predict it instead")
        questions.append({"id": example.id, "answers": [{"text": text} for text, _ in example.answers]})
    return [{"paragraphs": [{"qas": questions}]}]


def _best_thresholds(articles: list[dict], predictions: Mapping[str, Prediction]) -> dict[str, float]:
    """The null odds above which no answer scores best, found by the official script from the best passages. The script
    expects probabilities, where 0 means to answer nothing; it gets the ranks of the odds, from 1 on, which have the same
    order.
    """
    texts = {name: prediction.candidates[0].text for name, prediction in predictions.items()}
    odds = {name: prediction.null_odds for name, prediction in predictions.items()}
    values = sorted(set(odds.values()))
    ranks = {value: rank for rank, value in enumerate(values, 1)}
    scores = squad_evaluate_v2_0.evaluate(articles, texts, {name: ranks[value] for name, value in odds.items()})
    thresholds = [values[0] - 1.0, *values]
    return {
        "best_f1": scores["final_f1"] / 100,
        "best_f1_threshold": thresholds[int(scores["final_f1_thresh"])],
        "best_exact_match": scores["final_exact"] / 100,
        "best_exact_match_threshold": thresholds[int(scores["final_exact_thresh"])],
    }
