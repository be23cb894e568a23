# Every target first brings .venv/ up to date with pyproject.toml; nothing but make and Python 3.11+ is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.up-to-date
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
TYPED := $(wildcard scaler_trio protocol/scaler_protocol tui/scaler_tui benchmarks examples/*.py)
ARGS ?=

.PHONY: help demo test check format bench profile clean

help:
	@echo "make demo      run a real job through real services"
	@echo "make test      run the tests             (ARGS='-k name' is passed to pytest)"
	@echo "make check     formatting, lint, types"
	@echo "make format    apply formatting and safe lint fixes"
	@echo "make bench     run the benchmarks        (ARGS is passed on)"
	@echo "make profile   show where the time goes  (ARGS is passed on)"
	@echo "make clean     remove everything that was built"

demo: $(STAMP)
	@$(BIN)/python examples/stdlib_census.py $(ARGS)

test: $(STAMP)
	@$(BIN)/python -m pytest $(ARGS)

check: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy $(TYPED)

format: $(STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP)
	@$(BIN)/python -m benchmarks $(ARGS)

profile: $(STAMP)
	@$(BIN)/python -m benchmarks.profile $(ARGS)

# pip learned dependency groups in 25.1, and the pip that a fresh venv brings may be older.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "scaler-trio needs Python 3.11 or newer, but '$(PYTHON)' is:" \
			"$$($(PYTHON) --version 2>&1 || true)" >&2; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		echo "Creating $(VENV) ..."; $(PYTHON) -m venv --clear $(VENV); } || { \
		rm -rf $(VENV); echo "'$(PYTHON) -m venv' failed; Debian and Ubuntu need the package python3-venv." >&2; exit 1; }
	@echo "Installing scaler-trio and its development tools into $(VENV) ..."
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --editable . --group dev
	@$(BIN)/python -m compileall -q scaler_trio protocol  # as pip does for what is not editable: it halves every start
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage .coverage.* htmlcov
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
