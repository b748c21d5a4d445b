# Start with `make demo`, `make check` and `make test`. They need only Python 3.11 or newer and make.
# Everything they install goes into .venv.

# The interpreter for .venv. Default: the first on PATH that is new enough.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
# Where pip finds torch's CPU build if its configured sources have none.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# The uv that resolves requirements/*.in.
UV ?= uv
# Extra arguments for `make serve`, the tests and the benches, such as ARGS="-k schema".
ARGS ?=
# How many processes run the unit tests.
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
INSTALL := scripts/install.sh
# A stamp records a finished step. The step runs again when one of its prerequisites changes.
MADE := $(VENV)/.made

export PATH := $(CURDIR)/$(BIN):$(PATH)
export TORCH_INDEX

# Unit tests run in parallel. Engine and end-to-end tests run one at a time: an engine uses every core.
PARALLEL := -n $(WORKERS)
# ARGS may select tests of one tier only; pytest ends with 5 where it selected none.
NONE_SELECTED := [ $$? -eq 5 ]

.PHONY: help setup setup-dev setup-bench demo check test soak fuzz hostile serve lint proto format
.PHONY: release-descriptor requirements check-versions check-vllm clean distclean bench bench-full bench-replay
.PHONY: gpu-report bench-schemas bench-schemas-generate bench-schemas-suite bench-generation bench-reliability
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@echo 'make demo          start the server on a real model, generate, print the results, stop'
	@echo 'make check         lint, types, contract and unit tests: six minutes'
	@echo 'make test          all tests except soak: half an hour and more (ARGS="-k schema" selects)'
	@echo 'make soak          the tests that take many minutes each'
	@echo 'make fuzz          send the server random and damaged input (INPUTS=10000 SEED=)'
	@echo 'make lint          check code, types, contract, generated code and Dockerfile'
	@echo 'make format        format code and contract'
	@echo 'make serve         run the server (ARGS="--port 50051")'
	@echo 'make proto         generate the Python code of the contract'
	@echo 'make release-descriptor  write the descriptor that later changes are compared with'
	@echo 'make requirements  resolve requirements/*.in (needs uv)'
	@echo 'make check-versions  unit tests with the lowest and the newest versions allowed (needs uv)'
	@echo 'make check-vllm VERSION=0.33.0  compare what genir uses of vLLM with a version of it'
	@echo 'make setup         install what demo and serve need; setup-dev adds tests and lint'
	@echo 'make clean         remove caches and build outputs; distclean also removes .venv'
	@echo
	@echo 'Benchmarks'
	@echo 'make bench OUT=file.json         all comparisons, one hour; bench-full: over two hours'
	@echo 'make bench-replay                the gRPC front end alone, with recorded streams'
	@echo 'make bench-generation            100 prompts per backend: success, latency, outcomes'
	@echo 'make bench-reliability           overload, engine loss and drain'
	@echo 'make bench-schemas DATA=folder OUT=file  how genir and vLLM enforce public schemas'
	@echo 'make bench-schemas-generate DATA=folder OUT=file  generate with some of those schemas'
	@echo 'make bench-schemas-suite TESTS=folder OUT=file  the same with JSON-Schema-Test-Suite'
	@echo 'make gpu-report MODEL=name OUT=file.md  a report on a model on this machine, to send in'
	@echo 'make hostile OUT=file            hostile schemas against a server under normal load'

setup: $(MADE)-project
setup-dev: setup $(MADE)-dev
setup-bench: setup $(MADE)-bench

demo: setup
	@$(BIN)/python scripts/demo.py

check: lint
	@$(BIN)/python -m pytest $(PARALLEL) -m unit $(ARGS)

test: setup-dev
	@$(BIN)/python -m pytest $(PARALLEL) -m unit $(ARGS) || $(NONE_SELECTED)
	@$(BIN)/python -m pytest -m "engine or e2e" $(ARGS) || $(NONE_SELECTED)

# The number of inputs, and a seed that repeats an earlier run.
INPUTS ?= 10000
SEED ?=
soak: setup-dev
	@$(BIN)/python -m pytest -m soak $(ARGS)

fuzz: setup-dev
	@GENIR_FUZZ_INPUTS="$(INPUTS)" GENIR_FUZZ_SEED="$(SEED)" $(BIN)/python -m pytest -s \
		--timeout 7200 tests/e2e/test_fuzz.py $(ARGS)

serve: setup
	@exec $(BIN)/genir serve $(ARGS)

lint: setup-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	scripts/check_breaking.sh
	$(BIN)/python scripts/generate_stubs.py --check
	$(BIN)/hadolint Dockerfile

format: setup-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/buf format --write

proto: setup-dev
	$(BIN)/python scripts/generate_stubs.py

release-descriptor: setup-dev
	scripts/release_descriptor.sh

# The public schemas' folder and the file for the result.
DATA ?=
OUT ?= $@.json
# The tests of one draft in JSON-Schema-Test-Suite.
TESTS ?=
bench-schemas: setup
	@test -n "$(DATA)" || { echo 'make $@ DATA=folder OUT=file.json'; exit 2; }
	@$(BIN)/python -m bench.schemas "$(DATA)" "$(OUT)" $(ARGS)

bench-schemas-generate: setup
	@test -n "$(DATA)" || { echo 'make $@ DATA=folder OUT=file.json'; exit 2; }
	@$(BIN)/python -m bench.schemas.generate "$(DATA)" "$(OUT)" $(ARGS)

bench-schemas-suite: setup
	@test -n "$(TESTS)" || { echo 'make $@ TESTS=folder OUT=file.json'; exit 2; }
	@$(BIN)/python -m bench.schemas.suite "$(TESTS)" "$(OUT)" $(ARGS)

# For figures to publish, on a machine with nothing else to do. PLOTS names a folder for pictures.
PLOTS ?= docs/performance
bench: setup-bench
	@$(BIN)/python -m bench.performance --scope short --out "$(OUT)" \
		--plots "$(PLOTS)" $(ARGS)

bench-full: setup-bench
	@$(BIN)/python -m bench.performance --scope full --out "$(OUT)" \
		--plots "$(PLOTS)" $(ARGS)

bench-replay: setup
	@$(BIN)/python -m bench.performance.replay $(ARGS)

bench-generation: setup
	@$(BIN)/python -m bench.generation $(ARGS)

hostile: OUT = hostile.json
hostile: setup-dev
	@PYTHONPATH=clients/python:service $(BIN)/python -m bench.hostile --out "$(OUT)" $(ARGS)

bench-reliability: setup-dev
	@PYTHONPATH=clients/python:service:. $(BIN)/python -m bench.reliability $(ARGS)

# Without MODEL it runs the embedded model. REPORT_PYTHON is the Python of an environment with
# genir[gpu]; see docs/gpu.md. ARGS="--engine-args tensor_parallel_size=4" and others: --help.
MODEL ?=
REPORT_PYTHON ?= $(BIN)/python
gpu-report: OUT = gpu-report.md
gpu-report: $(if $(filter $(BIN)/python,$(REPORT_PYTHON)),setup-dev)
	@PYTHONPATH=clients/python:service:. $(REPORT_PYTHON) -m bench.gpu_report --out "$(OUT)" \
		$(if $(MODEL),--model "$(MODEL)") $(ARGS)

requirements:
	UV="$(UV)" requirements/compile.sh

# SETS="client newest" selects; see the script.
SETS ?=
check-versions:
	UV="$(UV)" PYTHON="$(PYTHON)" scripts/check_versions.sh $(SETS)

# Downloads vLLM's wheel for CUDA, some 330 MB, and keeps its sources in build/.
VERSION ?=
check-vllm: setup
	@test -n "$(VERSION)" || { echo 'make $@ VERSION=0.33.0'; exit 2; }
	@PYTHONPATH=. $(BIN)/python scripts/check_vllm.py "$(VERSION)"

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find bench clients service tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

$(MADE)-venv:
	@$(INSTALL) venv "$(PYTHON)" $(VENV)
	@touch $@

$(MADE)-torch: $(MADE)-venv
	@$(INSTALL) torch $(VENV)
	@touch $@

$(MADE)-cpu: requirements/cpu.txt $(MADE)-torch
	@$(INSTALL) requirements $(VENV) requirements/cpu.txt
	@touch $@

$(MADE)-dev: requirements/dev.txt $(MADE)-cpu
	@$(INSTALL) requirements $(VENV) requirements/dev.txt
	@touch $@

$(MADE)-bench: requirements/bench.txt $(MADE)-cpu
	@$(INSTALL) requirements $(VENV) requirements/bench.txt
	@touch $@

$(MADE)-project: pyproject.toml $(MADE)-cpu
	@$(INSTALL) project $(VENV)
	@touch $@
