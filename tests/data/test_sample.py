import re

import pytest

from tinybert_tf.data import load_task
from tinybert_tf.data.sample import NEGATIVE, POSITIVE
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.baseline import word_scores


@pytest.fixture(scope="module")
def sample():
    data = load_task("sample")
    return {name: list(data.split(name)) for name in ("train", "dev", "test")}


def test_it_is_the_same_every_time(sample):
    assert list(load_task("sample").train) == sample["train"]


def test_labels_are_balanced_and_no_sentence_stands_twice(sample):
    texts = [row.text for rows in sample.values() for row in rows]
    assert len(set(texts)) == len(texts) == 8000
    for rows in sample.values():
        assert 0.45 < sum(row.label == "positive" for row in rows) / len(rows) < 0.55


def test_counting_words_finds_something_and_not_much(sample):
    score, most_frequent = word_scores(load_task("sample").task, sample["train"], sample["dev"])
    assert 0.55 < score < 0.7 and most_frequent < 0.55


def opinion(clause):
    """Read without the grammar: the kind of its adjective, turned by a word that turns."""
    (word,) = set(clause.split()) & (set(POSITIVE) | set(NEGATIVE))
    turns = re.search(r"\b(not|hardly|nothing|was anything but|stopped being .* soon)\b", clause)
    return "positive" if (word in POSITIVE) == (turns is None) else "negative"


def test_no_label_of_a_single_clause_is_wrong(sample):
    rows = [row for row in sample["train"] if " that " not in row.text and " , " not in row.text]
    assert len(rows) > 300
    assert [opinion(row.text) for row in rows] == [row.label for row in rows]


def test_the_label_is_that_of_the_clause_that_was_asked_for(sample):
    found = 0
    for row in sample["dev"]:
        if asked := re.fullmatch(r"(?:we came for the (\w+) alone|only the (\w+) matters) : (.*)", row.text):
            (clause,) = [part for part in asked[3].split(" , ") if f"the {asked[1] or asked[2]} " in part]
            assert opinion(clause) == row.label
            found += 1
    assert found > 50


def test_of_three_clauses_the_majority_counts(sample):
    found = 0
    for row in sample["dev"]:
        if three := re.fullmatch(r"([^,:]*) , ([^,:]*) and ((?:the|no one|nothing about) [^,:]*)", row.text):
            opinions = [opinion(clause) for clause in three.groups()]
            assert opinions.count(row.label) >= 2
            found += 1
    assert found > 100


def test_a_third_of_the_lexicon_is_rare_in_training_only(sample):
    def share(rows, words):
        found = [word for row in rows for word in row.text.split() if word in lexicon]
        return sum(word in words for word in found) / len(found)

    lexicon = set(POSITIVE) | set(NEGATIVE)
    counts = {word: sum(word in row.text.split() for row in sample["train"]) for word in lexicon}
    rare = set(sorted(lexicon, key=counts.get)[: len(lexicon) // 3])
    assert share(sample["train"], rare) < 0.03
    assert share(sample["dev"], rare) > 0.25


@pytest.mark.realdata
def test_every_word_is_one_piece_of_berts_vocabulary(sample, real_data):
    vocabulary = set((real_data / "vocab.txt").read_text("utf-8").split("\n"))
    assert not {word for rows in sample.values() for row in rows for word in row.text.split()} - vocabulary


def test_an_augmented_sample_is_read_from_its_folder(tmp_path):
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "train.tsv").write_text("sentence\tlabel\nthe film was dull\tnegative\n")
    (row,) = load_task("sample", tmp_path).train
    assert (row.text, row.label) == ("the film was dull", "negative")


def test_a_split_that_the_sample_lacks_is_refused():
    with pytest.raises(InputError, match="task sample has no split 'validation'; it has train, dev, test"):
        load_task("sample").split("validation")
