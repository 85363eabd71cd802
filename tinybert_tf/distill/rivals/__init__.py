"""Published distillation methods beside TinyBERT's, as objectives on the same table of terms."""

from tinybert_tf.distill.objectives import TinyBertObjective
from tinybert_tf.distill.rivals.bilstm import build_bilstm
from tinybert_tf.distill.rivals.distilbert import DistilBert
from tinybert_tf.distill.rivals.minilm import MiniLM, MiniLMv2
from tinybert_tf.distill.rivals.mobilebert import MobileBert
from tinybert_tf.distill.rivals.pkd import PatientKD
from tinybert_tf.distill.rivals.poor_man import kept_layers
from tinybert_tf.distill.rivals.theseus import Theseus, replacement_rate
from tinybert_tf.distill.rivals.vanilla_kd import LogitsKD, VanillaKD

# The names that programs take. Those of LAYER_OBJECTIVES compare layers: a prediction stage follows them.
OBJECTIVES = {
    "tinybert": TinyBertObjective,
    "vanilla_kd": VanillaKD,
    "pkd": PatientKD,
    "pd": lambda: VanillaKD(temperature=1.0, label_share=0.0),
    "distilbert": DistilBert,
    "minilm": MiniLM,
    "minilmv2": MiniLMv2,
    "mobilebert": MobileBert,
    "bilstm_soft": LogitsKD,
}
LAYER_OBJECTIVES = ("tinybert", "minilm", "minilmv2", "mobilebert")

__all__ = [
    "LAYER_OBJECTIVES",
    "OBJECTIVES",
    "DistilBert",
    "LogitsKD",
    "MiniLM",
    "MiniLMv2",
    "MobileBert",
    "PatientKD",
    "Theseus",
    "VanillaKD",
    "build_bilstm",
    "kept_layers",
    "replacement_rate",
]
