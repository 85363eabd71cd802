import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinybert_tf as tb
from tinybert_tf.augmentation import Augmentation, AugmentSettings, augment_task
from tinybert_tf.augmentation.questions import QuestionAugmenter, QuestionLayout
from tinybert_tf.data import Example, get_task, load_task
from tinybert_tf.data.squad import Answer, SquadExample, read_squad, write_squad
from tinybert_tf.errors import InputError

SQUAD1, SQUAD2 = get_task("squad1"), get_task("squad2")
CONTEXT = "In old Kraków, near old Wawel, old men walk."


def augmenter(neighbors, **changes):
    """Every word that has neighbors is replaced in every copy."""
    return QuestionAugmenter(Augmentation(replace_probability=1.0, **changes), None, neighbors)


def test_the_answers_words_stay_and_its_place_moves():
    make = augmenter({"old": ["ancient"], "Kraków": ["Rome"], "men": ["x"], "wine": ["beer"]}, copies=1)
    copies, counts = make([Example(0, "Who has wine?", CONTEXT, (Answer("Kraków", 7), Answer("old Wawel", 20)))])
    moved = "In ancient Kraków, near old Wawel, ancient x walk."
    assert [(copy.text, copy.text_pair) for copy in copies] == [("Who has beer?", CONTEXT), ("Who has wine?", moved)]
    assert copies[0].label == (Answer("Kraków", 7), Answer("old Wawel", 20))
    assert copies[-1].label == (Answer("Kraków", 11), Answer("old Wawel", 24))
    assert counts["copies"] == 2 and counts["word_vectors"] == 4


def test_a_word_that_an_answer_cuts_stays():
    copies, _ = augmenter({"Kraków": ["Rome"], "walk": ["go"]}, copies=1)(
        [Example(0, "?", CONTEXT, (Answer("rak", 8),))]
    )
    assert copies[-1].text_pair == CONTEXT.replace("walk", "go")


def test_questions_that_share_a_context_keep_each_its_own_answer():
    rows = [Example(0, "a?", CONTEXT, (Answer("Kraków", 7),)), Example(1, "b?", CONTEXT, (Answer("Wawel", 24),))]
    copies, _ = augmenter({"Kraków": ["Rome"], "Wawel": ["Hill"]}, copies=1)(rows)
    assert {copy.text_pair for copy in copies} == {CONTEXT.replace("Wawel", "Hill"), CONTEXT.replace("Kraków", "Rome")}


def test_without_an_answer_every_word_may_go():
    copies, _ = augmenter({"Kraków": ["Rome"]}, copies=1)([Example(0, "?", CONTEXT, ())])
    assert copies[-1].text_pair == CONTEXT.replace("Kraków", "Rome") and copies[-1].label == ()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_an_answer_is_found_after_any_replacement(data):
    words = data.draw(st.lists(st.sampled_from(["old", "é", "好", "😀", "x", "Kraków", ","]), min_size=1, max_size=12))
    context = data.draw(st.sampled_from([" ", "", "  "])).join(words)
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    neighbors = {
        word: [data.draw(st.sampled_from(["a", "longer", "ü"]))] for word in ("old", "é", "x", "Kraków", "oldx")
    }
    answer = Answer(context[start:end], start)
    for copy in augmenter(neighbors, copies=2)([Example(0, "?", context, (answer,))]).copies:
        (moved,) = copy.label
        assert moved.text == answer.text and copy.text_pair[moved.start :].startswith(answer.text)


@pytest.mark.parametrize("task", [SQUAD1, SQUAD2])
def test_the_program_writes_a_data_dir_of_squad(task, masked_lm_dir, vectors_file, tmp_path):
    contexts = ["the film was good and the king was sad in Paris", "The actor saw darkly green light , not a story."]
    questions = [
        SquadExample("q1", "who was sad", contexts[0], (Answer("king", 26),)),
        SquadExample("q2", "where was the king", contexts[0], (Answer("Paris", 42), Answer("in Paris", 39))),
        SquadExample("q3", "was it \"dull\" ?", contexts[1], () if task is SQUAD2 else (Answer("not", 35),)),
    ]  # fmt: skip
    version = "1.1" if task is SQUAD1 else "2.0"
    write_squad(tmp_path / f"train-v{version}.json", questions, task)
    write_squad(tmp_path / f"dev-v{version}.json", questions[:1], task)
    ours = AugmentSettings(
        task=task.name, data_dir=str(tmp_path), masked_lm=str(masked_lm_dir), word_vectors=str(vectors_file),
        output_dir=str(tmp_path / "out"), algorithm=Augmentation(copies=4, candidates=6),
    )  # fmt: skip
    result = augment_task(ours)
    data = load_task(task.name, ours.output_dir)
    found = list(data.train)  # the reader checks that every answer stands where it should
    assert [row for row in found if row.id in ("q1", "q2", "q3")] == questions
    assert len(found) == result["metrics"]["rows_written"] > 3 + 12
    assert list(data.dev) == questions[:1]
    written = json.loads((tmp_path / "out" / "SQuAD" / f"train-v{version}.json").read_text())
    ids = [paragraph["qas"][0]["id"] for paragraph in written["data"][0]["paragraphs"]]
    assert ids[:3] == ["q1", "q2", "q3"] and len(set(ids)) == len(ids), "original rows first"
    for row in found:
        assert (row.answers == ()) == (task is SQUAD2 and row.id.startswith("q3"))


def test_in_memory_questions_are_refused_by_name(tmp_path):
    path = tmp_path / "train-v1.1.json"
    write_squad(path, [SquadExample("a", "b?", "c d", (Answer("d", 2),))], SQUAD1)
    assert QuestionLayout(load_task("squad1", tmp_path)).other_files == [], "no dev file, none to copy"
    with pytest.raises(InputError, match=r"train-v1.1.json: rows of questions; bin/augment.py"):
        tb.augment(load_task("squad1", tmp_path), None, None)
    assert len(read_squad(path, SQUAD1)) == 1
