import csv
import importlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tinybert_tf as tb
from tinybert_tf.augmentation import AugmentSettings, augment_task, layout, parts
from tinybert_tf.data import Split, TaskData, load_task
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.errors import InputError
from tinybert_tf.settings import build, flat_values

REPOSITORY = Path(__file__).resolve().parents[2]
program = importlib.import_module("tinybert_tf.augmentation.augment")


@pytest.fixture
def settings(sst2_dir, masked_lm_dir, vectors_file, tmp_path):
    """A function: changes -> settings of a run of 60 rows."""

    def make(name="out", **changes):
        common = {
            "task": "sst2",
            "data_dir": str(sst2_dir),
            "masked_lm": str(masked_lm_dir),
            "word_vectors": str(vectors_file),
            "output_dir": str(tmp_path / name),
            "copies": 5,
            "candidates": 6,
            "batch_size": 16,
        }
        return build(AugmentSettings, common | changes)

    return make


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(parts, "PART_ROWS", 16)


def train_file(settings):
    return Path(settings.output_dir) / "SST-2" / "train.tsv"


def test_the_output_is_a_data_dir_with_all_rows_in_a_random_order(settings, sst2_dir, caplog):
    caplog.set_level("INFO", "tinybert_tf")
    ours = settings()
    result = augment_task(ours)
    original, augmented = load_task("sst2", sst2_dir), load_task("sst2", ours.output_dir)
    before, after = list(original.train), list(augmented.train)
    texts = {row.text for row in before}
    copies = [row for row in after if row.text not in texts]
    assert sorted(row.text for row in after if row.text in texts) == sorted(row.text for row in before)
    assert list(augmented.dev) == list(original.dev)
    places = [place for place, row in enumerate(after) if row.text in texts]
    assert (
        places[0] < 40 and places[-1] > len(after) - 40 and places != sorted(places[:1]) + list(range(1, len(places)))
    )
    metrics = result["metrics"]
    assert (metrics["rows"], metrics["copies"], metrics["rows_written"]) == (60, len(copies), len(after))
    assert metrics["copies"] + metrics["duplicates"] == 60 * 5 and metrics["duplicates"] > 0

    # The counts, from the rows themselves: words stay where they are, so texts can be laid side by side.
    source = {tuple(row.text.split()): row for row in before}
    words = replaced = 0
    for copy in copies:
        new = copy.text.split()
        candidates = [old for old in source if len(old) == len(new)]
        changed = min(sum(a != b for a, b in zip(old, new, strict=True)) for old in candidates)
        words, replaced = words + len(new), replaced + changed
    assert metrics["masked_lm"] + metrics["word_vectors"] == pytest.approx(replaced, rel=0.05)
    assert metrics["masked_lm"] > 0 and metrics["word_vectors"] > 0
    assert result["task"] == "sst2" and result["score"] == metrics["replaced_share"]
    assert metrics["masked_lm_share"] + metrics["word_vectors_share"] == pytest.approx(1)

    summary = json.loads((Path(ours.output_dir) / "augmentation.json").read_text())
    assert summary["result"] == result and summary["job"]["copies"] == 5
    assert all(example["before"] != example["after"] for example in summary["examples"]) and summary["examples"]
    assert sorted(path.name for path in Path(ours.output_dir).iterdir()) == ["SST-2", "augmentation.json"]
    assert "before  " in caplog.text and "word vectors: neighbors of" in caplog.text
    assert result["train_file"] == str(train_file(ours))


def test_the_same_seed_gives_the_same_bytes_with_any_batch_size(settings, small_parts):
    outputs = [settings(f"batch{size}", batch_size=size) for size in (8, 64)]
    for ours in outputs:
        augment_task(ours)
    first, second = (train_file(ours).read_bytes() for ours in outputs)
    assert first == second
    other = settings("other", seed=1)
    augment_task(other)
    assert train_file(other).read_bytes() != first


def test_a_run_that_was_interrupted_resumes_to_the_same_bytes(settings, small_parts, monkeypatch, caplog):
    caplog.set_level("INFO", "tinybert_tf")
    whole, broken = settings("whole"), settings("broken")
    augment_task(whole)
    made, write = [], parts.write_part

    def write_two(*arguments):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(arguments[0])
        return write(*arguments)

    monkeypatch.setattr(parts, "write_part", write_two)
    with pytest.raises(KeyboardInterrupt):
        augment_task(broken)
    assert not train_file(broken).exists()
    with pytest.raises(InputError, match="was made with `copies=5`, not 6; give the same to resume"):
        augment_task(settings("broken", copies=6))
    made.clear()
    monkeypatch.setattr(parts, "write_part", lambda *arguments: made.append(arguments[0]) or write(*arguments))
    result = augment_task(settings("broken", batch_size=3))
    assert len(made) == 2 and "resumed, 2 of 4 parts are done" in caplog.text
    assert train_file(broken).read_bytes() == train_file(whole).read_bytes()
    assert augment_task(broken) == result  # what is finished is not made again
    with pytest.raises(InputError, match="was made with another training set"):
        Path(broken.data_dir, "SST-2", "train.tsv").write_text("sentence\tlabel\nnew\t1\n")
        augment_task(broken)


def test_a_run_that_was_killed_while_it_wrote_the_result_ends_well(settings, monkeypatch):
    whole, broken = settings("whole"), settings("broken")
    augment_task(whole)

    def write_half(_, folder):
        (folder / "dev.tsv").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(layout.Layout, "write_other_splits", write_half)
        augment_task(broken)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(program, "_show", None)
        patched.setattr(program, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        augment_task(broken)
    assert train_file(broken).is_file()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(program.shutil, "rmtree", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patched.setattr(program, "_assemble", lambda *_: None)
        augment_task(broken)
    augment_task(broken)
    assert sorted(path.name for path in Path(broken.output_dir).iterdir()) == ["SST-2", "augmentation.json"]
    for name in ("train.tsv", "dev.tsv"):
        assert train_file(broken).with_name(name).read_bytes() == train_file(whole).with_name(name).read_bytes()


PARAPHRASES = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
GLUE_FILES = {
    "cola": {
        "CoLA/train.tsv": 'gj04\t1\t\tThe king walk "long" .\ngj04\t0\t*\tFilm \U0001f600 \u597d king\n',
        "CoLA/dev.tsv": "gj04\t1\t\tDev .\n",
        "CoLA/test.tsv": "index\tsentence\n0\tTest .\n",
    },
    "sst2": {
        "SST-2/train.tsv": 'sentence\tlabel\nfilm was " good \t1\n"old" king bad\t0\n\t1\n',
        "SST-2/dev.tsv": "sentence\tlabel\ndev\t1\n",
        "SST-2/test.tsv": "index\tsentence\n0\ttest\n",
    },
    "mrpc": {
        "msr_paraphrase_train.txt": f'{PARAPHRASES}1\t1\t2\tthe "king walk\tthe queen run"\n0\t3\t4\tsad\tdark\n'
        "0\t5\t6\told river\tcold light\n",
        "msr_paraphrase_test.txt": f"{PARAPHRASES}1\t5\t6\ttest\ttest too\n",
        "dev_ids.tsv": "3\t4\n",
    },
    "stsb": {
        "STS-B/train.tsv": "index\tgenre\tsentence1\tsentence2\tscore\n"
        '0\tnews\told king\tnew queen\t3.250\n1\tnews\t\ta "film" \u597d\t0.000\n',
        "STS-B/dev.tsv": "index\tgenre\tsentence1\tsentence2\tscore\n0\tnews\tdev\tdev too\t5.000\n",
    },
}


@pytest.mark.parametrize("task", GLUE_FILES)
def test_every_layout_is_written_so_that_it_is_a_data_dir_again(settings, tmp_path, task):
    for name, content in GLUE_FILES[task].items():
        path = tmp_path / "tasks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    ours = settings(task=task, data_dir=str(tmp_path / "tasks"), copies=8)
    augment_task(ours)
    original, augmented = load_task(task, ours.data_dir), load_task(task, ours.output_dir)
    before, after = list(original.train), list(augmented.train)
    seen = {(row.text, row.text_pair) for row in before}
    copies = [row for row in after if (row.text, row.text_pair) not in seen]
    assert len(after) - len(copies) == len(before) and len(copies) > 4
    assert list(augmented.dev) == list(original.dev)
    if len(GLUE_FILES[task]) == 3:
        assert list(augmented.test) == list(original.test)
    for copy in copies:
        assert (copy.text, copy.text_pair) not in seen
        seen.add((copy.text, copy.text_pair))
        assert any(comes_from(copy, row) for row in before)


def comes_from(copy, row):
    """Whether one side of a row was augmented, in place: as many words and quotes, and the same label and other side."""
    sides = [(copy.text, row.text), (copy.text_pair, row.text_pair)]
    changed = [(new, old) for new, old in sides if new != old]
    if copy.label != row.label or len(changed) != 1:
        return False
    new, old = changed[0]
    return len(new.split()) == len(old.split()) and new.count('"') == old.count('"')


def test_the_first_rows_alone_are_augmented_when_asked(settings):
    ours = settings(max_train_examples=3)
    result = augment_task(ours)
    rows = list(load_task("sst2", ours.output_dir).train)
    assert result["metrics"]["rows"] == 3 and len(rows) == 3 + result["metrics"]["copies"]


@pytest.mark.parametrize(("source", "absent"), [("masked_lm", "word_vectors"), ("word_vectors", "masked_lm")])
def test_one_source_is_enough_when_the_other_is_none(settings, source, absent):
    metrics = augment_task(settings(**{absent: "none"}))["metrics"]
    assert metrics[f"{source}_share"] == 1.0 and metrics["copies"] > 0


def test_more_rows_than_are_shuffled_in_memory_are_all_there(settings, monkeypatch):
    augment_task(settings("whole"))
    monkeypatch.setattr(program, "_SHUFFLED_ROWS", 50)
    augment_task(settings("spread"))
    whole, spread = (train_file(settings(name)).read_text("utf-8").splitlines() for name in ("whole", "spread"))
    assert sorted(whole) == sorted(spread) and whole != spread and len(whole) > 150
    assert not list(Path(settings("spread").output_dir).glob("**/*.partial"))


@pytest.mark.parametrize("name", ["train.csv", "train.tsv", "train.jsonl"])
def test_own_files_are_written_in_their_own_format(settings, tmp_path, name):
    rows = [("1", 'the "good", film; not bad', "x"), ("2", "king walk\nlong story", "y"), ("3", "sad dark film", "x")]
    path = tmp_path / name
    with path.open("w", encoding="utf-8", newline="") as file:
        if name == "train.jsonl":
            file.writelines(json.dumps({"id": int(n), "text": text, "label": label}) + "\n" for n, text, label in rows)
        else:
            csv.writer(file, delimiter=";").writerows([("id", "text", "label"), *rows])
    files = {"train_file": str(path), "dev_file": str(path), "text_column": "text", "label_column": "label"}
    result = augment_task(settings(task="custom", data_dir=None, **files))
    assert result["train_file"] == str(tmp_path / "out" / "custom" / name)
    again = load_task("custom", files=CustomFiles(**files | {"train_file": result["train_file"]}))
    found = [(row.text, row.label) for row in again.train]
    assert len(found) == result["metrics"]["rows_written"] > 9
    assert {(text, label) for _, text, label in rows} <= set(found) and {label for _, label in found} == {"x", "y"}
    assert any("\n" in text for text, _ in found) and any(";" in text and '"' in text for text, _ in found)


def test_own_files_read_in_another_way_are_another_job(settings, tmp_path, caplog):
    caplog.set_level("INFO", "tinybert_tf")
    train, dev = tmp_path / "train.csv", tmp_path / "dev.csv"
    for path in (train, dev):
        path.write_text("text,title,label\ngood film,sad story,x\nking walk,dull book,y\n", encoding="utf-8")
    files = {"train_file": str(train), "dev_file": str(dev), "text_column": "text", "label_column": "label"}
    run = lambda **changes: augment_task(settings(task="custom", data_dir=None, word_vectors="none", **files | changes))
    result = run()
    with pytest.raises(InputError, match="was made with `text_column=text`, not title; give the same to resume"):
        run(text_column="title")
    copy = train.rename(tmp_path / "other.csv")
    with pytest.raises(InputError, match=r"was made with `train_file=train.csv`, not other.csv"):
        run(train_file=str(copy))
    copy.rename(train)
    copied = tmp_path / "out" / "custom" / "dev.csv"
    dev.write_text("text,title,label\nnew film,sad story,x\n", encoding="utf-8")
    assert run() == result and copied.read_bytes() == dev.read_bytes()
    assert "the dev and test sets have changed and are copied again" in caplog.text
    caplog.clear()
    assert run() == result and "copied again" not in caplog.text


def test_words_with_tags_are_not_augmented(settings, tmp_path, vectors_file):
    (tmp_path / "train.conll").write_text("film O\nParis B-LOC\n", encoding="utf-8")
    with pytest.raises(InputError, match="task=token_classification: replaced words would lose their tags"):
        augment_task(settings(task="token_classification", data_dir=None, train_file=str(tmp_path / "train.conll")))
    task = tb.load_task("token_classification", files=tb.CustomFiles(train_file=str(tmp_path / "train.conll")))
    by_hand = TaskData(task.task, lambda name: Split(name, "rows", lambda: iter(task.train)))
    for data in (task, task.train, task.train.limit(1), by_hand):
        with pytest.raises(InputError, match="replaced words would lose their tags; augment sentences or pairs"):
            tb.augment(data, None, vectors_file)


def test_tb_augment_gives_the_same_rows(settings, sst2_dir, masked_lm_dir, vectors_file):
    ours = settings()
    augment_task(ours)
    data = tb.load_task("sst2", sst2_dir)
    split = tb.augment(data, masked_lm_dir, vectors_file, copies=5, candidates=6)
    assert list(split) == list(split) == list(load_task("sst2", ours.output_dir).train)
    model, tokenizer = tb.load_model(masked_lm_dir), tb.Tokenizer.from_directory(masked_lm_dir)
    again = tb.augment(data.train, model, vectors_file, tokenizer=tokenizer, copies=5, candidates=6, batch_size=7)
    assert list(again) == list(split)
    with pytest.raises(InputError, match="give its tokenizer"):
        tb.augment(data.train, model, None)
    batch = next(iter(tb.batches(split, tokenizer, data.task, batch_size=4)))
    assert batch[0]["input_word_ids"].shape[0] == 4


def test_beam_gives_the_same_bytes(settings, small_parts, monkeypatch):
    pytest.importorskip("apache_beam")
    from tinybert_tf.augmentation import beam as pipeline

    monkeypatch.setattr(pipeline, "_SMALLEST_SHARE", 2)
    local, beam = settings("local"), settings("beam", beam_args="--runner=DirectRunner")
    assert augment_task(local)["metrics"] == augment_task(beam)["metrics"]
    assert train_file(local).read_bytes() == train_file(beam).read_bytes()


def test_what_cannot_be_used_is_refused_in_one_line(settings, sst2_dir, masked_lm_dir, tmp_path):
    with pytest.raises(InputError, match="word_vectors is missing; give a text file of GloVe .*`word_vectors=none`"):
        settings(word_vectors=None)
    with pytest.raises(InputError, match="one of them is needed"):
        settings(word_vectors="none", masked_lm="none")
    with pytest.raises(InputError, match="no such file; give a text file of GloVe"):
        augment_task(settings(word_vectors=str(tmp_path / "glove.txt")))
    with pytest.raises(InputError, match="masked_lm=nowhere: no such model directory"):
        augment_task(settings(masked_lm="nowhere"))
    encoder = tb.load_model(masked_lm_dir, head="encoder")
    tb.save_model(encoder, tmp_path / "encoder", tokenizer_from=masked_lm_dir)
    with pytest.raises(InputError, match=r"has the head 'encoder', .*bin/pretrain\.py"):
        augment_task(settings(masked_lm=str(tmp_path / "encoder")))
    with pytest.raises(InputError, match="exists and is not from an augmentation"):
        augment_task(settings(output_dir=str(sst2_dir)))
    with pytest.raises(InputError, match="dtype=float16"):
        settings(dtype="float16")
    with pytest.raises(InputError, match="num_processes=0"):
        settings(num_processes=0)
    (sst2_dir / "SST-2" / "train.tsv").write_bytes(b"sentence\tlabel\ngood\t1\nb\xffd\t1\n")
    with pytest.raises(InputError, match=r"train\.tsv, line 3: not UTF-8"):
        augment_task(settings("fresh"))
    assert not (tmp_path / "fresh").exists()


def test_a_wrong_start_does_not_spoil_the_output_directory(settings, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(program, "_write_parts", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        augment_task(settings(copies=6))
    assert augment_task(settings(copies=5))["metrics"]["rows"] == 60


# --- The program, from outside ---


def command(settings, **changes):
    values = {name: value for name, value in flat_values(settings).items() if value is not None} | changes
    flags = [f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in values.items()]
    return [sys.executable, str(REPOSITORY / "bin" / "augment.py"), *flags]


def count_parts(folder):
    return len(list(folder.glob("part-*.rows")))


@pytest.fixture
def many_rows(sst2_dir):
    """4,000 rows: several parts for each process."""
    path = sst2_dir / "SST-2" / "train.tsv"
    header, *lines = path.read_text("utf-8").splitlines()
    rows = [f"{' '.join(lines[(n * 7) % 60].split(chr(9))[0] for n in (n, n + 1))}\t{n % 2}" for n in range(4000)]
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


@pytest.mark.slow
def test_one_and_two_processes_and_a_killed_run_give_the_same_bytes(settings, many_rows):
    one = settings("one", batch_size=8)
    two, killed = (settings(name, num_processes=2, batch_size=64) for name in ("two", "killed"))
    for ours in (one, two):
        run = subprocess.run(command(ours), capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        assert json.loads(run.stdout.splitlines()[-1].removeprefix("RESULT "))["metrics"]["rows"] == 4000
    parts_folder, moments = Path(killed.output_dir) / "parts", random.Random(0)
    for processes in (2, 1, 2):
        process = subprocess.Popen(command(killed, num_processes=processes), stdout=subprocess.DEVNULL)
        wanted = count_parts(parts_folder) + moments.randint(1, 4)
        while count_parts(parts_folder) < wanted and process.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.uniform(0.0, 0.2))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert wanted <= count_parts(parts_folder) and not (parts_folder.parent / "augmentation.json").exists()
    run = subprocess.run(command(killed), capture_output=True, text=True, check=False)
    assert run.returncode == 0 and "parts are done" in run.stdout
    assert train_file(one).read_bytes() == train_file(two).read_bytes() == train_file(killed).read_bytes()


@pytest.mark.slow
def test_bad_input_ends_in_one_line_also_from_a_worker(settings, many_rows, masked_lm_dir):
    run = subprocess.run(command(settings(seq_len=500, num_processes=2)), capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "error: --seq_len=500: must be 3 to 24, the masked LM's positions" in run.stderr
    assert "Traceback" not in run.stderr
