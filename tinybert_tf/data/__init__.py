"""Rows, tokens and batches."""

from tinybert_tf.data.batching import batches, count_batches, indexed_batches, length_buckets
from tinybert_tf.data.glue import Example, Split, TaskData, load_task
from tinybert_tf.data.tasks import TASKS, Task, get_task, label_ids
from tinybert_tf.data.tokenizer import Tokenizer

__all__ = [
    "TASKS",
    "Example",
    "Split",
    "Task",
    "TaskData",
    "Tokenizer",
    "batches",
    "count_batches",
    "get_task",
    "indexed_batches",
    "label_ids",
    "length_buckets",
    "load_task",
]
