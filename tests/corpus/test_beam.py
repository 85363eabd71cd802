import importlib

import pytest

from tinybert_tf.corpus import make_corpus

pytest.importorskip("apache_beam", reason="the extra `beam` is not installed")


def test_a_pipeline_gives_the_same_bytes_as_a_local_run(settings, contents, tmp_path, text_file, monkeypatch):
    for name in ("first.txt", "second.txt"):
        (tmp_path / name).write_bytes(text_file.read_bytes())
    several = {"input": f"{tmp_path}/*.txt", "shard_mb": 0.02}
    make_corpus(settings("local", **several))
    made = []
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        module = importlib.import_module("tinybert_tf.corpus.make_corpus")
        write = module.write_shard

        def write_two(*block):
            if len(made) == 2:
                raise KeyboardInterrupt
            made.append(write(*block))
            return made[-1]

        patched.setattr(module, "write_shard", write_two)
        make_corpus(settings("beam", **several))
    noted = {
        path.name: path.stat().st_mtime_ns for path in (tmp_path / "beam").iterdir() if path.name.startswith("train-")
    }
    assert len(noted) == 2
    result = make_corpus(settings("beam", beam_args="--runner=DirectRunner", **several))  # which resumes from there
    assert result["shards"] >= 5
    assert contents(settings("beam").output_dir) == contents(settings("local").output_dir)
    for name, written in noted.items():
        assert (tmp_path / "beam" / name).stat().st_mtime_ns == written, "a finished shard was made again"
