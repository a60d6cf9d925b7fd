# Every target works from a bare clone: each starts by making .venv.
PYTHON ?= python3.11
BIN := .venv/bin
SHARED ?= ../shared/data
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: findings measured bench-orderings install docs figures messages package demo test check format bench-sim bench-real bench-simulator bench-prepare bench-binning bench-kill bench-fuzz bench-stream bench-causal soak bench-train bench-cache bench-scaling bench-loading screenshots notebooks

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
	@echo 'next: $(BIN)/spikefield init FOLDER  # the folder of your recordings; or make demo'

demo: install
	$(BIN)/spikefield demo --out demo

test: install
	$(BIN)/python -m pytest -n auto

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The site, from pages and docstrings, into site/index.html; it needs no network, and a warning is an error.
docs: install
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -d site/.doctrees docs site

# The drawings of the pages on concepts.
figures: install
	$(BIN)/python docs/draw.py docs/figures

# docs/messages.md: every error and warning, read from the source; a test says when it is to be made again.
messages: install
	$(BIN)/python docs/messages.py

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell src tests docs examples benchmarks README.md CHANGELOG.md CONTRIBUTING.md
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(MAKE) test

# Wheel and source archive, tried in empty environments with the newest and the oldest dependencies: many minutes.
package: install
	.ci/package

# Three seeds on the simulator: about a quarter of an hour on two cores.
bench-sim: install
	$(BIN)/spikefield demo --out out/bench-sim --seeds 0 1 2
	$(BIN)/python benchmarks/summary.py out/bench-sim/experiment

# Real recordings, three seeds: two and a half minutes on two cores for the rat on the track, most of an hour for all.
bench-real: install
	$(BIN)/python benchmarks/real.py $(SHARED) --out out/bench-real

# The tutorials as notebooks, without outputs: out/notebooks.
notebooks: install
	mkdir -p out/notebooks
	for name in $(basename $(notdir $(wildcard examples/tutorials/*.py))); do \
	  $(BIN)/jupytext --quiet --to ipynb --output out/notebooks/$$name.ipynb examples/tutorials/$$name.py || exit 1; done

# What a browser shows of the pages, at a desk and on a phone, light and dark: out/screenshots. Needs chromium-driver.
screenshots: install
	SCREENSHOTS=out/screenshots $(BIN)/python -m pytest tests/report/test_browser.py

bench-simulator: install
	$(BIN)/python benchmarks/simulator.py

bench-prepare: install
	$(BIN)/python benchmarks/prepare.py

bench-binning: install
	$(BIN)/python benchmarks/binning.py

# Fifty kills of a pretrain + distil run, then five of two processes at once: about eight minutes.
bench-kill: install
	$(BIN)/python benchmarks/kill.py
	$(BIN)/python benchmarks/kill_processes.py

# Spoilt artifacts, checkpoints and configs: about five minutes.
bench-fuzz: install
	$(BIN)/python benchmarks/fuzz.py

# One live bin, from raw samples to behaviour, on one thread: about two minutes.
bench-stream: install
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/streaming.py

# What a student loses that sees no future: simulator and rat, three seeds. The teachers of bench-sim and bench-real,
# where they are, save their training; about half an hour on two cores.
bench-causal: install
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/causality.py $(SHARED) --out out/bench-causal

# Thirty minutes of samples with drops, jitter and NaN bursts, at 20 times their speed: a minute and a half.
soak: install
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/soak.py

# Training steps beside the published design's, on CPU and CUDA: ten minutes; then both designs' R², three seeds: half an
# hour more on two cores, and as much again without what bench-sim and bench-real left.
bench-train: install
	$(BIN)/python benchmarks/training.py $(SHARED) --out out/bench-train

bench-cache: install
	$(BIN)/python benchmarks/teacher_cache.py

bench-scaling: install
	$(BIN)/python benchmarks/scaling.py

bench-loading: install
	$(BIN)/python benchmarks/loading.py

# What the paper left open: nine series on simulated recordings, seven on the rat, three seeds. It first prints how long
# each takes; `.venv/bin/python benchmarks/findings.py ../shared/data --out out/findings --plan` prints that alone.
findings: install
	$(BIN)/python benchmarks/findings.py $(SHARED) --out out/findings

# Pages of docs/measured from whatever series are finished.
measured: install
	$(BIN)/python benchmarks/measured.py out/findings/*-simulator out/findings/*-rat

# Every ordering that the paper reports, on 12 simulated sessions, three seeds: about 40 minutes on two cores.
bench-orderings: install
	$(BIN)/python benchmarks/orderings.py --out out/bench-orderings
