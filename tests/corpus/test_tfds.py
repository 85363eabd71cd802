import numpy as np
import pytest
import tensorflow_datasets as tfds

from tinybert_tf.corpus import make_corpus, read_corpus
from tinybert_tf.corpus.tfds import DatasetText, plain_lines
from tinybert_tf.errors import InputError

WIKI40B = (
    "\n_START_ARTICLE_\nBan\n_START_SECTION_\nHistory\n_START_PARAGRAPH_\nBen bin._NEWLINE_Bon bun.\n"
    "_START_PARAGRAPH_\nDan den."
)


def test_wiki40b_s_marks_become_line_breaks_and_titles_go():
    lines = [line for line in plain_lines(WIKI40B.encode(), "wiki40b").decode().split("\n") if line]
    assert lines == ["History", "Ben bin.", "Bon bun.", "Dan den."]
    assert b"\n\n" not in plain_lines(WIKI40B.encode(), "wiki40b")
    assert plain_lines(b"Ban\n\n \nBen\n", "wikipedia") == b"Ban\nBen"


def test_another_data_set_is_refused():
    with pytest.raises(InputError, match=r"tfds=imdb: must be one of wikipedia, wiki40b, lm1b; give other text"):
        DatasetText("imdb", 1000)


@pytest.fixture
def lm1b(tmp_path, monkeypatch):
    """A prepared lm1b of 40 rows in two files, without a network."""
    rows = [{"text": f"ban ben number {number}."} for number in range(40)]

    class Lm1b(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"text": tfds.features.Text()}))

        def _split_generators(self, _):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield from enumerate(rows)

    builder = Lm1b(data_dir=str(tmp_path / "tfds"))
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=2))
    monkeypatch.setattr(tfds, "builder", lambda name: builder)
    return builder


def test_each_row_is_a_document_and_each_file_is_read_once(settings, lm1b):
    ours = settings(input=None, tfds="lm1b", held_out=0.0, shard_mb=0.0002)
    result = make_corpus(ours)
    corpus = read_corpus(ours.output_dir)
    assert (result["documents"], result["examples"]) == (40, 40)
    assert result["shards"] > 2
    assert corpus.manifest["text"] == {
        "tfds": "lm1b/1.0.0",
        "rows": [int(n) for n in lm1b.info.splits["train"].shard_lengths],
    }
    ids = np.concatenate([batch["input_word_ids"].numpy() for batch in corpus.batches(batch_size=10)])
    assert (ids[:, 1:3] == corpus.tokenizer.tokenize(["ban ben"]).flat_values.numpy()).all()
