# Every target makes .venv itself where it is missing or older than what it is made from.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
TORCH := .venv/.torch
# Installing compiles nothing to bytecode; what is imported is, once. Where a machine forbids it, every start of
# a command takes twice as long.
export PYTHONDONTWRITEBYTECODE :=
# What only the long tests need; torch is the CPU build where the index has one.
SLOW := "wandb==0.31.0" "peft==0.21.2" "nbclient==0.11.0" "ipykernel==7.4.0"
RECIPE ?= recipes/tiny.yaml

.PHONY: run test test-full check format bench chaos endurance lock clean

run: $(READY)
	$(BIN)/everystep run $(RECIPE)

test: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

# The long ones too: whole runs, kills, several devices, and those that compare with torch.
test-full: test $(TORCH)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m slow

# A whole run, ended by force at random moments; must come to the same end each time.
chaos: $(READY)
	$(BIN)/python tests/chaos.py --kills 20

check: $(READY)
	$(BIN)/ruff check src tests bench docs
	$(BIN)/ruff format --check src tests bench docs
	$(BIN)/pyright
	$(BIN)/python -m pytest -q tests/test_layers.py

# Side by side with other libraries: those that want torch have an environment of their own.
PEERS := build/trl/.ready
$(PEERS): bench/contenders/requirements-trl.txt
	$(PYTHON) -m venv build/trl
	build/trl/bin/python -m pip install --quiet --no-compile -r bench/contenders/requirements-trl.txt
	touch $(PEERS)

runs/tiny/evaluate/summary.json:
	$(MAKE) run

bench: $(READY) $(PEERS) runs/tiny/evaluate/summary.json
	@for script in bench/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

format: $(READY)
	$(BIN)/ruff check --fix src tests bench docs
	$(BIN)/ruff format src tests bench docs

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $(READY)

$(TORCH): $(READY)
	$(BIN)/python -m pip install --quiet --no-compile "torch==2.13.0" $(SLOW)
	touch $(TORCH)

# Needs pip-tools in its own environment: changing a pin is rare and deliberate.
lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet pip-tools
	build/lock/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    --extra judge --extra symbolic --extra play --extra film --extra test -o requirements.lock pyproject.toml

# Thousands of small GRPO steps: does a run hold more memory, files or disk with every one?
endurance: $(READY)
	$(BIN)/python tests/endurance.py --steps 2000

clean:
	rm -rf build dist src/*.egg-info .pytest_cache .ruff_cache .hypothesis
