"""Networks, batches and real text that several benchmarks measure with."""

import numpy as np
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "folder of GLUE files; absent: no real text")
flags.DEFINE_string("vocab", None, "vocab.txt; absent: that of the preset minilm_l6")
flags.DEFINE_string("teacher", "bert_base", "size of the teacher")
flags.DEFINE_string("student", "tinybert4", "size of the student")
flags.DEFINE_integer("rounds", 5, "measurements of each, in turn; the median is shown")

LOOP = "PyTorch loop"


def pytorch_training(stage: str, student: str, teacher: str | None = None):
    """A `pytorch_loop.Training` of named sizes, or None where PyTorch is not installed."""
    try:
        from pytorch_loop import Training
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return None
    from tinybert_tf.bert import size_of

    return Training(stage, size_of(student), size_of(teacher) if teacher else None)


def full_batch(batch: int, length: int) -> tuple:
    """(features, label, weight) as arrays, every position a token."""
    random = np.random.default_rng(0)
    features = {
        "input_word_ids": random.integers(1000, 30000, (batch, length), dtype=np.int32),
        "input_mask": np.ones((batch, length), np.int32),
        "input_type_ids": np.zeros((batch, length), np.int32),
    }
    return features, random.integers(0, 2, batch, dtype=np.int32), np.ones(batch, np.float32)


def full_shards(folder: str, rows: int, length: int):
    """Shards of pairs of texts of `length` tokens, without padding."""
    from tinybert_tf.data import get_task
    from tinybert_tf.data.split import Example, Split
    from tinybert_tf.data.token_shards import open_shards

    tokenizer, random = text_tokenizer(), np.random.default_rng(0)
    words = [word for word in tokenizer.vocabulary if word.isalpha()]

    def examples():
        for index in range(rows):
            first, second = (" ".join(random.choice(words, length // 2)) for _ in range(2))
            yield Example(index, first, second, str(index % 2))

    split = Split("train", "random words", examples)
    return open_shards(folder, split, tokenizer, get_task("mrpc"), length, {"0": 0, "1": 1})


def step_of(model, spec=None):
    """A function that trains a compiled model on a batch, as `fit` does.

    Args:
        spec: `element_spec` of the data set that batches come from: one graph for all their lengths.
    """
    import tensorflow as tf

    step = tf.function(lambda *batch: model.train_step(batch)["loss"], input_signature=spec)
    return lambda batch: step(*batch).numpy()


def distiller(stage: str, teacher_dtype: str, student_dtype: str):
    """A compiled `Distiller` of the sizes that the flags name."""
    import tinybert_tf as tb
    from tinybert_tf.train.optimizer import bert_adamw

    labels = {"label2id": {"0": 0, "1": 1}}
    teacher = tb.build_model(tb.BertConfig.named(FLAGS.teacher, **labels), "classification", dtype=teacher_dtype)
    student = tb.build_model(tb.BertConfig.named(FLAGS.student, **labels), "classification", dtype=student_dtype)
    made = tb.Distiller(teacher, student, getattr(tb.TinyBertObjective, stage)())
    made.compile(bert_adamw(5e-5, 100_000))
    return made


def step_gflop(stage: str, tokens: int, length: int) -> tuple[float, float]:
    """GFLOP of the products of (the teacher's, the student's) part of a step: forward, and for the student both gradients."""
    from tinybert_tf.bert import BertConfig, encoder_flops

    teacher, student = BertConfig.named(FLAGS.teacher), BertConfig.named(FLAGS.student)
    rows = tokens / length
    own = 3 * rows * encoder_flops(student, length)
    if stage == "intermediate":
        own += 3 * 2 * tokens * (student.num_hidden_layers + 1) * student.hidden_size * teacher.hidden_size
    return rows * encoder_flops(teacher, length) / 1e9, own / 1e9


def arrays_of(batch: tuple) -> tuple:
    """A batch as the PyTorch loop takes it."""
    features, label, _ = batch
    names = ("input_word_ids", "input_type_ids", "input_mask")
    return *(np.array(features[name]) for name in names), np.array(label)


def text_shards(task: str, folder: str, split=None):
    """(shards of a task's training rows, or of another split, the paper's length for it)."""
    from tinybert_tf.data import label_ids, load_task
    from tinybert_tf.data.token_shards import open_shards

    data = load_task(task, FLAGS.data_dir)
    ids = label_ids(data.task, None)
    return open_shards(
        folder, split or data.train, text_tokenizer(), data.task, data.task.seq_len, ids
    ), data.task.seq_len


def text_tokenizer():
    """The tokenizer of `--vocab`."""
    from tinybert_tf.checkpoints import resolve_directory
    from tinybert_tf.data import Tokenizer

    return Tokenizer(FLAGS.vocab) if FLAGS.vocab else Tokenizer.from_directory(resolve_directory("minilm_l6"))
