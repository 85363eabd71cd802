"""The student of a distillation: where its weights come from."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tinybert_tf.bert import BertModel, BiLstmConfig, BiLstmModel, build_model, size_of
from tinybert_tf.bert.bilstm import MODEL_TYPE as BILSTM
from tinybert_tf.checkpoints import load_model, read_projections, resolve_directory
from tinybert_tf.checkpoints.projections import Projection
from tinybert_tf.distill import check_inputs, check_pair, check_vocabulary, initialize_student
from tinybert_tf.errors import InputError
from tinybert_tf.files import atomic_write, writing
from tinybert_tf.presets import PRESETS
from tinybert_tf.tokenizer_files import FAST_FILE, open_vocabulary
from tinybert_tf.train.reading import digest_of
from tinybert_tf.vocabulary import VOCABULARY_FILE, differing_settings

# "4xteacher" is 4 layers of the teacher's sizes.
_LAYERS_OF_TEACHER = r"(\d+)xteacher"

logger = logging.getLogger(__name__)

INIT_HELP = (
    "teacher_projection (made from the teacher's), layer_copy (some of the teacher's layers), random, or auto: "
    "teacher_projection where the shapes allow it, which they do for a student no wider than its teacher, else random"
)

FAMILY_HELP = "family of a student given as a size: auto (its teacher's) or bert (no bias by relative position)"

# Tokens used to fit teacher_projection: about ten times the unknowns that the largest of its regressions has for an output.
# Memory grows by 80 KB a token. Four times as many: 1.4 points more on CoLA before training, for four times the time
# (docs/experiments.md).
TOKENS_FOR_INIT = 16_000


def make_student(
    teacher: BertModel,
    teacher_dir: Path,
    name: str,
    init: str,
    layers: str | Sequence[int],
    rows: Callable[[], Iterable],
    dtype: str = "float32",
    family: str = "auto",
    seq_len: int | None = None,
    pairs: bool = False,
    cache_dir: str | Path | None = None,
) -> tuple[BertModel | BiLstmModel, list[Projection] | None]:
    """A student with the teacher's head, labels and vocabulary, and initial values of its projections if any.

    Args:
        teacher: in any precision; the weights are taken from its directory.
        teacher_dir: where it was loaded from.
        name: a size (see `size_of`; "4xteacher" is 4 layers of the teacher's sizes), a model directory, a preset, or "bilstm"
            (random weights). One that is loaded keeps its weights, and the projections that lie beside it.
        init: of a student given as a size; see `INIT_HELP`.
        layers: the teacher layers that the student's are matched with; see `layer_map`.
        rows: gives batches of features, for teacher_projection; the first `TOKENS_FOR_INIT` tokens are used.
        dtype: Keras dtype policy of the student; its variables are float32.
        family: see `FAMILY_HELP`.
        seq_len: the longest input in tokens.
        pairs: whether inputs are pairs of texts.
        cache_dir: keeps a student that was made from its teacher, for other runs that begin with the same.

    Raises:
        InputError: an unknown name or family, shapes that `init` cannot bring together, or a student that does not belong to
            its teacher: see `tinybert_tf.distill.pair`.
    """
    if seq_len:
        check_inputs(teacher, "teacher", seq_len, pairs)
    if name == BILSTM:
        return _bilstm_for(teacher, init, dtype), None
    size = _size_for(name, teacher)
    if size is None or Path(name).is_dir():
        if init != "auto":
            logger.warning("init=%s is not used: the student %s has weights", init, name)
        source = resolve_directory(name, "--student")
        labels, activation = teacher.config.label2id, teacher.config.classifier_activation
        student = load_model(source, head=teacher.head, label2id=labels, dtype=dtype, classifier_activation=activation)
        _check_words(source, teacher_dir)
        if isinstance(student, BiLstmModel):
            return student, None
        check_pair(student, teacher, reads_logits=teacher.head != "encoder")
        if seq_len:
            check_inputs(student, "student", seq_len, pairs)
        return student, _projections_beside(source, student, teacher)
    depth, width, heads, intermediate = size
    if family not in ("auto", "bert"):
        raise InputError("must be auto or bert", "student_family", family)
    config = teacher.config if family == "auto" else teacher.config.of_family(family)
    config = config.replace(
        num_hidden_layers=depth, hidden_size=width, num_attention_heads=heads, intermediate_size=intermediate
    )
    student = build_model(config, teacher.head, dtype=dtype)
    if init == "random":
        return student, None
    activation = teacher.config.classifier_activation
    full_precision = load_model(teacher_dir, head=teacher.head, dtype="float32", classifier_activation=activation)
    try:
        kind = "teacher_projection" if init == "auto" else init
        return student, _initialized(student, full_precision, kind, layers, _some_text(rows()), cache_dir)
    except InputError as error:
        if init != "auto":
            raise
        logger.info("init=auto: random weights (%s)", error)
        return student, None


def _projections_beside(source: Path, student: BertModel, teacher: BertModel) -> list[Projection | None] | None:
    """The projections in the directory of a student, unless they lead to the width of another teacher."""
    found = read_projections(source, student.config.num_hidden_layers + 1)
    widths = {bias.shape[0] for _, bias in filter(None, found or ())}
    if widths <= {teacher.config.hidden_size}:
        return found
    logger.warning(
        "%s: its projections are not used: they lead to %s dimensions and the teacher has %d, so they begin at random values",
        source, " and ".join(map(str, sorted(widths))), teacher.config.hidden_size,
    )  # fmt: skip
    return None


def _bilstm_for(teacher: BertModel, init: str, dtype: str) -> BiLstmModel:
    if teacher.head not in ("classification", "regression"):
        raise InputError(f"a BiLSTM gives a class or a score for a text, not what the head {teacher.head!r} gives")
    if init not in ("auto", "random"):
        raise InputError("a BiLSTM has no layers of its teacher; set `init=random`", "init", init)
    config = teacher.config
    labels = config.label2id if teacher.head == "classification" else None
    return BiLstmModel(
        BiLstmConfig(config.vocab_size, labels, max_position_embeddings=config.max_position_embeddings), dtype=dtype
    )


def _size_for(name: str, teacher: BertModel) -> tuple[int, int, int, int] | None:
    """As `size_of`; "4xteacher" is 4 layers of the teacher's sizes."""
    if found := re.fullmatch(_LAYERS_OF_TEACHER, name):
        config = teacher.config
        return int(found[1]), config.hidden_size, config.num_attention_heads, config.intermediate_size
    return size_of(name)


def _initialized(
    student: BertModel, teacher: BertModel, kind: str, layers, batches: Iterable[Mapping], cache_dir: str | Path | None
) -> list[Projection] | None:
    """As `initialize_student`; what it gives is kept in `cache_dir` if there is one."""
    if cache_dir is None or kind == "random":
        return initialize_student(student, teacher, kind, layers, batches)
    batches = [{name: np.asarray(value) for name, value in batch.items()} for batch in batches]
    text = b"".join(value.tobytes() for batch in batches for value in batch.values())
    digest = digest_of(teacher, student.config, student.head, kind, layers, text)
    path, count = Path(cache_dir) / f"student-{digest}.npz", len(student.get_weights())
    if path.is_file():
        with np.load(path) as arrays:
            student.set_weights([arrays[f"weight_{number}"] for number in range(count)])
            kept = [name.removeprefix("kernel_") for name in arrays if name.startswith("kernel_")]
            return [(arrays[f"kernel_{number}"], arrays[f"bias_{number}"]) for number in kept] or None
    projections = initialize_student(student, teacher, kind, layers, batches)
    arrays = {f"weight_{number}": value for number, value in enumerate(student.get_weights())}
    for number, (kernel, bias) in enumerate(projections or []):
        arrays |= {f"kernel_{number}": kernel, f"bias_{number}": bias}
    with writing(path.parent), atomic_write(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)
    return projections


def _check_words(student_dir: Path, teacher_dir: Path) -> None:
    """Raises InputError if the student's directory has a vocabulary that is not its teacher's; logs another normalization."""
    if vocabulary_of(student_dir) is None:
        return
    student, teacher = open_vocabulary(student_dir), open_vocabulary(teacher_dir)
    check_vocabulary(list(student.words), teacher.words, str(student_dir), str(teacher_dir))
    for name, its, used in differing_settings(student, teacher)[:1]:
        logger.warning(
            "the student %s has %s=%s and its teacher %s: texts are normalized as for the teacher, unless `normalization` says "
            "otherwise", student_dir, name, its, used,
        )  # fmt: skip


def is_loaded(name: str) -> bool:
    """Whether a student or model is loaded from a directory or preset of that name, and not made in a size."""
    if Path(name).is_dir() or name in PRESETS:
        return True
    return name != BILSTM and size_of(name) is None and re.fullmatch(_LAYERS_OF_TEACHER, name) is None


def vocabulary_of(directory: Path) -> Sequence[str] | None:
    """The words of a model directory by id; None if it holds weights alone."""
    has_words = any((directory / name).is_file() for name in (VOCABULARY_FILE, FAST_FILE))
    return list(open_vocabulary(directory).words) if has_words else None


def _some_text(batches: Iterable[Mapping]) -> Iterator[Mapping]:
    tokens = 0
    for features in batches:
        yield features
        tokens += int(np.sum(features["input_mask"]))
        if tokens >= TOKENS_FOR_INIT:
            return
