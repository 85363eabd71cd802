"""A model directory in, a smaller one out."""

import dataclasses
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tinybert_tf.bert import BertModel
from tinybert_tf.checkpoints import load_model, resolve_directory, save_model
from tinybert_tf.checkpoints.projections import FILE_NAME as PROJECTIONS
from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.files import written_aside
from tinybert_tf.prune.sizes import Sizes
from tinybert_tf.prune.tables import check_same_words, with_positions, with_words
from tinybert_tf.prune.texts import Text, parts, with_held_out
from tinybert_tf.prune.vocabulary import Coverage, choose_words, count_words, coverage
from tinybert_tf.tokenizer_files import Vocabulary

TEACHER = "teacher"


@dataclasses.dataclass(frozen=True)
class PruneReport:
    """What was written.

    Attributes:
        model: the directory of the pruned network; teacher: that of its teacher, if one was given.
        vocab_size, parameters: of the pruned network.
        coverage: how the smaller vocabulary spells texts that it was not chosen for; None where it was not cut.
    """

    model: str
    teacher: str | None
    vocab_size: int
    parameters: int
    coverage: Coverage | None


def prune(
    model_dir: str | Path,
    output_dir: str | Path,
    texts: Iterable[Text],
    *,
    held_out: Iterable[Text] | None = None,
    teacher: str | Path | None = None,
    **sizes: int | None,
) -> PruneReport:
    """Writes a model directory with smaller sizes.

    ```python
    rows = [row.text for row in tb.load_task("sample").train]
    report = tb.prune("bert-finetuned", "pruned", rows, vocab_size=6000)
    print(report.coverage.pieces_per_word_before, report.coverage.pieces_per_word_after)
    ```

    Args:
        model_dir: a model directory or a preset.
        output_dir: the model directory that is written; replaced if it is one.
        texts: texts, or pairs of them, like those that the model will see; read several times.
        held_out: others of them, on which the coverage is measured; by default every twentieth of `texts`.
        teacher: a directory whose vocabulary is cut in the same way, written to `output_dir`/teacher: a student can learn
            only from a teacher that has its tokens.
        **sizes: the new sizes, by the names of `Sizes`.

    Raises:
        InputError: sizes that cannot be, a teacher with another vocabulary, no text, or an `output_dir` that is no model
            directory.
    """
    changes, output_dir = Sizes(**sizes), Path(output_dir)
    if not changes.given:
        raise InputError(f"nothing to prune: give one of {', '.join(f'`{f.name}`' for f in dataclasses.fields(Sizes))}")
    sources = {"": resolve_directory(model_dir, "--model_dir")}
    if teacher is not None:
        sources[TEACHER] = resolve_directory(teacher, "--teacher")
    _check_output(output_dir, sources)
    tokenizer = Tokenizer.from_directory(sources[""])
    for source in sources.values():
        check_same_words(tokenizer, Tokenizer.from_directory(source))
    texts, held_out = with_held_out(texts, held_out)
    models = {name: load_model(source) for name, source in sources.items()}
    changes.applied(models[""].config)

    words, found = tokenizer.vocabulary, None
    if changes.vocab_size is not None:
        added = {token.content for token in tokenizer.spec.added}
        kept = choose_words(words, count_words(parts(texts), tokenizer), changes.vocab_size, added)
        found = coverage(words, kept, count_words(parts(held_out), tokenizer))
        words = [words[index] for index in kept]
        models = {name: with_words(model, kept) for name, model in models.items()}
    if changes.max_position_embeddings is not None:
        models[""] = with_positions(models[""], changes.max_position_embeddings)
    _write(models, dataclasses.replace(tokenizer.spec, words=tuple(words)), output_dir, sources[""] / PROJECTIONS)
    return PruneReport(
        model=str(output_dir),
        teacher=None if teacher is None else str(output_dir / TEACHER),
        vocab_size=models[""].config.vocab_size,
        parameters=models[""].count_params(),
        coverage=found,
    )


def _check_output(output_dir: Path, sources: Mapping[str, Path]) -> None:
    """Before minutes of work: raises InputError for a directory that is not to be replaced."""
    for source in sources.values():
        if output_dir.resolve() == source.resolve() or output_dir.resolve() in source.resolve().parents:
            raise InputError(
                f"{source} would be replaced by what is made from it; name another directory", "output_dir", output_dir
            )
    is_model = (output_dir / "config.json").is_file()
    if output_dir.exists() and not is_model and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise InputError(
            "exists and is no model directory, so it is not replaced; name another", "output_dir", output_dir
        )


def _write(models: Mapping[str, BertModel], vocabulary: Vocabulary, output_dir: Path, projections: Path) -> None:
    """Writes the network, its projections if it has any and, in a folder of its own below, its teacher: all or nothing."""
    with tempfile.TemporaryDirectory() as folder, written_aside(output_dir) as aside:
        vocabulary.write(folder)
        for name, model in models.items():
            save_model(model, aside / name, tokenizer_from=folder)
        if projections.is_file():
            shutil.copyfile(projections, aside / PROJECTIONS)
