"""The section "Try it": a model inside the report's page, which LiteRT.js runs in the browser on what is typed.

The modules are those of tflite/web. They are in the page's import map as data: addresses, since a page that is opened from the
disk may not import files; model and runtime are gzip in base64 inside of script elements that no browser runs.
"""

import base64
import dataclasses
import gzip
import html
import json
import os
import re
import zipfile
from pathlib import Path

from tinybert_tf.errors import InputError

# Where tflite/web is, for a wheel, which does not carry it.
_FOLDER_VARIABLE = "TINYBERT_WEB"
_CHECKOUT = Path(__file__).resolve().parents[2] / "tflite" / "web"
_STYLE, _ENTRY = "fields.css", "report.js"
_MODULES = (_ENTRY, "fields.js", "text_model.js", "model_file.js", "tokenizer.js")
# Addresses of the modules in the import map; a relative one has no meaning in a data: address.
_PREFIX = "tinybert/"
_PACKAGES = {
    "@litertjs/core": "node_modules/@litertjs/core/dist/index.js",
    "@litertjs/wasm-utils": "node_modules/@litertjs/wasm-utils/dist/index.js",
}
# The build for all browsers. The other one, for relaxed SIMD, would make the page 4 MB larger.
_LOADER, _BINARY = (f"node_modules/@litertjs/core/wasm/litert_wasm_compat_internal.{kind}" for kind in ("js", "wasm"))

# Base64 of more is longer than a text can be in Chromium, 2**29 - 24 characters.
_MOST_BYTES = 400_000_000
_INPUTS = (b"input_word_ids", b"input_mask", b"input_type_ids")

# Nothing is loaded from anywhere, whatever the scripts inside might do.
_POLICY = "default-src data: blob: 'unsafe-inline' 'wasm-unsafe-eval'"
# The names of the colors in fields.css.
_COLORS = """
.fields { --faint: var(--soft); --card: var(--panel); --wrong: light-dark(#b3261e, #ff8a80); max-width: 48rem; }
@media print { .fields { display: none; } }
"""
_SECTION = """<section class="fields">
<h2>Try it</h2>
<p><code>{name}</code> is inside this page and runs in it, with LiteRT.js (Apache License 2.0). What is typed stays here.</p>
<p id="about" class="note" role="status">Loading …</p>
<label for="first">Text</label>
<textarea id="first" rows="3"></textarea>
<div id="pair"><label for="second">Second text (optional)</label>
<textarea id="second" rows="3"></textarea></div>
<div id="result" aria-live="polite"></div>
<p id="time" class="note"></p>
</section>"""


@dataclasses.dataclass(frozen=True)
class LiveModel:
    """The parts of a page that runs a model.

    Attributes:
        head: for the `<head>`, before everything that could load something.
        section: the section itself.
        scripts: for the end of the `<body>`, so that megabytes do not delay what is seen.
    """

    head: str
    section: str
    scripts: str


def live_model(path: str | Path) -> LiveModel:
    """Reads a model, the modules of tflite/web and the runtime.

    Args:
        path: a file of tflite/convert.py, of any head, without `text_input`.

    Returns:
        The parts of a page in which it runs; 4 MB more than four thirds of the packed model.

    Raises:
        InputError: not such a file, one that is too large for a page, or the runtime is missing.
    """
    path = Path(path)
    model = _read_model(path)
    folder = Path(os.environ.get(_FOLDER_VARIABLE) or _CHECKOUT)
    files = {name: _read(folder, name) for name in (*_MODULES, *_PACKAGES.values(), _LOADER, _BINARY, _STYLE)}
    modules = {f"{_PREFIX}{name}": files[name] for name in _MODULES}
    modules |= {name: files[file] for name, file in _PACKAGES.items()}
    imports = {"imports": {name: _module_address(source) for name, source in modules.items()}}
    scripts = [
        _data("live-model", model),
        _data("live-loader", files[_LOADER]),
        _data("live-binary", files[_BINARY]),
        f'<script type="importmap">{json.dumps(imports)}</script>',
        f'<script type="module">import "{_PREFIX}{_ENTRY}";</script>',
    ]
    return LiveModel(
        head=f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<style>{_COLORS}{files[_STYLE].decode()}</style>\n",
        section=_SECTION.format(name=html.escape(path.name)),
        scripts="\n".join(scripts),
    )


def _read_model(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"{path}: no such file; tflite/convert.py writes one")
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(
            f"{path}: {path.stat().st_size / 1e6:.0f} MB, and a page can hold {_MOST_BYTES / 1e6:.0f}; quantize it or take "
            "a smaller one"
        )
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise InputError(f"{path}: not a TFLite file; tflite/convert.py makes one from a model directory")
    if any(name not in content for name in _INPUTS) or not _has_vocabulary(path):
        raise InputError(
            f"{path}: takes no word pieces or holds no vocabulary; tflite/convert.py without `text_input` writes files that do"
        )
    return content


def _has_vocabulary(path: Path) -> bool:
    """The files beside the network are a zip archive behind its last byte."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "vocab.txt" in archive.namelist()
    except zipfile.BadZipFile:
        return False


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError:
        raise InputError(
            f"{folder / name}: missing, and `live` puts it into the page; `make web` in a checkout of the project gets it, and "
            f"{_FOLDER_VARIABLE}=CHECKOUT/tflite/web says where an installed wheel finds it"
        ) from None


def _module_address(source: bytes) -> str:
    text = re.sub(r'(from|import) "\./', rf'\1 "{_PREFIX}', source.decode())
    return f"data:text/javascript;base64,{base64.b64encode(text.encode()).decode('ascii')}"


def _data(name: str, content: bytes) -> str:
    # mtime: the same report again is the same file.
    packed = base64.b64encode(gzip.compress(content, mtime=0)).decode("ascii")
    return f'<script type="application/gzip" id="{name}">{packed}</script>'
