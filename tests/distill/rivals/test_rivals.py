"""Each published method's loss equals its formula in NumPy, trains, and refuses networks that it cannot match."""

import doctest
import importlib

import keras
import numpy as np
import pytest
import scipy.special

from tinybert_tf.bert import BertConfig, build_model
from tinybert_tf.distill import Distiller
from tinybert_tf.distill.networks import output
from tinybert_tf.distill.objectives import TinyBertObjective, table
from tinybert_tf.distill.rivals import (
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
)
from tinybert_tf.distill.rivals.poor_man import kept_layers
from tinybert_tf.errors import InputError

pytestmark = pytest.mark.usefixtures("eagerly")

LABELS = {"no": 0, "yes": 1, "maybe": 2}
SIZES = {
    "vocab_size": 40,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 16,
    "label2id": LABELS,
    "initializer_range": 0.4,  # logits of the size that a trained network has
}


@pytest.fixture
def teacher():
    return build_model(BertConfig(num_hidden_layers=4, hidden_size=12, **SIZES), head="classification", name="teacher")


@pytest.fixture
def student():
    return build_model(BertConfig(num_hidden_layers=2, hidden_size=8, **SIZES), head="classification", name="student")


@pytest.fixture
def features():
    ids = np.random.default_rng(0).integers(5, 40, (3, 6)).astype(np.int32)
    mask = np.array([[1] * 6, [1] * 4 + [0] * 2, [1] * 5 + [0]], np.int32)
    return {"input_word_ids": ids * mask, "input_mask": mask, "input_type_ids": np.zeros_like(ids)}


GOLD = np.array([0, 2, 1], np.int32)


def read(model, features, name):
    return keras.Model(model.input, output(model, name))(features).numpy().astype(np.float64)


def evaluated(objective, student, teacher, features):
    """Term -> its weighted mean, from the distiller itself."""
    distiller = Distiller(teacher, student, objective)
    distiller.compile(optimizer="sgd")
    means, _ = distiller.measure((features, GOLD, None))
    return {name: float(value) for name, value in means.items()}, distiller


def soft_cross_entropy(student, teacher, t):
    return -np.mean(np.sum(scipy.special.softmax(teacher / t, -1) * scipy.special.log_softmax(student / t, -1), -1))


def hard_cross_entropy(student):
    return -np.mean(scipy.special.log_softmax(student, -1)[np.arange(3), GOLD])


def kl_over_tokens(student, teacher, mask):
    """Mean over heads, and over the tokens of all rows, of KL(teacher || student); keys that are padding left out."""
    total, count = 0.0, 0
    for row in range(len(mask)):
        n = mask[row].sum()
        s, t = student[row, :, :n, :n], teacher[row, :, :n, :n]
        p = scipy.special.softmax(t, -1)
        kl = np.sum(p * (scipy.special.log_softmax(t, -1) - scipy.special.log_softmax(s, -1)), -1)
        total, count = total + kl.mean(0).sum(), count + n
    return total / count


def relation(x, heads):
    b, s, d = x.shape
    split = x.reshape(b, s, heads, d // heads).transpose(0, 2, 1, 3)
    return split @ split.transpose(0, 1, 3, 2) / np.sqrt(d // heads)


def over_tokens(values, mask):
    return np.sum(values * mask) / mask.sum()


def test_vanilla_kd_is_hinton_s_sum(student, teacher, features):
    found, _ = evaluated(VanillaKD(temperature=3.0, label_share=0.3), student, teacher, features)
    s, t = read(student, features, "logits"), read(teacher, features, "logits")
    expected = 0.7 * 9 * soft_cross_entropy(s, t, 3.0) + 0.3 * hard_cross_entropy(s)
    assert found["loss"] == pytest.approx(expected, rel=1e-6)


def test_bilstm_soft_is_the_squared_distance_of_logits(teacher, features):
    student = build_bilstm(40, LABELS, embedding_size=8, units=4, hidden_size=6)
    found, _ = evaluated(LogitsKD(), student, teacher, features)
    s, t = student(features)["logits"].numpy(), read(teacher, features, "logits")
    assert found["loss"] == pytest.approx(np.mean(np.sum((s - t) ** 2, -1)), rel=1e-5)


@pytest.mark.parametrize(("strategy", "layers"), [("skip", (2,)), ("last", (3,))])
def test_pkd_matches_normalized_cls_states(student, teacher, features, strategy, layers):
    found, distiller = evaluated(PatientKD(strategy, patience=10.0, temperature=2.0), student, teacher, features)
    assert PatientKD(strategy).teacher_layers(2, 4) == layers
    kernel, bias = (p.numpy() for p in next(iter(distiller.projections.values())).weights)
    s = read(student, features, "hidden_states/1")[:, 0] @ kernel + bias
    t = read(teacher, features, f"hidden_states/{layers[0]}")[:, 0]
    normalized = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (s, t)]
    assert found["patient_loss"] == pytest.approx(np.mean((normalized[0] - normalized[1]) ** 2), rel=1e-5)
    logits = read(student, features, "logits"), read(teacher, features, "logits")
    expected = 0.5 * 4 * soft_cross_entropy(*logits, 2.0) + 0.5 * hard_cross_entropy(logits[0])
    assert found["loss"] == pytest.approx(expected + 10 * found["patient_loss"], rel=1e-5)


def test_distilbert_is_its_three_losses(student, teacher, features):
    found, distiller = evaluated(DistilBert(), student, teacher, features)
    kernel, bias = (p.numpy() for p in next(iter(distiller.projections.values())).weights)
    s, t = read(student, features, "sequence_output") @ kernel + bias, read(teacher, features, "sequence_output")
    cosine = np.sum(s * t, -1) / np.linalg.norm(s, axis=-1) / np.linalg.norm(t, axis=-1)
    logits = read(student, features, "logits"), read(teacher, features, "logits")
    expected = 5 * 4 * soft_cross_entropy(*logits, 2.0) + 2 * hard_cross_entropy(logits[0])
    expected += over_tokens(1 - cosine, features["input_mask"])
    assert found["loss"] == pytest.approx(expected, rel=1e-5)


def test_minilm_compares_attention_and_value_relations_of_the_last_layers(student, teacher, features):
    found, _ = evaluated(MiniLM(), student, teacher, features)
    mask = features["input_mask"]
    logits = [read(m, features, f"attention_logits/{n}") for m, n in ((student, 1), (teacher, 3))]
    values = [relation(read(m, features, f"values/{n}"), 2) for m, n in ((student, 1), (teacher, 3))]
    assert found["attention_loss"] == pytest.approx(kl_over_tokens(*logits, mask), rel=1e-4)
    assert found["value_loss"] == pytest.approx(kl_over_tokens(*values, mask), rel=1e-4)


@pytest.mark.parametrize("heads", [1, 4])
def test_minilmv2_takes_any_number_of_relation_heads(student, teacher, features, heads):
    found, _ = evaluated(MiniLMv2(relation_heads=heads, teacher_layer=3), student, teacher, features)
    for term, name in (("query_loss", "queries"), ("key_loss", "keys"), ("value_loss", "values")):
        pair = [relation(read(m, features, f"{name}/{n}"), heads) for m, n in ((student, 1), (teacher, 2))]
        assert found[term] == pytest.approx(kl_over_tokens(*pair, features["input_mask"]), rel=1e-4, abs=1e-9)


@pytest.mark.slow
@pytest.mark.compiled
def test_minilmv2_trains_a_student_of_other_head_counts(student, features):
    teacher = build_model(
        BertConfig(num_hidden_layers=3, hidden_size=24, **SIZES | {"num_attention_heads": 4}), head="classification"
    )
    distiller = Distiller(teacher, student, MiniLMv2())
    distiller.compile(optimizer=keras.optimizers.Adam(1e-2))
    history = distiller.fit(features, epochs=30, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]


def test_mobilebert_transfers_feature_maps_statistics_and_attention(student, teacher, features):
    found, distiller = evaluated(MobileBert(), student, teacher, features)
    mask, expected = features["input_mask"], {"feature_loss": 0.0, "statistics_loss": 0.0, "attention_loss": 0.0}
    for m, n in ((1, 2), (2, 4)):
        kernel, bias = (p.numpy() for p in distiller.projections[str(m)].weights)
        s, t = (
            read(student, features, f"hidden_states/{m}") @ kernel + bias,
            read(teacher, features, f"hidden_states/{n}"),
        )
        expected["feature_loss"] += over_tokens(np.mean((s - t) ** 2, -1), mask)
        expected["statistics_loss"] += over_tokens((s.mean(-1) - t.mean(-1)) ** 2 + (s.var(-1) - t.var(-1)) ** 2, mask)
        logits = (
            read(student, features, f"attention_logits/{m - 1}"),
            read(teacher, features, f"attention_logits/{n - 1}"),
        )
        expected["attention_loss"] += kl_over_tokens(*logits, mask)
    for term, value in expected.items():
        assert found[term] == pytest.approx(value, rel=1e-4)


COMPILED = [
    pytest.param(name, marks=[pytest.mark.slow, pytest.mark.compiled], id=f"{name}-compiled") for name in OBJECTIVES
]


@pytest.mark.parametrize("name", [*OBJECTIVES, *COMPILED])
def test_every_objective_trains(name, student, teacher, features):
    network = build_bilstm(40, LABELS, 8, 4, 6) if name == "bilstm_soft" else student
    distiller = Distiller(teacher, network, OBJECTIVES[name]())
    distiller.compile(optimizer=keras.optimizers.Adam(3e-3))
    history = distiller.fit(features, GOLD, epochs=4, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_padding_is_compared_with_nothing(student, teacher, features):
    """Another token at a padded position changes no term."""
    changed = dict(features) | {"input_word_ids": np.where(features["input_mask"], features["input_word_ids"], 7)}
    for objective in (MiniLM(), MiniLMv2(), MobileBert(), DistilBert()):
        distiller = Distiller(teacher, student, objective)
        distiller.compile(optimizer="sgd")
        first, second = (distiller.measure((x, GOLD, None))[0] for x in (features, changed))
        assert float(first["loss"]) == pytest.approx(float(second["loss"]), rel=1e-5)


@pytest.mark.parametrize(
    ("head", "objective"),
    [
        ("masked_lm", TinyBertObjective.prediction()),
        ("masked_lm", LogitsKD()),
        ("span", TinyBertObjective.prediction()),
        ("span", LogitsKD()),
    ],
)
def test_more_padding_changes_no_loss_of_logits(head, objective, features):
    sizes = {name: value for name, value in SIZES.items() if name != "label2id"}
    teacher, student = (build_model(BertConfig(num_hidden_layers=1, hidden_size=8, **sizes), head) for _ in range(2))
    distiller = Distiller(teacher, student, objective)
    distiller.compile(optimizer="sgd")
    padded = {name: np.pad(values, ((0, 0), (0, 6))) for name, values in features.items()}
    first, second = (distiller.measure((x, None, None))[0] for x in (features, padded))
    assert float(first["loss"]) == pytest.approx(float(second["loss"]), rel=1e-5)


def test_theseus_needs_equal_heads(teacher):
    other = build_model(
        BertConfig(num_hidden_layers=2, hidden_size=12, **SIZES | {"num_attention_heads": 3}), head="classification"
    )
    with pytest.raises(InputError, match="the student has num_attention_heads=3 and the teacher 2"):
        Theseus(teacher, other, replacing_steps=1)


def test_layer_wise_losses_refuse_a_bilstm(teacher):
    bilstm = build_bilstm(40, LABELS, 8, 4, 6)
    for objective in (MiniLM(), MiniLMv2(), MobileBert(), DistilBert(), PatientKD()):
        with pytest.raises(InputError, match="reads layers of a BertModel.*vanilla_kd"):
            table(objective, bilstm, teacher)


def test_nonsense_is_refused_in_one_line(student, teacher):
    other = build_model(
        BertConfig(num_hidden_layers=2, hidden_size=12, **SIZES | {"num_attention_heads": 3}), head="classification"
    )
    for objective, networks, message in (
        (MiniLM(), (other, teacher), "the student has 3 heads and the teacher 2; take minilmv2"),
        (MobileBert(), (other, teacher), "3 attention heads and the teacher 2"),
        (MiniLMv2(relation_heads=5), (student, teacher), "relation_heads=5: must divide the student's width 8"),
        (MiniLM(teacher_layer=9), (student, teacher), "teacher_layer=9: must be from 1 to 4"),
        (PatientKD(), (teacher, student), "the student has 4 layers, the teacher only 2"),
    ):
        with pytest.raises(InputError, match=message):
            table(objective, *networks)
    for make in (lambda: VanillaKD(temperature=0), lambda: VanillaKD(label_share=2), lambda: PatientKD("first")):
        with pytest.raises(InputError):
            make()


def test_dropped_layers_are_those_of_the_paper():
    assert kept_layers("contribution", 2, 4, [0.9, 0.1, 0.2, 0.95]) == (2, 3)
    with pytest.raises(InputError, match="needs a value for each"):
        kept_layers("contribution", 2, 4)
    with pytest.raises(InputError, match="from 1 to the teacher's 4"):
        kept_layers("top", 5, 4)


@pytest.mark.parametrize(
    "module", ["bilstm", "distilbert", "minilm", "mobilebert", "pkd", "poor_man", "relations", "theseus", "vanilla_kd"]
)
def test_examples_in_the_docstrings_hold(module):
    result = doctest.testmod(importlib.import_module(f"tinybert_tf.distill.rivals.{module}"))
    assert result.failed == 0 and result.attempted


def test_objectives_are_found_in_python_by_class_and_by_the_programs_name():
    import tinybert_tf as tb
    from tinybert_tf import objectives

    assert tb.objectives.minilmv2 is MiniLMv2 and tb.objectives.MiniLMv2 is MiniLMv2
    with pytest.raises(AttributeError, match="has no 'albert'; there are tinybert, vanilla_kd"):
        tb.objectives.albert  # noqa: B018
    assert doctest.testmod(objectives).failed == 0
