"""The report of a run: a self-contained HTML page, the same in Markdown, and the table as CSV."""

import base64
import dataclasses
import html
import itertools
import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinybert_tf.errors import InputError
from tinybert_tf.files import atomic_write
from tinybert_tf.report.comparison import plot_comparison
from tinybert_tf.report.curves import can_plot, plot_curves, read_metrics
from tinybert_tf.report.diagnosis import Diagnosis
from tinybert_tf.report.live import LiveModel, live_model
from tinybert_tf.report.sections import STYLE, diagnosis_sections, score_plot
from tinybert_tf.report.tables import Column, csv_table, escaped, is_numeric, markdown_table, plain, used_columns

logger = logging.getLogger(__name__)


def _scaled(value: float) -> str:
    """Formats sizes as the paper does: 14.4M, 1.2B."""
    for unit, word in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{word}"
    return plain(value)


MODEL_COLUMNS = (
    Column("model", "model"),
    Column("task", "task"),
    Column("score", "score", lambda value: f"{100 * value:.1f}"),
    Column("retention", "retention", lambda value: f"{100 * value:.1f}%"),
    Column("parameters", "parameters", _scaled),
    Column("encoder_flops", "encoder FLOPs", _scaled),
    Column("float_mb", "file MB float32", lambda value: f"{value:.1f}"),
    Column("int8_mb", "file MB int8", lambda value: f"{value:.1f}"),
    Column("float_ms", "ms float32", lambda value: f"{value:.2f}"),
    Column("int8_ms", "ms int8", lambda value: f"{value:.2f}"),
)


@dataclasses.dataclass(frozen=True)
class ReportFiles:
    """Where a report was written."""

    html: Path
    markdown: Path
    csv: Path


def write_report(
    output_dir: str | Path,
    title: str,
    models: Sequence[Mapping[str, Any]],
    curves: Mapping[str, str | Path],
    figures: Sequence[tuple[str, str | Path]],
    settings: Mapping[str, Any],
    diagnosis: Diagnosis | None = None,
    verdict: str = "",
    live: str | Path | None = None,
) -> ReportFiles:
    """Writes report.html (self-contained), report.md (pictures beside it) and results.csv into `output_dir`.

    Args:
        output_dir: created if necessary; files of an earlier report are replaced, each as a whole.
        title: the heading.
        models: rows of the table, by the keys of `MODEL_COLUMNS`: model, task, score and retention (0 to 1),
            parameters, encoder_flops, float_mb, int8_mb, float_ms, int8_ms. A column that no row has is left out.
        curves: name of a training -> its metrics.jsonl; one without a loss and a score, just begun, has no picture yet.
        figures: (caption, PNG file).
        settings: shown as a table; nested ones by dotted names.
        diagnosis: adds attention maps, similarity of layers, confusion, calibration and examples to the HTML page.
        verdict: a sentence behind the `summary` of the models, above the table.
        live: a .tflite file that the HTML page holds and runs on typed texts; see `tinybert_tf.report.live`.

    Raises:
        InputError: a file that is missing or cannot be used; nothing is written then.
    """
    known = {column.key for column in MODEL_COLUMNS}
    for row in models:
        if set(row) - known:
            raise ValueError(f"unknown columns {sorted(set(row) - known)} of a model; there are {sorted(known)}")
    output_dir = Path(output_dir)
    # Reads everything before writing anything: a bad line in the last file must not leave a partial report.
    trainings = {name: read_metrics(path) for name, path in curves.items()}
    for caption, path in figures:
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file; it should hold the picture {caption!r}")
    model = live_model(live) if live else None

    pictures = _pictures(output_dir, trainings, [(caption, Path(path)) for caption, path in figures])
    files = ReportFiles(output_dir / "report.html", output_dir / "report.md", output_dir / "results.csv")
    sentences = [said[0].upper() + said[1:].rstrip(".") + "." for said in (summary(models), verdict) if said]
    sentence, flat = " ".join(sentences), _flat(settings)
    for path, text in (
        (files.csv, csv_table(models, MODEL_COLUMNS)),
        (files.markdown, _markdown(title, sentence, models, pictures, flat)),
        (files.html, _html(title, sentence, models, pictures, flat, diagnosis, model)),
    ):
        with atomic_write(path) as aside:
            # JSON can hold a lone surrogate, which UTF-8 cannot encode: it is shown escaped.
            aside.write_text(text, encoding="utf-8", errors="backslashreplace")
    if model:
        logger.info("%s: %.1f MB, with %s and LiteRT.js inside", files.html, files.html.stat().st_size / 1e6, live)
    return files


def _pictures(
    output_dir: Path, trainings: Mapping[str, Sequence[dict[str, Any]]], figures: Sequence[tuple[str, Path]]
) -> list[tuple[str, Path]]:
    """Draws the curves and copies the figures, each into a file of its own beside the report: (caption, file)."""
    in_place = {path for _, path in figures if path.parent.resolve() == output_dir.resolve()}
    taken = {path.name.casefold() for path in in_place}
    pictures = []
    file = output_dir / _free_name("curves-together.png", taken)
    if plot_comparison(trainings, file):
        pictures.append(("Trainings beside each other", file))
    for name, records in trainings.items():
        if can_plot(records):
            file = output_dir / _free_name(f"curves-{_slug(name)}.png", taken)
            pictures.append((f"Training of {name}", plot_curves(records, file)))
    for caption, path in figures:
        file = path
        if path not in in_place:
            file = output_dir / _free_name(path.name, taken)
            with atomic_write(file) as aside:
                shutil.copyfile(path, aside)
        pictures.append((caption, file))
    return pictures


def _free_name(name: str, taken: set[str]) -> str:
    """The name, or the first of name-2, name-3, ... that no other picture has; adds it to `taken`, in lower case."""
    path = Path(name)
    names = itertools.chain([name], (f"{path.stem}-{number}{path.suffix}" for number in itertools.count(2)))
    free = next(name for name in names if name.casefold() not in taken)
    taken.add(free.casefold())
    return free


def summary(models: Sequence[Mapping[str, Any]]) -> str:
    """The result in one sentence, or nothing if values are missing or the rows are of several tasks.

    The teacher is the row with the most parameters, the student the best of those with the fewest.
    """
    rows = [row for row in models if row.get("parameters") and row.get("score") is not None]
    if not rows or len({row.get("task") for row in rows}) > 1:
        return ""
    teacher = max(rows, key=lambda row: row["parameters"])
    fewest = min(row["parameters"] for row in rows)
    if fewest == teacher["parameters"]:
        return ""
    student = max((row for row in rows if row["parameters"] == fewest), key=lambda row: row["score"])
    said = f"{student['model']} scores {100 * student['score']:.1f}"
    kept = student.get("retention") or (student["score"] / teacher["score"] if teacher["score"] > 0 else None)
    said += f", {100 * kept:.1f}% of {teacher['model']} ({100 * teacher['score']:.1f})" if kept else ""
    smaller = [f"{teacher['parameters'] / fewest:.1f} times fewer parameters"]
    if student.get("encoder_flops") and teacher.get("encoder_flops"):
        smaller.append(f"{teacher['encoder_flops'] / student['encoder_flops']:.1f} times fewer encoder FLOPs")
    said += ", with " + " and ".join(smaller)
    size, milliseconds = (student.get(f"int8_{unit}") or student.get(f"float_{unit}") for unit in ("mb", "ms"))
    on_device = [f"{size:.1f} MB"] if size else []
    on_device += [f"{milliseconds:.2f} ms a sentence"] if milliseconds else []
    return said + (f"; as TFLite {' and '.join(on_device)}" if on_device else "") + "."


def _markdown(title: str, sentence: str, models, pictures, settings: Mapping[str, str]) -> str:
    parts = [f"# {escaped(title)}", escaped(sentence), markdown_table(models, MODEL_COLUMNS)]
    parts += [f"## {escaped(caption)}\n\n![{escaped(caption)}](<{file.name}>)" for caption, file in pictures]
    rows = [{"setting": name, "value": value} for name, value in settings.items()]
    parts += ["## Settings", markdown_table(rows, ["setting", "value"])] if settings else []
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


_STYLE = (
    """
:root { --ink: #1b1f24; --soft: #5b6570; --line: #d9dee3; --bar: #cfe3f3; --page: #fff; --panel: #f6f8fa; --accent: #0072b2;
  --teacher: #d55e00; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa4ad; --line: #39424b; --bar: #1f4a68; --page: #14181c;
  --panel: #1d2329; --accent: #56b4e9; --teacher: #e69f00; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 72rem; margin: 2.5rem auto;
  padding: 0 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .75rem; overflow-wrap: anywhere; }
.lead { font-size: 1.1rem; color: var(--soft); max-width: 48rem; margin: 0 0 1.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .9rem; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-size: .8rem; font-weight: 600; color: var(--soft); vertical-align: bottom; }
.number { text-align: right; }
.score { min-width: 7rem; background: linear-gradient(90deg, var(--bar) var(--share), transparent var(--share)); }
figure { margin: 0; overflow-x: auto; }
figure img { max-width: 100%; min-width: min(40rem, 200vw); height: auto; background: #fff; border-radius: 6px; }
svg { max-width: 100%; height: auto; }
summary { cursor: pointer; font-weight: 600; margin: 2.5rem 0 .75rem; }
.settings td { font-size: .85rem; padding: .2rem .9rem; white-space: normal; overflow-wrap: anywhere; }
.settings td + td { font-family: ui-monospace, monospace; }
@media (max-width: 40rem) { th, td { padding: .4rem .5rem; } td:first-child { white-space: normal; } .score { min-width: 3rem; } }
@media print { body { margin: 0; max-width: none; } .choose { display: none; } h2, figure, table { break-inside: avoid; } }
"""
    + STYLE
)


def _html(
    title: str,
    sentence: str,
    models,
    pictures,
    settings: Mapping[str, str],
    diagnosis: Diagnosis | None,
    live: LiveModel | None,
) -> str:
    body = [f"<h1>{html.escape(title)}</h1>"]
    body += [f'<p class="lead">{html.escape(sentence)}</p>'] if sentence else []
    body += [_html_table(models)] if used_columns(models, MODEL_COLUMNS) else []
    if plots := score_plot(models, "mb", "MB") + score_plot(models, "ms", "ms a text"):
        body.append(f'<div class="plots">{plots}</div>')
    body += [live.section] if live else []
    for caption, file in pictures:
        image = base64.b64encode(file.read_bytes()).decode("ascii")
        text = html.escape(caption)
        body.append(f'<h2>{text}</h2>\n<figure><img alt="{text}" src="data:image/png;base64,{image}"></figure>')
    body += diagnosis_sections(diagnosis) if diagnosis else []
    if settings:
        rows = "\n".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in settings.items())
        body.append(f'<details><summary>Settings</summary>\n<table class="settings">\n{rows}\n</table></details>')
    body += [live.scripts] if live else []
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{live.head if live else ''}<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _html_table(models: Sequence[Mapping[str, Any]]) -> str:
    columns = used_columns(models, MODEL_COLUMNS)
    kinds = [' class="number"' if is_numeric(models, column) else "" for column in columns]
    head = "".join(f"<th{kind}>{html.escape(c.heading)}</th>" for c, kind in zip(columns, kinds, strict=True))
    lines = []
    for row in models:
        cells = []
        for column, kind in zip(columns, kinds, strict=True):
            if column.key == "score" and row.get("score") is not None:
                # The score is also drawn as a bar.
                share = 100 * min(max(row["score"], 0.0), 1.0)
                kind = f' class="number score" style="--share: {share:.1f}%"'
            cells.append(f"<td{kind}>{html.escape(column.of(row))}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n' + "\n".join(lines) + "\n</table></div>"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = "" if value is None else str(value)
    return flat


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "run"
