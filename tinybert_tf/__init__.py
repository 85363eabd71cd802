"""TinyBERT in Keras 3 on TensorFlow 2: distil a BERT, evaluate the student, ship it as TFLite.

```python
import tinybert_tf as tb

teacher = tb.load_model("bert-finetuned", dtype="bfloat16")
student = tb.build_model(tb.BertConfig.named("tinybert4", label2id=teacher.config.label2id), head="classification")
distiller = tb.Distiller(teacher, student, tb.TinyBertObjective.intermediate())
distiller.compile(optimizer="adam")
distiller.fit(dataset)
tb.save_model(student, "tinybert", tokenizer_from="bert-finetuned")
tb.export_tflite("tinybert", "tinybert.tflite", quantize="dynamic")
```
"""

from tinybert_tf.augmentation import augment
from tinybert_tf.bert import BertConfig, BertModel, build_model
from tinybert_tf.checkpoints import load_model, save_model
from tinybert_tf.data import CustomFiles, Tokenizer, batches, load_task, task_from_lists
from tinybert_tf.distill import Distiller, TinyBertObjective, layer_map, losses
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.api import evaluate, predict
from tinybert_tf.evaluate.describe import describe
from tinybert_tf.export import TFLiteClassifier, export_tflite
from tinybert_tf.prune import prune

__all__ = [
    "BertConfig",
    "BertModel",
    "CustomFiles",
    "Distiller",
    "InputError",
    "TFLiteClassifier",
    "TinyBertObjective",
    "Tokenizer",
    "augment",
    "batches",
    "build_model",
    "describe",
    "evaluate",
    "export_tflite",
    "layer_map",
    "load_model",
    "load_task",
    "losses",
    "predict",
    "prune",
    "save_model",
    "task_from_lists",
]
