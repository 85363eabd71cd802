import functools
import json

import pytest

from tinybert_tf.data import get_task
from tinybert_tf.data.squad import (
    Answer,
    SquadExample,
    find_squad_file,
    read_squad,
    squad_split,
    write_squad,
)
from tinybert_tf.errors import InputError

SQUAD1, SQUAD2 = get_task("squad1"), get_task("squad2")
CONTEXT = "The café in Kraków opened in 1921. It closed."
ANSWERED = {"id": "b", "question": "Where?", "answers": [{"text": "Kraków", "answer_start": 12}]}
IMPOSSIBLE = {
    "id": "a",
    "question": "Why?",
    "is_impossible": True,
    "answers": [],
    "plausible_answers": [{"text": "1921", "answer_start": 29}],
}


def document(*questions, context=CONTEXT):
    return {"version": "x", "data": [{"title": "Cafés", "paragraphs": [{"context": context, "qas": list(questions)}]}]}


@pytest.fixture
def file_of(tmp_path):
    """A function that writes a document as a file."""

    def write(value, name="dev-v2.0.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value), encoding="utf-8")
        return path

    return write


def test_questions_come_with_their_answers_sorted_by_id(file_of):
    found = read_squad(file_of(document(ANSWERED, IMPOSSIBLE)), SQUAD2)
    assert found == [
        SquadExample("a", "Why?", CONTEXT, ()),
        SquadExample("b", "Where?", CONTEXT, (Answer("Kraków", 12),)),
    ]
    assert found[0].context is found[1].context, "a paragraph's text is held once"


def test_a_question_without_answers_in_the_file_is_one_to_predict(file_of):
    (found,) = read_squad(file_of(document({"id": "a", "question": "Why?"})), SQUAD1)
    assert found.answers is None


def test_a_training_set_needs_answers(tmp_path):
    (tmp_path / "train-v1.1.json").write_text(json.dumps(document(ANSWERED, {"id": "c", "question": "Why?"})))
    with pytest.raises(InputError, match=r'paragraph 1, question 2 \(id c\): needs a list "answers" to learn from'):
        list(squad_split(SQUAD1, tmp_path, "train"))


def test_an_impossible_question_may_lack_the_list_of_answers(file_of):
    (found,) = read_squad(file_of(document({"id": "a", "question": "Why?", "is_impossible": True})), SQUAD2)
    assert found.answers == ()


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([IMPOSSIBLE], "paragraph 1, question 1 (id a): has no answer; that is SQuAD 2.0: use `task=squad2`"),
        ([ANSWERED, ANSWERED], "two questions have the id 'b'"),
        ([], "no questions"),
        ([{"id": "a"}], 'article 1, paragraph 1, question 1: needs a text "question"'),
        ([{"id": 7, "question": "Why?"}], 'needs a text "id"'),
        (
            [ANSWERED, IMPOSSIBLE | {"is_impossible": False, "answers": [{"text": "1921", "answer_start": 30}]}],
            "question 2 (id a): the answer '1921' is not at answer_start 30 of the context, '921.' is",
        ),
        (
            [ANSWERED | {"answers": [{"text": "closed.", "answer_start": -7}]}],
            "the answer 'closed.' is not at answer_start -7",
        ),
        ([ANSWERED | {"answers": [{"text": "", "answer_start": 3}]}], "the answer '' is not at answer_start 3"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(file_of, questions, message):
    path = file_of(document(*questions))
    with pytest.raises(InputError) as caught:
        read_squad(path, SQUAD1)
    assert str(path) in str(caught.value) and message in str(caught.value)


def test_other_files_are_refused(file_of):
    with pytest.raises(InputError, match='needs a list "data", as in the official SQuAD files'):
        read_squad(file_of([1, 2]), SQUAD1)
    with pytest.raises(InputError, match="article 1, paragraph 1: the context is empty"):
        read_squad(file_of(document(ANSWERED, context=" ")), SQUAD1)
    path = file_of({})
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="not valid JSON"):
        read_squad(path, SQUAD1)


def test_the_file_of_a_split_is_found_by_its_name(file_of, tmp_path):
    official = file_of({}, "SQuAD/dev-v2.0.json")
    part = file_of({}, "SQuAD/part-of-dev-v2.0.json")
    assert find_squad_file(SQUAD2, tmp_path, "dev") == official
    assert find_squad_file(SQUAD2, tmp_path / "SQuAD", "dev") == official
    official.unlink()
    assert find_squad_file(SQUAD2, tmp_path, "dev") == part
    other = file_of({}, "SQuAD/dev-v2.0-cut.json")
    with pytest.raises(InputError, match="dev-v2.0-cut.json, part-of-dev-v2.0.json are candidates for the dev set"):
        find_squad_file(SQUAD2, tmp_path, "dev")
    with pytest.raises(InputError) as caught:
        find_squad_file(SQUAD1, tmp_path, "train")
    assert "no train set of SQuAD 1.1; put train-v1.1.json into it" in str(caught.value)
    assert other.name in str(caught.value)
    with pytest.raises(InputError, match="data_dir=.*none: no such folder"):
        find_squad_file(SQUAD1, tmp_path / "none", "train")


def test_a_split_reads_its_file_anew_and_can_be_limited(file_of, tmp_path):
    file_of(document(ANSWERED, IMPOSSIBLE), "train.json")
    split = squad_split(SQUAD2, tmp_path, "train")
    assert list(split) == list(split) == read_squad(tmp_path / "train.json", SQUAD2)
    assert [example.id for example in split.limit(1)] == ["a"]


def test_what_is_written_is_read_back(file_of, tmp_path):
    extra = {"id": "c", "question": "Who?"}
    original = read_squad(file_of(document(ANSWERED, IMPOSSIBLE, extra)), SQUAD2)
    write_squad(tmp_path / "out" / "train-v2.0.json", original, SQUAD2)
    assert read_squad(tmp_path / "out" / "train-v2.0.json", SQUAD2) == original


@pytest.mark.parametrize(("task", "questions"), [(SQUAD1, [ANSWERED]), (SQUAD2, [ANSWERED, IMPOSSIBLE])])
def test_tensorflow_datasets_gives_what_the_file_gives(file_of, tmp_path, monkeypatch, task, questions):
    import tensorflow_datasets as tfds

    more = {"id": "B", "question": "When?", "answers": [{"text": "1921", "answer_start": 29}] * 2}
    questions = [question | {"is_impossible": bool(question.get("is_impossible"))} for question in (*questions, more)]
    path = file_of(document(*questions))
    monkeypatch.setattr("tinybert_tf.data.tfds._is_reachable", lambda host: True)
    monkeypatch.setattr(tfds, "builder", functools.partial(tfds.builder, data_dir=tmp_path / "tfds"))
    monkeypatch.setattr(
        tfds.download.DownloadManager, "download_and_extract", lambda self, urls: dict.fromkeys(urls, str(path))
    )
    assert list(squad_split(task, None, "dev")) == read_squad(path, task)


def test_answers_that_are_not_where_the_file_says_are_counted_and_can_be_left_out(file_of, caplog):
    wrong = ANSWERED | {"answers": [{"text": "closed.", "answer_start": 1}]}
    path = file_of(document(ANSWERED, wrong | {"id": "x"}, wrong | {"id": "y"}))
    with pytest.raises(InputError, match=r"\(id x\): .*; this and 1 more can be left out with `skip_bad_rows`"):
        read_squad(path, SQUAD1)
    assert [example.id for example in read_squad(path, SQUAD1, skip_bad_rows=True)] == ["b"]
    assert "2 questions are left out; the first: " in caplog.messages[-1]
    read_squad(path, SQUAD1, skip_bad_rows=True)
    assert len(caplog.messages) == 1, "logged once, though every pass reads the file"
    path = file_of(document(wrong))
    with pytest.raises(InputError, match="no questions; 1 questions are left out; the first: .*answer_start 1 of"):
        read_squad(path, SQUAD1, skip_bad_rows=True)
