import random

import pytest

from tinybert_tf.evaluate.metrics import entity_scores


def test_scores_by_hand():
    true = ["B-PER I-PER O B-LOC".split(), "O O".split()]
    predicted = ["B-PER O O B-LOC".split(), "O B-LOC".split()]
    scores = entity_scores(predicted, true)
    assert scores == pytest.approx({"f1": 2 / 5, "precision": 1 / 3, "recall": 1 / 2, "accuracy": 4 / 6})
    assert next(iter(scores)) == "f1"
    assert entity_scores([["O"]], [["O"]]) == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "accuracy": 1.0}


def test_a_tag_without_a_prefix_is_a_kind():
    scores = entity_scores(["noun verb".split()], ["noun noun".split()])
    assert (scores["precision"], scores["accuracy"]) == (0.0, 0.5)
    assert entity_scores(["noun noun O".split()], ["noun noun verb".split()])["precision"] == 1.0


def conlleval(predicted, true):
    """(correct, found, wanted) as the state machine of the shared task's conlleval.pl counts them."""

    def starts(last, tag):
        (last_prefix, _, last_kind), (prefix, _, kind) = last.partition("-"), tag.partition("-")
        return (
            prefix in ("B", "S")
            or (last_prefix in ("E", "S") and prefix in ("E", "I"))
            or (last_prefix == "O" and prefix in ("E", "I"))
            or (prefix != "O" and last_kind != kind)
        )

    def ends(last, tag):
        (last_prefix, _, last_kind), (prefix, _, kind) = last.partition("-"), tag.partition("-")
        return (
            last_prefix in ("E", "S")
            or (last_prefix in ("B", "I") and prefix in ("B", "S", "O"))
            or (last_prefix != "O" and last_kind != kind)
        )

    correct = found = wanted = 0
    for ours, theirs in zip(predicted, true, strict=True):
        both_begun = False
        last_ours = last_theirs = "O"
        for one, other in zip([*ours, "O"], [*theirs, "O"], strict=True):
            if both_begun:
                our_end, their_end = ends(last_ours, one), ends(last_theirs, other)
                if our_end and their_end:
                    correct, both_begun = correct + 1, False
                elif our_end != their_end or one.partition("-")[2] != other.partition("-")[2]:
                    both_begun = False
            our_start, their_start = starts(last_ours, one), starts(last_theirs, other)
            if our_start and their_start and one.partition("-")[2] == other.partition("-")[2]:
                both_begun = True
            found, wanted = found + our_start, wanted + their_start
            last_ours, last_theirs = one, other
    return correct, found, wanted


def test_any_tags_score_as_the_shared_tasks_script_scores_them():
    rng = random.Random(0)
    tags = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "LOC"))]
    for _ in range(300):
        lengths = [rng.randint(1, 8) for _ in range(3)]
        predicted, true = ([[rng.choice(tags) for _ in range(n)] for n in lengths] for _ in range(2))
        correct, found, wanted = conlleval(predicted, true)
        scores = entity_scores(predicted, true)
        assert scores["precision"] == pytest.approx(correct / max(1, found))
        assert scores["recall"] == pytest.approx(correct / max(1, wanted))


@pytest.mark.parametrize(
    ("true", "predicted", "f1"),
    [
        ("B-PER L-PER O U-LOC", "B-PER O O U-LOC", 0.5),  # BILOU
        ("B-PER M-PER E-PER O", "B-PER M-PER O O", 0.0),  # BMES
        ("B-PER M-PER E-PER S-LOC", "B-PER M-PER E-PER S-LOC", 1.0),
    ],
)
def test_other_prefixes_mean_the_same(true, predicted, f1):
    assert entity_scores([predicted.split()], [true.split()])["f1"] == f1
