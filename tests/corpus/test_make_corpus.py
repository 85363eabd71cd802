import dataclasses
import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tinybert_tf.corpus import make_corpus, read_corpus
from tinybert_tf.corpus.shards import id_type, read_records
from tinybert_tf.data.tokenizer import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.files import held
from tinybert_tf.train.text import check_vocabulary

module = importlib.import_module("tinybert_tf.corpus.make_corpus")  # the package has a function of that name


def all_rows(directory, splits=("train",)):
    corpus = read_corpus(directory)
    dtype = id_type(corpus.tokenizer.vocab_size)
    files = [path for split in splits for path, _, _ in corpus.files(split)]
    return np.concatenate([read_records(path, corpus.seq_len, dtype) for path in files])


def texts(ids, tokenizer):
    """The words of each row without special tokens."""
    special = (tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id)
    return [[tokenizer.vocabulary[index] for index in row if index not in special] for row in ids.tolist()]


def made(settings, text, **changes):
    """The words of each example of a corpus made of `text`, nothing held out."""
    source = Path(settings().output_dir).with_name("source.txt")
    source.write_bytes(text if isinstance(text, bytes) else text.encode())
    ours = settings("special", input=str(source), held_out=0.0, **changes)
    shutil.rmtree(ours.output_dir, ignore_errors=True)
    make_corpus(ours)
    return texts(all_rows(ours.output_dir), read_corpus(ours.output_dir).tokenizer)


def test_contiguous_packing_keeps_every_token_in_order_and_masks_none(settings, text_file, tokenizer):
    ours = settings(packing="contiguous", held_out=0.0, shard_mb=1.0)
    result = make_corpus(ours)
    ids = all_rows(ours.output_dir)
    documents = [text.split("\n") for text in text_file.read_text().strip().split("\n\n")]
    expected = [tokenizer.tokenize(lines).flat_values.numpy() for lines in documents]
    special = (tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id)
    np.testing.assert_array_equal(ids[~np.isin(ids, special)], np.concatenate(expected))
    assert tokenizer.mask_id not in ids
    assert result["documents"] == len(documents) and result["tokens"] == sum(map(len, expected))
    assert result["examples"] == len(ids) == sum(-(-len(tokens) // 30) for tokens in expected)


def test_a_pair_is_text_of_one_document_and_nothing_is_masked(settings, text_file, tokenizer):
    ours = settings()
    result = make_corpus(ours)
    ids = all_rows(ours.output_dir, ("train", "held_out"))
    whole = " ".join(tokenizer.vocabulary[i] for i in tokenizer.tokenize([text_file.read_text()]).flat_values.numpy())
    whole = f" {whole} "
    for row in ids.tolist():
        words = [tokenizer.vocabulary[index] for index in row if index != tokenizer.pad_id]
        assert words[0] == "[CLS]" and words[-1] == "[SEP]" and "[MASK]" not in words
        segments = " ".join(words[1:-1]).split(" [SEP] ")
        assert len(segments) <= 2
        places = [whole.find(f" {segment} ") for segment in segments]
        assert min(places) >= 0, "a segment is not what the text says"
    pairs = (ids == tokenizer.sep_id).sum(axis=1) == 2
    assert 0.5 < pairs.mean() < 1
    assert len(ids) == result["examples"] + result["held_out_examples"] and result["held_out_examples"] > 0


def test_marks_tabs_emoji_chinese_and_blank_lines_are_text_like_any_other(settings):
    text = 'ban "ben"\tbin \U0001f600 \u597d\u7535.\r\n\n\n  \t\n\nDAN den\n \n'
    assert made(settings, text) == [["ban", '"', "ben", '"', "bin", "[UNK]", "\u597d", "\u7535", "."], ["dan", "den"]]
    assert made(settings, "[MASK] ban [SEP]\n")[0].count("[MASK]") == 0  # marks in the text are no special tokens


def test_a_line_of_10_000_words_is_packed_whole(settings, tokenizer):
    words = np.random.default_rng(0).choice(tokenizer.vocabulary[5:45], 10_000).tolist()
    found = made(settings, " ".join(words) + "\n", packing="contiguous", shard_mb=1.0)
    assert [word for example in found for word in example] == words
    found = made(settings, " ".join(words) + "\n", shard_mb=0.01)  # over several blocks
    assert sum(map(len, found)) == 10_000


def test_wikipedia_extractor_s_layout_is_read(settings):
    text = '<doc id="1" url="u" title="Ban">\nBan\n\nben bin.\n</doc>\n<doc id="2" title="Dan">\nDan\n\nden.\n</doc>\n'
    assert made(settings, text) == [["ben", "bin", "."], ["den", "."]]


def test_text_that_is_not_utf8_is_refused_by_file_and_line(settings):
    text = ("ban ben\n\n" * 2000).encode() + b"bin caf\xe9\n"
    with pytest.raises(InputError, match=r"source.txt, line 4001: not UTF-8"):
        made(settings, text)


def test_text_without_a_word_is_refused(settings):
    with pytest.raises(InputError, match="no word"):
        made(settings, "\u200b\u200b\n")  # zero-width spaces, which the tokenizer takes for nothing


def test_the_manifest_says_what_is_there(settings, text_file, vocab_file, contents):
    ours = settings()
    result = make_corpus(ours)
    files = contents(ours.output_dir)
    manifest = json.loads(files.pop("manifest.json"))
    assert files.pop("vocab.txt") == vocab_file.read_bytes()
    assert json.loads(files.pop("tokenizer_config.json"))["do_lower_case"] is True
    assert manifest["counts"] == {name: value for name, value in result.items() if name != "seconds"}
    assert result["shards"] == len(manifest["shards"]) >= 8
    listed = [shard[split] for shard in manifest["shards"] for split in ("train", "held_out") if split in shard]
    assert {entry["file"]: entry["bytes"] for entry in listed} == {name: len(data) for name, data in files.items()}
    assert manifest["text"][0]["file"] == text_file.name and len(manifest["text"][0]["sha256"]) == 64


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(settings, contents):
    for name, changes in (("one", {}), ("two", {}), ("other", {"seed": 1})):
        make_corpus(settings(name, **changes))
    one, two, other = (contents(settings(name).output_dir) for name in ("one", "two", "other"))
    assert one == two
    assert one.keys() == other.keys() and one["train-00000-00000.tfrecord.gz"] != other["train-00000-00000.tfrecord.gz"]


def test_a_run_that_was_interrupted_resumes_to_the_same_bytes(settings, contents, monkeypatch, caplog):
    caplog.set_level("INFO", "tinybert_tf")
    whole, broken = settings("whole"), settings("broken")
    make_corpus(whole)
    blocks, write = [], module.write_shard

    def write_three(job, block):
        if len(blocks) == 3:
            (Path(job.settings.output_dir) / "train-00000-00003.tfrecord.gz").write_bytes(b"made, but not noted")
            (Path(job.settings.output_dir) / "unfinished" / "x.partial").write_bytes(b"half")
            raise KeyboardInterrupt
        blocks.append(block.name)
        return write(job, block)

    monkeypatch.setattr(module, "write_shard", write_three)
    with pytest.raises(KeyboardInterrupt):
        make_corpus(broken)
    with pytest.raises(InputError, match="unfinished; start bin/make_corpus.py again"):
        read_corpus(broken.output_dir)
    with pytest.raises(InputError, match=r"was made with `seed=0`, not 1; give the same to resume"):
        make_corpus(dataclasses.replace(broken, seed=1))
    monkeypatch.setattr(module, "write_shard", lambda job, block: blocks.append(block.name) or write(job, block))
    result = make_corpus(broken)
    assert "3 shards are done" in caplog.text
    assert len(blocks) == len(set(blocks)) == result["shards"], "a finished shard was made again"
    assert contents(broken.output_dir) == contents(whole.output_dir)


def test_a_run_that_was_killed_before_the_first_shard_was_done_may_change_its_settings(settings, monkeypatch, contents):
    def write_half(job, block):
        (Path(job.settings.output_dir) / f"train-{block.name}.tfrecord.gz").write_bytes(b"made, but not noted")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(module, "write_shard", write_half)
        make_corpus(settings())
    make_corpus(settings(shard_mb=1.0))
    make_corpus(settings("whole", shard_mb=1.0))
    assert contents(settings().output_dir) == contents(settings("whole").output_dir)


def test_a_run_that_was_killed_at_its_end_ends_well(settings, monkeypatch, contents):
    make_corpus(settings("whole"))
    for name in ("write_bytes", "_remove"):
        real = getattr(module, name)

        def die(directory, file, *content, real=real):
            if file in (module.MANIFEST, "unfinished"):
                raise KeyboardInterrupt
            real(directory, file, *content)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(module, name, die)
            make_corpus(settings())
    make_corpus(settings())
    assert contents(settings().output_dir) == contents(settings("whole").output_dir)


def test_a_finished_corpus_is_not_made_again(settings, text_file, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "tinybert_tf")
    result = make_corpus(settings())
    monkeypatch.setattr(module, "write_shard", None)
    again = make_corpus(settings(num_processes=2))
    assert "is finished already" in caplog.text
    assert again | {"seconds": 0} == result | {"seconds": 0}
    other = tmp_path / text_file.name
    other.write_text("ban ben\n")
    with pytest.raises(InputError, match="was made with another text"):
        make_corpus(settings(input=str(other)))
    with pytest.raises(InputError, match=r"`packing=documents`, not contiguous"):
        make_corpus(settings(packing="contiguous"))


def test_a_manifest_that_is_damaged_is_named(settings):
    make_corpus(settings())
    manifest = Path(settings().output_dir) / "manifest.json"
    for text, message in (("{", "not valid JSON"), ("[]", "holds a list, not an object")):
        manifest.write_text(text)
        with pytest.raises(InputError, match=f"manifest.json: {message}.*make the corpus again"):
            make_corpus(settings())


def test_a_folder_with_something_else_in_it_is_left_alone(settings, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis: holds chapter.txt and is not a corpus; name another `output_dir`"):
        make_corpus(settings("thesis"))
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tfds": "wikipedia"}, "either `input` or `tfds`"),
        ({"input": None}, "either `input` or `tfds`"),
        ({"packing": "dense"}, "packing=dense: must be one of documents, contiguous"),
        ({"max_seq_length": 4}, "max_seq_length=4: must be from 8 to 512"),
        ({"held_out": 1.0}, r"held_out=1.0: is a share"),
        ({"shard_mb": 0.0}, "shard_mb=0.0: must be above 0"),
        ({"shard_mb": float("nan")}, "shard_mb=nan: must be above 0"),
        ({"num_processes": 0}, "num_processes=0: must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, changes, message):
    with pytest.raises(InputError, match=message):
        settings(**changes)


def test_a_vocabulary_that_is_missing_is_refused(settings):
    with pytest.raises(InputError, match=r"none.txt: no such vocabulary"):
        make_corpus(settings(vocab="none.txt"))


def test_a_model_directory_s_vocabulary_keeps_its_case(settings, vocab_file, tmp_path):
    (tmp_path / "model").mkdir()
    shutil.copyfile(vocab_file, tmp_path / "model" / "vocab.txt")
    (tmp_path / "model" / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert made(settings, "ban Ban\n") == [["ban", "ban"]]
    assert made(settings, "ban Ban\n", vocab=str(tmp_path / "model" / "vocab.txt")) == [["ban", "[UNK]"]]


def test_a_network_made_from_a_cased_corpus_is_cased(settings, vocab_file, tmp_path):
    """Pretraining takes the vocabulary out of the corpus."""
    (tmp_path / "model").mkdir()
    shutil.copyfile(vocab_file, tmp_path / "model" / "vocab.txt")
    (tmp_path / "model" / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    made(settings, "ban Ban\n", vocab=str(tmp_path / "model" / "vocab.txt"))
    corpus = settings("special").output_dir
    assert not Tokenizer.from_directory(corpus).lower_case
    (tmp_path / "model" / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    with pytest.raises(InputError, match="made with lower_case=False, but the tokenizer of .* has lower_case=True"):
        check_vocabulary(read_corpus(corpus), tmp_path / "model")


def test_a_model_that_keeps_accents_does_not_read_a_corpus_without(settings, vocab_file, tmp_path):
    (tmp_path / "model").mkdir()
    shutil.copyfile(vocab_file, tmp_path / "model" / "vocab.txt")
    make_corpus(settings())
    corpus = read_corpus(settings().output_dir)
    for name, value, was in (("strip_accents", False, True), ("normalization", "mediapipe", "bert")):
        (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, name: value}))
        with pytest.raises(InputError, match=f"made with {name}={was}, but .* has {name}={value}"):
            check_vocabulary(corpus, tmp_path / "model")


def test_another_normalization_is_another_vocabulary(settings, vocab_file, tmp_path):
    (tmp_path / "vocab.txt").write_bytes(vocab_file.read_bytes())
    config = {"do_lower_case": True, "strip_accents": False}
    ours = settings(vocab=str(tmp_path / "vocab.txt"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    make_corpus(ours)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"normalization": "mediapipe"}))
    with pytest.raises(InputError, match="was made with another vocabulary; give the same to resume"):
        make_corpus(ours)


def test_a_corpus_that_another_process_makes_is_left_alone(settings):
    ours = settings()
    with held(ours.output_dir), pytest.raises(InputError, match="another process is writing there"):
        make_corpus(ours)
    make_corpus(ours)
    next(Path(ours.output_dir).glob("train-*")).unlink()
    with pytest.raises(InputError, match="is missing, but manifest.json says .*; remove the directory and make"):
        make_corpus(ours)


def test_a_vocabulary_may_be_a_directory(settings, vocab_file, tmp_path):
    (tmp_path / "model").mkdir()
    shutil.copyfile(vocab_file, tmp_path / "model" / "vocab.txt")
    assert made(settings, "ban ban\n", vocab=str(tmp_path / "model")) == [["ban", "ban"]]
