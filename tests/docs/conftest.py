"""A directory in which the documentation's commands find what they name: tiny models, small files, the programs."""

import itertools
import os
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROWS = {"train": 96, "dev": 32, "test": 16}


@pytest.fixture
def sandbox(tmp_path, monkeypatch) -> Path:
    for name in ("bin", "tflite", "benchmarks", "configs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    _write_glue(tmp_path / "glue")
    _write_text(tmp_path)
    _write_teacher(tmp_path / "TEACHER")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def shell_prelude() -> str:
    """Defines `python`, `tinybert`, `make` and `pip` for the blocks."""
    runner = f"{sys.executable} {Path(__file__).parent / 'run_reduced.py'}"
    return (
        "set -euo pipefail\n"
        f'python() {{ if [[ "$1" == *.py ]]; then {runner} "$@"; else {sys.executable} "$@"; fi; }}\n'
        'tinybert() { local name=$1; shift; [ -e bin/$name.py ] && set -- bin/$name.py "$@" || set -- tflite/$name.py "$@";\n'
        'python "$@"; }\n'
        'make() { grep -q "^$1:" "$REPOSITORY/Makefile" || { echo "no such target: $1"; return 1; }; }\n'
        "pip() { :; }\n"
        f"export REPOSITORY={REPOSITORY} TF_CPP_MIN_LOG_LEVEL=2\n"
    )


def _sample(split: str) -> list:
    from tinybert_tf.data.sample import sample_split

    return list(itertools.islice(sample_split(split), ROWS[split]))


def _write_glue(folder: Path) -> None:
    for task, header in (("SST-2", "sentence\tlabel"), ("MRPC", None), ("CoLA", None)):
        (folder / task).mkdir(parents=True)
        for split in ROWS:
            rows = _sample(split)
            with (folder / task / f"{split}.tsv").open("w", encoding="utf-8") as file:
                if task == "SST-2":
                    named = split != "test"
                    file.write(header + "\n" if named else "index\tsentence\n")
                    file.writelines(
                        f"{r.text}\t{int(r.label == 'positive')}\n" if named else f"{r.index}\t{r.text}\n" for r in rows
                    )
                elif task == "MRPC":
                    file.write("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n")
                    file.writelines(
                        f"{int(r.label == 'positive')}\t{r.index}\t{r.index}\t{r.text}\t{other.text}\n"
                        for r, other in zip(rows, reversed(rows), strict=True)
                    )
                elif split == "test":
                    file.write("index\tsentence\n")
                    file.writelines(f"{r.index}\t{r.text}\n" for r in rows)
                else:
                    file.writelines(f"gj04\t{int(r.label == 'positive')}\t\t{r.text}\n" for r in rows)


def _write_text(folder: Path) -> None:
    sentences = [row.text for row in _sample("train")]
    (folder / "wiki").mkdir()
    (folder / "wiki" / "AA.txt").write_text("\n\n".join(". ".join(sentences[i : i + 8]) for i in range(0, 96, 8)))
    words = sorted({word for text in sentences for word in text.split()})
    vectors = np.random.default_rng(0).normal(size=(len(words), 8)).round(3)
    lines = [f"{word} {' '.join(map(str, vector))}" for word, vector in zip(words, vectors, strict=True)]
    (folder / "glove.6B.300d.txt").write_text("\n".join(lines) + "\n")
    for name, split in (("train.csv", "train"), ("dev.csv", "dev")):
        rows = "".join(f'"{row.text}",{row.label}\n' for row in _sample(split))
        (folder / name).write_text("review,verdict\n" + rows)
    (folder / "unlabelled.txt").write_text("\n".join(sentences) + "\n")
    tagged = "\n\n".join(
        "\n".join(f"{w} {'B-X' if w == 'the' else 'O'}" for w in text.split()) for text in sentences[:32]
    )
    for name in ("train.conll", "dev.conll"):
        (folder / name).write_text(tagged + "\n")


def _write_teacher(folder: Path) -> None:
    """A tiny BERT with the 12 heads of the published sizes and a masked-LM head."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import tinybert_tf as tb

    characters = [chr(code) for code in range(33, 127)]
    words = sorted({word for split in ROWS for row in _sample(split) for word in row.text.split()} - set(characters))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters), *words]
    source = folder.with_name("vocabulary")
    source.mkdir()
    (source / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    config = tb.BertConfig(
        vocab_size=len(vocabulary), hidden_size=312, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1200,
        max_position_embeddings=512,
    )  # fmt: skip
    tb.save_model(tb.build_model(config, head="masked_lm"), folder, tokenizer_from=source)
    small = config.replace(
        hidden_size=48, num_hidden_layers=1, intermediate_size=96, label2id={"negative": 0, "positive": 1}
    )
    tb.save_model(tb.build_model(small, head="classification"), source / "student", tokenizer_from=source)
    tb.export_tflite(source / "student", folder.with_name("student.tflite"), seq_len=32, quantize="none")
