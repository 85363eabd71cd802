"""A teacher's dev scores are computed once for runs that share a cache."""

from tinybert_tf.checkpoints import load_model
from tinybert_tf.data import load_task
from tinybert_tf.data.tokenizer import Tokenizer
from tinybert_tf.evaluate.task_model import TaskModel
from tinybert_tf.train.teacher_scores import teacher_scores


def test_scores_are_those_of_this_teacher_and_this_file(glue, make_directory, tmp_path, monkeypatch):
    directory = make_directory("teacher")
    model, data = load_model(directory), load_task("sst2", str(glue))
    teacher = TaskModel.of(model, Tokenizer.from_directory(directory), data, 16)
    score, calls = TaskModel.score, []
    monkeypatch.setattr(TaskModel, "score", lambda *given: (calls.append(1), score(*given))[1])
    cache = str(tmp_path / "cache")
    expected = teacher_scores(teacher, None)
    assert teacher_scores(teacher, cache) == expected == teacher_scores(teacher, cache)
    assert len(calls) == 2

    model.set_weights([weight + 1 for weight in model.get_weights()])
    teacher_scores(teacher, cache)
    assert len(calls) == 3, "other weights are another teacher"
    rows = (glue / "SST-2" / "dev.tsv").read_text().splitlines()
    (glue / "SST-2" / "dev.tsv").write_text("\n".join(rows[:5]) + "\n")
    teacher_scores(teacher, cache)
    assert len(calls) == 4, "another dev file is another task"
