"""Tasks and their data: examples, tokenization and batches."""

from tinybert_tf.data.batching import batches, class_weights, length_buckets
from tinybert_tf.data.custom import CustomFiles, task_from_lists
from tinybert_tf.data.encoding import label_values
from tinybert_tf.data.load import load_task
from tinybert_tf.data.split import Example, Split, TaskData
from tinybert_tf.data.tasks import TASKS, Task, get_task, label_ids
from tinybert_tf.data.tokenizer import Tokenizer

__all__ = [
    "TASKS",
    "CustomFiles",
    "Example",
    "Split",
    "Task",
    "TaskData",
    "Tokenizer",
    "batches",
    "class_weights",
    "get_task",
    "label_ids",
    "label_values",
    "length_buckets",
    "load_task",
    "task_from_lists",
]
