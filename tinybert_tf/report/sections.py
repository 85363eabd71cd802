"""Sections of the HTML report that need more than a picture: attention explorer, CKA, confusion, calibration, differences.

Everything is inside the page: tables, SVG, and one small script for the attention maps. Text is escaped before it is written.
"""

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinybert_tf.report.diagnosis import Calibration, Diagnosis, calibration, fidelity

_LONGEST_TEXT = 240

STYLE = """
.grid { border-collapse: separate; border-spacing: 2px; }
.grid td { border: 0; padding: .3rem .5rem; text-align: center; border-radius: 3px; font-size: .8rem;
  background: color-mix(in srgb, var(--accent) calc(var(--v) * 100%), var(--panel)); }
.grid td.strong { color: var(--page); }
.plots { display: flex; flex-wrap: wrap; gap: 0 2rem; }
.grid th { border: 0; padding: .2rem .5rem; }
.maps { display: flex; flex-wrap: wrap; gap: 1.5rem; }
.maps figure { overflow-x: auto; }
.map { border-collapse: separate; border-spacing: 1px; font-size: .7rem; }
.map td { border: 0; padding: 0; width: 1rem; height: 1rem; min-width: 1rem; }
.map th { border: 0; padding: 0 .3rem; font-weight: 400; font-size: .7rem; text-align: right; }
.map thead th { writing-mode: vertical-rl; text-align: left; padding: .2rem 0; }
.choose { display: flex; gap: 1rem; margin: 0 0 1rem; flex-wrap: wrap; }
.choose select { font: inherit; color: var(--ink); background: var(--panel); border: 1px solid var(--line); border-radius: 4px; }
.differences td { white-space: normal; }
.differences td.number { white-space: nowrap; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .axis { stroke: var(--line); }
"""

_SCRIPT = """
const data = JSON.parse(document.getElementById('attention-data').textContent);
const layer = document.getElementById('attention-layer'), head = document.getElementById('attention-head');
function cell(value) {
  const td = document.createElement('td');
  td.style.background = `color-mix(in srgb, var(--accent) ${Math.round(100 * Math.sqrt(value))}%, var(--panel))`;
  td.title = value.toFixed(3);
  return td;
}
function draw(id, maps) {
  const heads = maps.length, n = data.tokens.length, which = head.value;
  const at = (i, j) => which === 'mean' ? maps.reduce((sum, map) => sum + map[i][j], 0) / heads
    : maps[Math.min(+which, heads - 1)][i][j];
  const table = document.getElementById(id);
  table.replaceChildren();
  const top = table.createTHead().insertRow();
  top.appendChild(document.createElement('th'));
  for (const token of data.tokens) { const th = document.createElement('th'); th.textContent = token; top.appendChild(th); }
  const body = table.createTBody();
  for (let i = 0; i < n; i++) {
    const row = body.insertRow(), th = document.createElement('th');
    th.textContent = data.tokens[i];
    row.appendChild(th);
    for (let j = 0; j < n; j++) row.appendChild(cell(at(i, j)));
  }
}
function show() {
  const m = +layer.value;
  draw('attention-student', data.student[m]);
  draw('attention-teacher', data.teacher[data.map[m] - 1]);
  document.getElementById('attention-names').textContent = `student layer ${m + 1}, teacher layer ${data.map[m]}`;
}
layer.addEventListener('change', show);
head.addEventListener('change', show);
show();
"""


def diagnosis_sections(diagnosis: Diagnosis) -> list[str]:
    """The HTML of all sections that a diagnosis has data for."""
    parts = [_fidelity(diagnosis), _attention(diagnosis)]
    if diagnosis.cka is not None:
        parts.append(_cka(diagnosis.cka))
    if diagnosis.labels:
        parts += [_confusion(diagnosis), _calibration(diagnosis)]
    return [*parts, _differences(diagnosis)]


def _rounded(maps: np.ndarray) -> list:
    return np.round(np.asarray(maps, np.float64), 3).tolist()


def _attention(diagnosis: Diagnosis) -> str:
    data = {
        "tokens": list(diagnosis.tokens),
        "map": list(diagnosis.layer_map),
        "teacher": _rounded(diagnosis.teacher_attention),
        "student": _rounded(diagnosis.student_attention),
    }
    layers = "".join(f'<option value="{m}">{m + 1}</option>' for m in range(len(diagnosis.layer_map)))
    heads = max(np.shape(diagnosis.teacher_attention)[1], np.shape(diagnosis.student_attention)[1])
    options = '<option value="mean">mean of heads</option>' + "".join(
        f'<option value="{h}">head {h + 1}</option>' for h in range(heads)
    )
    # "<" never appears in the JSON, so no token can end the script element.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return (
        "<h2>Attention, teacher beside student</h2>\n"
        f'<p class="choose"><label>student layer <select id="attention-layer">{layers}</select></label>'
        f'<label>attention <select id="attention-head">{options}</select></label>'
        '<span id="attention-names"></span></p>\n'
        '<div class="maps"><figure><figcaption>teacher</figcaption><table class="map" id="attention-teacher"></table></figure>'
        '<figure><figcaption>student</figcaption><table class="map" id="attention-student"></table></figure></div>\n'
        f'<script type="application/json" id="attention-data">{text}</script>\n<script>{_SCRIPT}</script>'
    )


def _grid(values: np.ndarray, shares: np.ndarray, rows: Sequence[str], columns: Sequence[str], form: str) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    lines = []
    for name, row, share in zip(rows, values, shares, strict=True):
        cells = "".join(
            f'<td class="{"strong" if s > 0.6 else ""}" style="--v: {s:.3f}">{format(value, form)}</td>'
            for value, s in zip(row, share, strict=True)
        )
        lines.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    return f'<div class="wide"><table class="grid">\n<tr><th></th>{head}</tr>\n' + "\n".join(lines) + "\n</table></div>"


def _cka(cka: np.ndarray) -> str:
    rows, columns = (
        [f"{who} {index or 'embeddings'}" for index in range(count)]
        for who, count in zip(("student", "teacher"), cka.shape, strict=True)
    )
    return (
        "<h2>Similarity of layers (linear CKA)</h2>\n<p>1: equal up to rotation and scale; 0: unrelated.</p>\n"
        + _grid(cka, np.clip(cka, 0, 1), rows, columns, ".2f")
    )


def _fidelity(diagnosis: Diagnosis) -> str:
    measure = "KL divergence, nats" if diagnosis.labels else "mean squared difference"
    lines = []
    for name, answers in (("training set", diagnosis.trained), ("dev", (diagnosis.teacher, diagnosis.student))):
        found = fidelity(*answers)
        cells = [found.count, f"{found.distance:.3f}"]
        if found.agreement is not None:
            cells.append(f"{100 * found.agreement:.1f}%")
        lines.append(f"<tr><td>{name}</td>" + "".join(f'<td class="number">{cell}</td>' for cell in cells) + "</tr>")
    same = "<th>same answer</th>" if diagnosis.labels else ""
    return (
        "<h2>How closely the student follows the teacher</h2>\n"
        "<p>A student that follows its teacher on the training set and not on dev has learned what these examples can teach: "
        "more epochs do not help it; other text with the teacher's answers may.</p>\n"
        f"<table>\n<tr><th></th><th>examples</th><th>{measure}</th>{same}</tr>\n" + "\n".join(lines) + "\n</table>"
    )


def _confusion(diagnosis: Diagnosis) -> str:
    counts = diagnosis.confusion()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = [f"is {label}" for label in diagnosis.labels]
    columns = [f"called {label}" for label in diagnosis.labels]
    return "<h2>Confusion of the student</h2>\n" + _grid(counts, shares, rows, columns, "d")


def _calibration(diagnosis: Diagnosis) -> str:
    found = {
        name: calibration(probabilities, diagnosis.gold)
        for name, probabilities in (("teacher", diagnosis.teacher), ("student", diagnosis.student))
    }
    words = ", ".join(f"{name} {100 * each.error:.1f} points" for name, each in found.items())
    return f"<h2>Calibration</h2>\n<p>Expected calibration error: {words}.</p>\n{_reliability(found)}"


def _reliability(found: Mapping[str, Calibration]) -> str:
    """Accuracy against confidence as SVG; a perfectly calibrated model lies on the diagonal."""
    size, pad = 240, 36

    def x(value: float) -> float:
        return pad + size * value

    def y(value: float) -> float:
        return pad + size * (1 - value)

    parts = [f'<line class="axis" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}" stroke-dasharray="4 4"/>']
    parts += [f'<rect x="{pad}" y="{pad}" width="{size}" height="{size}" fill="none" class="axis"/>']
    for number, (name, each) in enumerate(found.items()):
        color = ("var(--teacher)", "var(--accent)")[number]
        points = " ".join(f"{x(c):.1f},{y(a):.1f}" for c, a in zip(each.confidence, each.accuracy, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x(c):.1f}" cy="{y(a):.1f}" r="3.5" fill="{color}"><title>{name}: {n} examples</title></circle>'
            for c, a, n in zip(each.confidence, each.accuracy, each.count, strict=True)
        ]
        parts.append(f'<text x="{pad + 8}" y="{pad + 18 + 16 * number}" style="fill: {color}">{name}</text>')
    parts.append(f'<text x="{pad + size / 2}" y="{size + pad + 24}" text-anchor="middle">confidence</text>')
    parts.append(
        f'<text x="12" y="{pad + size / 2}" text-anchor="middle" transform="rotate(-90 12 {pad + size / 2})">accuracy</text>'
    )
    width = size + 2 * pad
    return (
        f'<svg role="img" aria-label="calibration" viewBox="0 0 {width} {width}" width="{width}">{"".join(parts)}</svg>'
    )


def _differences(diagnosis: Diagnosis) -> str:
    lines = []
    for index in diagnosis.disagreements():
        text = diagnosis.texts[index]
        cells = [text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} …"]
        if diagnosis.labels:
            cells.append(diagnosis.labels[int(diagnosis.gold[index])])
            for each in (diagnosis.teacher, diagnosis.student):
                answer = int(each[index].argmax())
                cells.append(f"{diagnosis.labels[answer]} {each[index, answer]:.2f}")
        else:
            cells += [
                f"{value:.2f}"
                for value in (diagnosis.gold[index], diagnosis.teacher[index, 0], diagnosis.student[index, 0])
            ]
        first, *others = (html.escape(cell) for cell in cells)
        lines.append(f"<tr><td>{first}</td>" + "".join(f'<td class="number">{cell}</td>' for cell in others) + "</tr>")
    return (
        "<h2>Examples on which teacher and student differ most</h2>\n"
        '<div class="wide"><table class="differences">\n<tr><th>text</th><th>gold</th><th>teacher</th><th>student</th></tr>\n'
        + "\n".join(lines)
        + "\n</table></div>"
    )


def score_plot(models: Sequence[Mapping[str, Any]], key: str, unit: str) -> str:
    """Score against file size or latency as SVG, one point a model and precision; empty where fewer than two have both.

    Args:
        models: rows of the report's table.
        key: "mb" or "ms"; rows carry `float_KEY` and `int8_KEY`.
        unit: of the horizontal axis.
    """
    points = [
        (row[f"{kind}_{key}"], 100 * row["score"], row["model"], kind)
        for row in models
        for kind in ("float", "int8")
        if row.get(f"{kind}_{key}") and row.get("score") is not None
    ]
    if len(points) < 2:
        return ""
    width, height, pad = 420, 260, 44
    sizes, scores = np.log10([p[0] for p in points]), np.array([p[1] for p in points])
    low, high = scores.min() - 1, scores.max() + 1
    left, right = sizes.min() - 0.1, sizes.max() + 0.35

    def x(value: float) -> float:
        return pad + (width - pad) * (value - left) / (right - left)

    def y(value: float) -> float:
        return (height - pad) * (high - value) / (high - low) + 8

    parts = [
        f'<line class="axis" x1="{pad}" y1="{height - pad + 8}" x2="{width}" y2="{height - pad + 8}"/>',
        f'<line class="axis" x1="{pad}" y1="8" x2="{pad}" y2="{height - pad + 8}"/>',
        f'<text x="{(width + pad) / 2}" y="{height - 8}" text-anchor="middle">{unit} (logarithmic)</text>',
        f'<text x="{pad - 6}" y="16" text-anchor="end">{high:.0f}</text>',
        f'<text x="{pad - 6}" y="{height - pad + 8}" text-anchor="end">{low:.0f}</text>',
    ]
    for (value, score, name, kind), size in zip(points, sizes, strict=True):
        label = html.escape(f"{name} {kind} {value:.3g}")
        parts.append(f'<circle cx="{x(size):.1f}" cy="{y(score):.1f}" r="4" fill="var(--accent)"/>')
        # On the side that has room; int8 above and float below, so that neighbors of one model do not overlap.
        below = 18 if kind == "float" else -8
        side = (-7, "end") if x(size) > (width + pad) / 2 else (7, "start")
        parts.append(
            f'<text x="{x(size) + side[0]:.1f}" y="{y(score) + below:.1f}" text-anchor="{side[1]}">{label}</text>'
        )
    return (
        f"<div><h2>Score against {unit}</h2>\n"
        f'<svg role="img" aria-label="score against {unit}" viewBox="0 0 {width} {height}" width="{width}">'
        f"{''.join(parts)}</svg></div>"
    )
