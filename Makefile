# Every target does its own set-up: a virtual environment, a fast BLAS on Linux CPU, the demo model. No root needed.
#   make test ARGS="-k cache -x"     extra arguments for pytest, the demo or the benchmark
#   make demo PREFD_EXTRA=cuda       MLX's CUDA backend on Linux instead of the CPU one
#   make test PYTHON=python3.12      the Python to build .venv from

VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?=
PREFD_EXTRA ?= cpu
ARGS ?=
EXTRAS := $(if $(filter Darwin,$(shell uname -s)),dev,$(PREFD_EXTRA)-dev)
INSTALLED := $(VENV)/.installed-$(EXTRAS)
PAGES := README.md $(wildcard docs/*.md)
COG := $(VENV)/bin/cog -I contrib/docs
comma := ,

.DEFAULT_GOAL := help
.PHONY: help venv blas model demo test lint docs bench-train bench-cache bench-qat bench-daemon faults

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | while IFS='	' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

demo: blas model ## train SmolLM2 twice from one reference cache, and show what came of it
	$(PY) contrib/demo/demo.py $(ARGS)

test: blas model ## run the tests
	$(VENV)/bin/pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal $(ARGS)

lint: venv ## ruff, mypy, import-linter, the documentation
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(COG) --check $(PAGES)
	$(PY) contrib/docs/site.py

docs: venv ## write what the code says into README and docs/, and build the site in build/site
	$(COG) -r $(PAGES)
	$(PY) contrib/docs/site.py

bench-train: blas model ## measure training against a live reference and against mlx-lm-lora
	@test -d .peers/mlx_lm_lora || $(PY) -m pip install --quiet --no-deps --target .peers mlx-lm-lora==5.10.2
	$(PY) benchmarks/bench_train.py $(ARGS)

bench-cache: venv ## measure the reference cache against a raw memory map
	$(PY) benchmarks/bench_cache.py $(ARGS)

bench-daemon: blas ## measure the daemon: from drop to claim, status and jobs, idling
	$(PY) benchmarks/bench_daemon.py $(ARGS)

bench-qat: blas model ## measure quantized policies, trained with and without QAT
	$(PY) benchmarks/bench_qat.py $(ARGS)

faults: blas ## kill writers, runs and daemons, damage files, fill disks: the full count
	$(PY) benchmarks/faults_cache.py $(ARGS)
	$(PY) benchmarks/faults_training.py
	$(PY) benchmarks/faults_daemon.py

model: blas ## build the demo model, SmolLM2-135M-Instruct, in .models/
	@$(PY) contrib/smollm2/build.py

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
