"""TinyBERT in Keras 3 on TensorFlow 2: distill a BERT, evaluate the student, ship it as TFLite.

```python
import tinybert_tf as tb

data = tb.load_task("sst2", "glue")
teacher = tb.load_model("runs/teacher/model", dtype="bfloat16")  # or float32
tokenizer = tb.Tokenizer.from_directory("runs/teacher/model")
batches = tb.batches(data.train, tokenizer, data, batch_size=32, model=teacher, shuffle_seed=0)

# A student with four layers, made from the teacher's weights.
config = teacher.config.replace(num_hidden_layers=4, hidden_size=312, intermediate_size=1200)
student = tb.build_model(config, head=teacher.head)
projections = tb.initialize_student(student, teacher, batches=batches.take(20))

# First it learns the teacher's layers, then its predictions.
steps = len(batches)
distiller = tb.Distiller(teacher, student, tb.TinyBertObjective.intermediate(), projections)
distiller.compile(tb.bert_adamw(1e-4, steps))
distiller.fit(batches)
distiller = tb.Distiller(teacher, student, tb.TinyBertObjective.prediction())
distiller.compile(tb.bert_adamw(5e-5, steps))
distiller.fit(batches)

tb.save_model(student, "tinybert", tokenizer_from="runs/teacher/model")
tb.export_tflite("tinybert", "tinybert.tflite", quantize="dynamic")
```
"""

import keras

if keras.backend.backend() in ("jax", "torch", "numpy", "openvino"):
    raise ImportError(
        f"tinybert_tf runs on Keras' TensorFlow backend, but Keras was started on {keras.backend.backend()}; set "
        "KERAS_BACKEND=tensorflow before anything imports Keras"
    )

from tinybert_tf import objectives
from tinybert_tf.augmentation import augment
from tinybert_tf.bert import BertConfig, BertModel, build_model, logits_model
from tinybert_tf.checkpoints import load_model, save_model
from tinybert_tf.data import CustomFiles, Tokenizer, batches, load_task, task_from_lists
from tinybert_tf.distill import Distiller, Match, TinyBertObjective, initialize_student, layer_map, losses
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.api import evaluate, predict
from tinybert_tf.evaluate.describe import describe
from tinybert_tf.export import TFLiteClassifier, export_tflite
from tinybert_tf.prune import prune
from tinybert_tf.train.optimizer import bert_adamw

__version__ = "0.1.0"

__all__ = [
    "BertConfig",
    "BertModel",
    "CustomFiles",
    "Distiller",
    "InputError",
    "Match",
    "TFLiteClassifier",
    "TinyBertObjective",
    "Tokenizer",
    "__version__",
    "augment",
    "batches",
    "bert_adamw",
    "build_model",
    "describe",
    "evaluate",
    "export_tflite",
    "initialize_student",
    "layer_map",
    "load_model",
    "load_task",
    "logits_model",
    "losses",
    "objectives",
    "predict",
    "prune",
    "save_model",
    "task_from_lists",
]
