import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from tinybert_tf.data import load_task
from tinybert_tf.data.sample import NEGATIVE, POSITIVE


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


def test_counting_words_does_not_solve_it(sample):
    vectorizer = CountVectorizer(token_pattern=r"\S+").fit(row.text for row in sample["train"])
    model = LogisticRegression(max_iter=200)
    model.fit(vectorizer.transform(row.text for row in sample["train"]), [row.label for row in sample["train"]])
    dev = vectorizer.transform(row.text for row in sample["dev"])
    assert model.score(dev, [row.label for row in sample["dev"]]) < 0.65


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
