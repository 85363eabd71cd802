"""`tb.objectives`: distillation objectives, by class or by the name that `--objective` takes.

>>> import tinybert_tf as tb
>>> tb.objectives.minilmv2(relation_heads=4)
MiniLMv2(relation_heads=4, teacher_layer=None, query_weight=1.0, key_weight=1.0, value_weight=1.0)
>>> print(*sorted(tb.objectives.OBJECTIVES))
bilstm_soft distilbert minilm minilmv2 mobilebert pd pkd tinybert vanilla_kd
"""

from typing import Any

from tinybert_tf.distill.objectives import Batch, HardLabels, Match, Objective, TinyBertObjective, serializable
from tinybert_tf.distill.rivals import (
    LAYER_OBJECTIVES,
    OBJECTIVES,
    DistilBert,
    LogitsKD,
    MiniLM,
    MiniLMv2,
    MobileBert,
    PatientKD,
    Theseus,
    VanillaKD,
    build_bilstm,
    kept_layers,
)

__all__ = [
    "LAYER_OBJECTIVES",
    "OBJECTIVES",
    "Batch",
    "DistilBert",
    "HardLabels",
    "LogitsKD",
    "Match",
    "MiniLM",
    "MiniLMv2",
    "MobileBert",
    "Objective",
    "PatientKD",
    "Theseus",
    "TinyBertObjective",
    "VanillaKD",
    "build_bilstm",
    "kept_layers",
    "serializable",
]


def __getattr__(name: str) -> Any:
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    raise AttributeError(f"tb.objectives has no {name!r}; there are {', '.join([*OBJECTIVES, *__all__])}")
