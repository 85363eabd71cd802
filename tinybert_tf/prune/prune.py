"""Prunes a model directory into a smaller one."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tinybert_tf.bert import BertModel, BiLstmModel
from tinybert_tf.checkpoints import load_model, read_projections, resolve_directory, save_model, write_projections
from tinybert_tf.checkpoints.huggingface import check_replaceable
from tinybert_tf.checkpoints.projections import FILE_NAME as PROJECTIONS
from tinybert_tf.checkpoints.projections import Projection
from tinybert_tf.checkpoints.word_codes import use_codes
from tinybert_tf.data import Tokenizer
from tinybert_tf.data.split import uniform_sample
from tinybert_tf.errors import InputError
from tinybert_tf.export.sensitivity import measure_sensitivity
from tinybert_tf.files import atomic_write
from tinybert_tf.prune.codes import check_codes, code_table, count_tokens
from tinybert_tf.prune.sizes import Sizes
from tinybert_tf.prune.structure import composed, with_structure
from tinybert_tf.prune.tables import check_same_words, with_positions, with_words
from tinybert_tf.prune.target import Target, sizes_for
from tinybert_tf.prune.texts import Row, Text, feature_batches, parts, with_held_out
from tinybert_tf.prune.vocabulary import Coverage, choose_words, count_words, coverage
from tinybert_tf.vocabulary import Vocabulary

TEACHER = "teacher"
# Rows that importance is measured on, and tokens that the regressions see: about ten times the unknowns of the largest
# regression for one output. Memory grows by 80 KB a token.
_ROWS, _TOKENS = 512, 16_000
_CALIBRATION_ROWS = 200


@dataclasses.dataclass(frozen=True)
class PruneReport:
    """What was written.

    Attributes:
        model: the directory of the pruned network; teacher: that of its teacher, if one was given.
        vocab_size, parameters: of the pruned network.
        layers: those of the network before, counted from 1, that its layers were made from.
        coverage: the effect of the smaller vocabulary on held-out texts; None if the vocabulary was not pruned.
        mb, ms: of the int8 file, where there was a target.
    """

    model: str
    teacher: str | None
    vocab_size: int
    parameters: int
    layers: tuple[int, ...]
    coverage: Coverage | None
    mb: float | None = None
    ms: float | None = None


def prune(
    model_dir: str | Path,
    output_dir: str | Path,
    texts: Iterable[Row],
    *,
    held_out: Iterable[Row] | None = None,
    teacher: str | Path | None = None,
    seq_len: int = 128,
    target_mb: float | None = None,
    target_ms: float | None = None,
    whole_rows: int | None = None,
    seed: int = 0,
    **sizes: int | None,
) -> PruneReport:
    """Writes a model directory with smaller sizes.

    ```python
    report = tb.prune("bert-finetuned", "pruned", tb.load_task("sample").train, vocab_size=6000)
    print(report.coverage.pieces_per_word_before, report.coverage.pieces_per_word_after)
    ```

    Args:
        model_dir: a model directory or a preset.
        output_dir: the model directory that is written; replaced if it is one.
        texts: texts, or pairs of them, like those that the model will see; read several times. Of examples, such as a split of
            a task, the texts are taken.
        held_out: other texts, on which the coverage is measured; by default every twentieth of `texts`.
        teacher: a directory whose vocabulary is cut in the same way, written to `output_dir`/teacher: a student can learn
            only from a teacher that has its tokens. Its other sizes stay.
        seq_len: longest length in tokens that importance is measured on, and the length of the file that a target is for.
        target_mb: the largest int8 file, in millions of bytes; sizes that are not given are chosen for it.
        target_ms: the longest median time of the int8 file for a text of `seq_len` tokens, on one thread of this machine.
        whole_rows: rows of the word table that stay whole, those of the most frequent words; the others become codes of a byte
            for up to six weights (six where the width is a multiple of six), which integer files store. Only
            training through the file's rounding changes the table afterwards.
        seed: random seed.
        **sizes: the new sizes, by the names of `Sizes`. All layers keep equally many heads, which the format of model
            directories, the exporter and `transformers` need; heads, neurons and layers are the most important ones for the
            model's answers, and regressions restore the others' contribution as far as possible.

    Returns:
        The report on what was written.

    Raises:
        InputError: impossible sizes, a target out of reach, a teacher with another vocabulary, no text, a model whose words are
            coded already, or an `output_dir` that is not a model directory.
    """
    changes, output_dir = Sizes(**sizes), Path(output_dir)
    has_target = target_mb is not None or target_ms is not None
    _check_request(changes, has_target, whole_rows)
    sources = {"": resolve_directory(model_dir, "--model_dir")}
    if teacher is not None:
        sources[TEACHER] = resolve_directory(teacher, "--teacher")
    _check_output(output_dir, sources)
    tokenizer = Tokenizer.from_directory(sources[""])
    for source in sources.values():
        check_same_words(tokenizer, Tokenizer.from_directory(source))
    texts, held_out = with_held_out(texts, held_out)
    models = _load(sources, changes, whole_rows)
    rows = uniform_sample(texts, _ROWS, seed)
    seq_len = min(seq_len, changes.max_position_embeddings or models[""].config.max_position_embeddings)
    work = _Work(
        models, tokenizer.spec, _projections(sources[""], models[""]), texts, held_out, rows, seq_len, seed, whole_rows
    )
    if not has_target:
        pruned, mb, ms = work.pruned(changes), None, None
    else:
        target = Target(target_mb, target_ms, seq_len, rows[:_CALIBRATION_ROWS])
        pruned, (mb, ms) = _held(target, work, sizes_for(target, models[""], tokenizer.spec, changes))
    _write(pruned, output_dir)
    model = pruned.models[""]
    return PruneReport(
        model=str(output_dir),
        teacher=None if teacher is None else str(output_dir / TEACHER),
        vocab_size=model.config.vocab_size,
        parameters=model.count_params(),
        layers=pruned.layers,
        coverage=pruned.coverage,
        mb=mb,
        ms=ms,
    )


@dataclasses.dataclass(frozen=True)
class _Pruned:
    """The network ("") and its teacher, if there is one; projections from the network's hidden states to its teacher's."""

    models: Mapping[str, BertModel]
    vocabulary: Vocabulary
    projections: list[Projection | None] | None
    layers: tuple[int, ...]
    coverage: Coverage | None = None


@dataclasses.dataclass(frozen=True)
class _Work:
    """What is pruned, and what importance is measured on."""

    models: Mapping[str, BertModel]
    vocabulary: Vocabulary
    projections: list[Projection | None] | None
    texts: Iterable[Text]
    held_out: Iterable[Text]
    rows: Sequence[Text]
    seq_len: int
    seed: int
    whole_rows: int | None

    def pruned(self, sizes: Sizes) -> _Pruned:
        models, vocabulary, projections = dict(self.models), self.vocabulary, self.projections
        layers, found = tuple(range(1, models[""].config.num_hidden_layers + 1)), None
        if sizes.vocab_size is not None:
            kept, found = self._words(sizes.vocab_size)
            vocabulary = dataclasses.replace(vocabulary, words=tuple(vocabulary.words[index] for index in kept))
            models = {name: with_words(model, kept) for name, model in models.items()}
        if sizes.max_position_embeddings is not None:
            models[""] = with_positions(models[""], sizes.max_position_embeddings)
        if sizes.structure:
            config = sizes.applied(models[""].config)
            batches = _first_tokens(feature_batches(self.rows, Tokenizer(vocabulary), self.seq_len))
            models[""], own, layers = with_structure(models[""], config, batches, self.seed)
            projections = own if projections is None else composed(own, layers, projections)
        if self.whole_rows is not None:
            table = models[""].embeddings.word_embeddings.embeddings.numpy()
            counts = count_tokens(self.texts, Tokenizer(vocabulary))
            counts = np.pad(counts, (0, len(table) - len(counts)))  # some tables have a few rows more than words
            batches = _first_tokens(feature_batches(self.rows, Tokenizer(vocabulary), self.seq_len))
            sensitivity = measure_sensitivity(models[""], batches, self.seed).word
            use_codes(models[""], code_table(table, counts, self.whole_rows, self.seed, sensitivity))
        return _Pruned(models, vocabulary, projections, layers, found)

    def _words(self, count: int) -> tuple[list[int], Coverage]:
        """The ids of the words that are kept, and the coverage of the held-out texts."""
        words, tokenizer = self.vocabulary.words, Tokenizer(self.vocabulary)
        added = {token.content for token in self.vocabulary.added}
        kept = choose_words(words, count_words(parts(self.texts), tokenizer), count, added)
        return kept, coverage(words, kept, count_words(parts(self.held_out), tokenizer))


def _held(target: Target, work: _Work, ladder: Sequence[Sizes]) -> tuple[_Pruned, tuple[float, float | None]]:
    """The first network whose own file holds a target, and (mb, ms) of that file: sizes are chosen by other files, of networks
    with random weights and any words.

    Raises:
        InputError: none does.
    """
    for sizes in ladder:
        pruned = work.pruned(sizes)
        model, words = pruned.models[""], len(pruned.vocabulary.words)
        measured = target.measure(model, pruned.vocabulary)
        if target.holds(measured):
            return pruned, measured
    raise target.unreachable(measured, model.config, words)


def _first_tokens(batches: Iterable[Mapping]) -> Iterator[Mapping]:
    tokens = 0
    for features in batches:
        yield features
        tokens += int(features["input_mask"].sum())
        if tokens >= _TOKENS:
            return


def _projections(source: Path, model: BertModel) -> list[Projection | None] | None:
    """The projections in a student's directory, if any."""
    return read_projections(source, model.config.num_hidden_layers + 1) if (source / PROJECTIONS).is_file() else None


def _check_request(changes: Sizes, has_target: bool, whole_rows: int | None) -> None:
    """Raises InputError where nothing is asked for, or two things that exclude each other."""
    if not changes.given and not has_target and whole_rows is None:
        names = [*(field.name for field in dataclasses.fields(Sizes)), "whole_rows"]
        raise InputError(f"nothing to prune: give one of {', '.join(f'`{name}`' for name in names)}, or a target")
    if has_target and whole_rows is not None:
        raise InputError("is not chosen with a target; give the sizes", "whole_rows", whole_rows)


def _load(sources: Mapping[str, Path], changes: Sizes, whole_rows: int | None) -> dict[str, BertModel]:
    """The networks of some directories. Raises InputError for those that cannot be pruned to the sizes asked for."""
    models = {name: load_model(source) for name, source in sources.items()}
    for name, model in models.items():
        if isinstance(model, BiLstmModel):
            raise InputError(f"{sources[name]}: is a BiLSTM, which has no layers to prune")
    config = changes.applied(models[""].config)
    if whole_rows is not None:
        check_codes(changes.vocab_size or config.vocab_size, config.embedding_width, whole_rows)
    for name, model in models.items():
        if model.word_codes is not None:
            raise InputError(f"{sources[name]}: its words are coded already; prune the model that it was made from")
    return models


def _check_output(output_dir: Path, sources: Mapping[str, Path]) -> None:
    """Raises InputError for a directory that must not be replaced, before minutes of work."""
    for source in sources.values():
        if output_dir.resolve() == source.resolve() or output_dir.resolve() in source.resolve().parents:
            raise InputError(
                f"{source} would be replaced by what is made from it; name another directory", "output_dir", output_dir
            )
    check_replaceable(output_dir.resolve())


def _write(pruned: _Pruned, output_dir: Path) -> None:
    """Writes the network, its projections if it has any and, in a subdirectory, its teacher: all or nothing."""
    with atomic_write(output_dir.resolve()) as aside:  # a link keeps its place
        for name, model in pruned.models.items():
            save_model(model, aside / name, tokenizer_from=pruned.vocabulary)
        if pruned.projections is not None:
            matched = {number: found for number, found in enumerate(pruned.projections) if found is not None}
            write_projections(matched, aside, len(pruned.projections))
