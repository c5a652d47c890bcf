# sifigan-triton: `make demo` and `make test` set up whatever they need. `make` alone lists the targets.

# What the last `make build` chose; a VOICE or BUILD_ARGS of the command line comes first.
-include build/choice.mk

PYTHON ?= python3
DEMO_VOICE := voices/demo
VOICE ?= $(DEMO_VOICE)
FULL_SIZE := voices/random
BUILD_ARGS ?=
SERVE_ARGS ?=
PERF_ARGS ?=
BENCH_ARGS ?=
STUDY_ARGS ?=
TEST_ARGS ?=
IMAGE_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# One more than CI has cores: many tests wait for a server to start or to stop.
WORKERS := 3
TYPED := preprocess postprocess sifigan_triton build_engines.py tools/audit.py tools/make_sbom.py tools/train_demo_voice

.DEFAULT_GOAL := help
.PHONY: help check setup voice build demo serve perf bench study test test-fast lint image audit sbom format lock clean
.NOTPARALLEL:

help: ## List the targets
	@echo "sifigan-triton: acoustic features of any length to a waveform with one call to NVIDIA Triton"
	@echo
	@echo "Usage: make TARGET [NAME=value]. The first run makes a virtual environment in $(VENV) and installs"
	@echo "requirements.lock there (wheels only, no compiler); later runs reuse it."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Names: VOICE=$(VOICE) (a voice's folder)  PYTHON=$(PYTHON) (3.11, or 3.12 untested)"
	@echo "       BUILD_ARGS, SERVE_ARGS, PERF_ARGS, BENCH_ARGS, STUDY_ARGS, TEST_ARGS: passed on; make test TEST_ARGS=tests/network"
	@echo "       VOICE and BUILD_ARGS are remembered: make build VOICE=$(DEMO_VOICE) BUILD_ARGS= goes back to the default"

check: ## Say whether this machine can run the project, installing nothing
	@tools/check_machine.sh $(PYTHON)
	@echo "this machine can run the project"

setup: $(VENV)/.installed ## Make the virtual environment

$(VENV)/.packages: requirements.lock requirements-nodeps.lock
	@tools/check_machine.sh $(PYTHON)
	@echo "== installing requirements.lock into $(VENV) (once; some minutes, about 2 GB)"
	@$(PYTHON) -m venv $(VENV)
	@tools/install_packages.sh $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.packages pyproject.toml setup.py
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

voice: $(FULL_SIZE)/voice.json ## Make voices/random: full size, random weights, for measurements of speed

$(FULL_SIZE)/voice.json: | $(VENV)/.installed
	@echo "== making the voice $(FULL_SIZE): full size, seeded random weights"
	$(BIN)/sifigan-triton random-voice --output $(FULL_SIZE)

%/voice.json:
	@echo "there is no voice in $*: make one with \`sifigan-triton import\`, or go back: make build VOICE=$(DEMO_VOICE)" >&2; exit 1

# The values pass to the shell by its environment, whatever quotes they hold; `$` and `#` mean something to make.
build: export CHOSEN_VOICE = $(VOICE)
build: export CHOSEN_ARGS = $(BUILD_ARGS)
build: $(VENV)/.installed $(VOICE)/voice.json ## Build the engines and the model repository, where they are out of date
	@if [ "$$CHOSEN_VOICE$$CHOSEN_ARGS" != $(DEMO_VOICE) ]; then \
		printf '== voice %s %s (remembered; back with: make build VOICE=$(DEMO_VOICE) BUILD_ARGS=)\n' "$$CHOSEN_VOICE" "$$CHOSEN_ARGS"; fi
	@$(BIN)/sifigan-triton build --voice $(VOICE) $(BUILD_ARGS)
	@mkdir -p build
	@printf 'VOICE ?= %s\nBUILD_ARGS ?= %s\n' "$$CHOSEN_VOICE" "$$CHOSEN_ARGS" | sed -e 's/\$$/$$$$/g' -e 's/#/\\#/g' > build/choice.mk

demo: build ## Resynthesise a real recording through Triton: out/*.wav, out/*.png and a table of times
	@$(BIN)/sifigan-triton demo

serve: build ## Keep a server up on ports 8000 (HTTP), 8001 (gRPC), 8002 (metrics) until Ctrl-C
	@$(BIN)/sifigan-triton serve $(SERVE_ARGS)

perf: build ## Measure the ensemble with NVIDIA's perf_analyzer over HTTP and gRPC
	$(BIN)/sifigan-triton benchmark measurement_data/short.json measurement_data/frames-627.json --model sifigan \
		--concurrency 1 2 4 --protocol http grpc -o build/perf $(PERF_ARGS)

bench: build ## Measure ensembles beside their bare engines over lengths, loads and protocols
	$(BIN)/sifigan-triton benchmark $(BENCH_ARGS)

study: $(VENV)/.installed $(FULL_SIZE)/voice.json ## Repeat the performance study with every engine of this machine, full size: docs/notes/performance.md
	$(BIN)/python -m benchmarks.study --voice $(FULL_SIZE) $(STUDY_ARGS)

# One thread a worker: threads of two workers on two cores wait for one another, and OpenMP's burn the processor as they do.
test test-fast: export OMP_NUM_THREADS ?= 1

test: $(VENV)/.installed ## Run all tests, those against a real Triton server included (some 12 minutes on 2 cores)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(TEST_ARGS)

test-fast: $(VENV)/.installed ## Run the tests that need no server, but for a few slow ones (under two minutes on 2 cores)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not server and not slow" $(TEST_ARGS)

lint: $(VENV)/.installed ## Check style (ruff) and types (mypy --strict)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(TYPED)

image: $(VENV)/.installed ## Build the image for the CPU and try it: Docker or podman, IMAGE_ARGS=--stand-in where no registry is reached
	$(BIN)/python -m benchmarks.image $(IMAGE_ARGS)

audit: $(VENV)/.installed ## Report known vulnerabilities of the pinned packages; stops nothing
	@$(BIN)/python tools/audit.py --output build/audit.json

sbom: $(VENV)/.installed ## List the pinned packages in build/sbom.json (CycloneDX)
	@$(BIN)/python tools/make_sbom.py build/sbom.json

format: $(VENV)/.installed ## Format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# torch's CUDA packages are left to torch's own pins, so that one lock serves the CPU and the CUDA build of the same torch.
lock: $(VENV)/.installed ## Resolve the dependencies of pyproject.toml into requirements.lock
	$(BIN)/uv pip compile --quiet --python-version 3.11 --no-header --no-annotate --only-binary :all: --upgrade \
		--no-emit-index-url --no-emit-find-links --no-emit-package sifigan-triton --all-extras \
		-o $(VENV)/resolved.txt pyproject.toml
	{ echo "# Made by \`make lock\` from pyproject.toml, which says why each is there."; \
		sed -E -e '/^(nvidia-|cuda-|triton==)/{/^nvidia-pytriton==/!d;}' -e 's/\+[a-z0-9.]+$$//' $(VENV)/resolved.txt; \
	} > requirements.lock

clean: ## Remove what was set up and built; recordings, voices made by import and out/ stay
	rm -rf $(VENV) build *.egg-info $(FULL_SIZE) model_repository/*/1 .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
