# Every target does its own set-up: a virtual environment, a fast BLAS on Linux CPU, the demo model. No root needed.
#   make test ARGS="-k cache -x"     extra arguments for pytest, the demo or the benchmark
#   make bench WHICH=train           benchmarks/bench_train.py
#   make demo PREFD_EXTRA=cuda       MLX's CUDA backend on Linux instead of the CPU one
#   make test PYTHON=python3.12      the Python to build .venv from
#   make test PROCESSES=2            so many processes of pytest, of about 1 GB each

VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?=
PREFD_EXTRA ?= cpu
ARGS ?=
WHICH ?=
TAG ?=
EXTRAS := $(if $(filter Darwin,$(shell uname -s)),dev,$(PREFD_EXTRA)-dev)
# On a GPU the demo trains what is trained there: a model in half precision.
HALVED := $(if $(filter Darwin cuda cuda13,$(shell uname -s) $(PREFD_EXTRA)),.models/SmolLM2-135M-Instruct-bf16)
INSTALLED := $(VENV)/.installed-$(EXTRAS)
PAGES := README.md $(wildcard docs/*.md)
COG := $(VENV)/bin/cog -I contrib/docs
BENCHMARKS := $(patsubst benchmarks/bench_%.py,%,$(wildcard benchmarks/bench_*.py))
# Two more than the cores, for many tests wait for a daemon or its worker; four at most, for each takes 1 GB.
PROCESSES ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 2 ? cores + 2 : 4)))
PYTEST = $(VENV)/bin/pytest --numprocesses=$(PROCESSES) --dist=worksteal
AS_MAC := $(addprefix tests/daemon/,machine home control inbox queue health commands service runs jobs)
comma := ,
space := $(subst ,, )

.DEFAULT_GOAL := help
.PHONY: help venv blas model page pictures demo check test test-all test-fast test-as-mac coverage lint format docs hooks bench bench-gpu faults release

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | while IFS='	' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

demo: blas model ## train SmolLM2 twice from one reference cache, and show what came of it
	@$(if $(HALVED),$(PY) contrib/smollm2/halve.py --out $(HALVED))
	$(PY) contrib/demo/demo.py $(if $(HALVED),--model $(HALVED)) $(ARGS)

# A run starts some hundred processes of Python: without files of bytecode each would compile what it imports.
test test-all test-fast test-as-mac coverage: export PYTHONDONTWRITEBYTECODE :=

check: lint test ## what a change must pass: lint and the tests

test: blas model page ## run the tests
	$(PYTEST) $(ARGS)

test-all: blas model page ## run the tests, and the thorough ones: whole models, every combination
	$(PYTEST) -m "thorough or not thorough" $(ARGS)

test-fast: blas page ## run the tests that start no daemon and kill no worker
	$(PYTEST) -m "not slow and not thorough" $(ARGS)

test-as-mac: blas ## run the tests of the daemon's own ground in a Mac's surroundings, on Linux
	PYTHONPATH=tests $(PYTEST) -p support.as_macos -m "not slow and not smol and not thorough" $(AS_MAC) $(ARGS)

coverage: blas model page ## run the tests, and list the lines that none of them runs
	$(PYTEST) --cov --cov-report=term-missing:skip-covered $(ARGS)

lint: venv ## ruff, mypy for Linux and macOS, import-linter, change files, the documentation, the page's types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy --platform linux
	$(VENV)/bin/mypy --platform linux benchmarks
	$(VENV)/bin/mypy --platform darwin --cache-dir .mypy_cache/darwin
	$(VENV)/bin/lint-imports
	$(VENV)/bin/towncrier build --draft --version unreleased >/dev/null
	$(COG) --check $(PAGES)
	$(PY) contrib/docs/site.py
	$(PY) contrib/build/make_page.py --check

docs: venv ## write what the code says into README and docs/, and build the site in build/site
	$(COG) -r $(PAGES)
	$(PY) contrib/docs/site.py

format: venv ## put the code into its format, and mend what ruff can mend
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

hooks: venv ## have git run the quick checks before each commit
	$(VENV)/bin/pre-commit install

bench: blas model ## measure; WHICH names one of benchmarks/bench_*.py, such as train, cache or daemon
	@test -f benchmarks/bench_$(WHICH).py || { echo 'make bench WHICH=$(subst $(space),|,$(BENCHMARKS))' >&2; exit 2; }
	@test -d .peers/mlx_lm_lora || $(PY) -m pip install --quiet --no-deps --target .peers mlx-lm-lora==5.10.2
	$(PY) benchmarks/bench_$(WHICH).py $(ARGS)

bench-gpu: model ## measure training on this machine's GPU, in under 8 minutes (PREFD_EXTRA=cuda on Linux); as does bench-train …
	@$(PY) contrib/smollm2/halve.py --out .models/SmolLM2-135M-Instruct-bf16
	@$(MAKE) --no-print-directory bench WHICH=gpu

bench-%:
	@$(MAKE) --no-print-directory bench WHICH=$*

faults: blas ## kill writers, runs and daemons, damage files, fill disks, copy homes, lose ranks: the full count
	$(PY) benchmarks/faults_cache.py $(ARGS)
	$(PY) benchmarks/faults_training.py
	$(PY) benchmarks/faults_daemon.py
	$(PY) benchmarks/faults_homes.py
	$(PY) benchmarks/faults_ranks.py

release: venv ## build sdist and wheel, and try the wheel as pip and uv install it; TAG=1 tags it
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[release]'
	$(PY) contrib/release/release.py $(if $(TAG),--tag)

model: blas ## build the demo model, SmolLM2-135M-Instruct, in .models/
	@$(PY) contrib/smollm2/build.py

page: venv ## build the page that `prefd web` serves, where npm can be had (PREFD_WEB=required: or fail)
	@$(PY) contrib/build/make_page.py

pictures: blas model page ## take the pictures of the page that the documentation shows (some minutes; needs a Chromium)
	$(PY) contrib/pictures/pictures.py $(ARGS)

blas: venv ## put a fast BLAS in .venv (Linux CPU only)
	@$(PY) contrib/blas/install.py

venv: $(INSTALLED) ## make .venv with prefd in it

# The stamp names the extras and is older than a changed pyproject.toml, so that either installs again.
$(INSTALLED): pyproject.toml contrib/setup/venv.sh
	@PYTHON="$(PYTHON)" contrib/setup/venv.sh $(VENV)
	@echo "installing prefd and its dependencies"
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[$(subst -,$(comma),$(EXTRAS))]'
	@rm -f $(VENV)/.installed-*
	@touch $@
