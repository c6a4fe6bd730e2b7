# Finds uv, or puts one into .uv/; uv builds .venv from uv.lock. Extra arguments: make lab ARGS="--no-browser --port 8899"
UV := $(shell command -v uv)
ifeq ($(UV),)
UV := .uv/bin/uv
BOOT := $(UV)
endif
# Without .pyc files every kernel compiles torch anew.
unexport PYTHONDONTWRITEBYTECODE
# The chapters' tensors are small: more threads would only wait for each other on busy cores.
export OMP_NUM_THREADS ?= 1
# glibc gives blocks of this size back to the system at once and fetches zeroed pages for the next: keep them.
export MALLOC_MMAP_THRESHOLD_ ?= 33554432
export MALLOC_TRIM_THRESHOLD_ ?= 1000000000

# On a GPU float32 means float32, in convolutions and recurrent layers too: chapters print the same everywhere.
export NVIDIA_TF32_OVERRIDE ?= 0

.DEFAULT_GOAL := help
.PHONY: help lab test book matrix margins mutants notebooks experiments bench strangers lint update clean

help: ## this list
	@grep -E '^[a-z]+: .*##' Makefile | sed -E 's/: .*## /\t/' | expand -t 12

lab: $(BOOT) ## open the course in JupyterLab
	$(UV) run jupyter lab --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(ARGS)

test: $(BOOT) ## run all tests, every cell of every chapter among them
	$(UV) run pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

book: $(BOOT) ## build the website from what is stored, into dist/book
	$(UV) run python -m book $(ARGS)

matrix: $(BOOT) ## run what calculates on every processor that this machine can be; ARGS="avx2/1 notebooks" chooses
	$(UV) run python tests/matrix.py $(ARGS)

margins: $(BOOT) ## tell which printed numbers of the chapters another processor would round to the other side
	$(UV) run python tests/margins.py $(ARGS)

mutants: $(BOOT) ## change the package 200 times at random and ask whether a test notices; ARGS="--only d2lstab/floats" chooses
	$(UV) run --group mutants python -m tests.mutants $(ARGS)

notebooks: $(BOOT) ## execute the chapters and store their outputs; ARGS names some of them
	$(UV) run python tests/execute_notebooks.py $(ARGS)

experiments: $(BOOT) ## calculate what is stored in experiments/; ARGS="optimizers tiny" chooses one, and rows of it
	$(UV) run python -m experiments $(ARGS)

bench: $(BOOT) ## print what the package costs, in one table of ratios, and how often it predicts training; ARGS="--store" keeps the table for the site
	$(UV) run --group bench python -m benchmarks $(ARGS)
	$(UV) run python -m benchmarks.trainability

strangers: $(BOOT) ## diagnose, repair and watch some 250 models that others wrote; ARGS="keras LSTM" chooses by name
	$(UV) run --group strangers python -m benchmarks.strangers $(ARGS)

lint: $(BOOT) ## check the style and the types of the code
	$(UV) run ruff check
	$(UV) run ruff format --check
	$(UV) run basedpyright

update: $(BOOT) ## put the newest releases of all dependencies into uv.lock
	$(UV) lock --upgrade

clean: ## remove the environments and everything that was built
	rm -rf .venv .venv-* .uv .cache dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
