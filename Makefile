# `make` alone lists the targets. `make demo` and `make test` set up what is missing first.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
export ORT_DISABLE_TELEMETRY := 1
# Each of hundreds of processes would compile its modules anew.
unexport PYTHONDONTWRITEBYTECODE
SHELL := bash
.SHELLFLAGS := -o pipefail -ec
.PHONY: help setup demo test test-all test-integrity mutants check docs audit package lock clean

bin := .venv/bin
uv := build/uv/bin/uv
uv_version := 0.13.9
compile := $(uv) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/runtime-is-ready ## make .venv with all that jobs need (PYTHON=... names a Python)
	@:

.venv/runtime-is-ready: setup.sh pyproject.toml requirements.lock
	@./setup.sh

.venv/dev-is-ready: setup.sh pyproject.toml requirements.lock requirements-dev.lock
	@./setup.sh dev

# Java says on each start that it uses incubator modules, and nothing turns it off.
demo: export SENTIMENT_LOG_FORMAT := text
demo: .venv/runtime-is-ready ## score 600 sample reviews with Spark, sum them up, and make the dashboard
	@$(bin)/python -m jobs.demo build/demo 2> >(grep --line-buffered -v 'Using incubator modules' >&2)

# Two workers on two cores, each with a Spark session of its own; a file's tests share one. Threads of either would only
# wait for those of the other.
test test-all: export OMP_NUM_THREADS := 1
workers := -n auto --dist loadfile --no-loadscope-reorder

test: .venv/dev-is-ready ## run the tests, every promise among them, in minutes (ARGS="-k text" for some of them)
	@$(bin)/pytest $(workers) -m "not slow" --hypothesis-profile=fewer $(ARGS)

test-all: .venv/dev-is-ready ## run all tests, the slow ones too (ARGS="-k text" for some of them)
	@$(bin)/pytest $(workers) $(ARGS)

test-integrity: .venv/dev-is-ready ## check data integrity on thousands of damaged files, models and texts
	@$(bin)/pytest -m integrity --full --timeout=0 $(ARGS)

mutants: .venv/dev-is-ready ## check that the tests notice deliberate faults (ARGS="--all --only text")
	@$(bin)/python -m tests.support.mutants $(ARGS)

check: .venv/dev-is-ready ## check lint, format, types and import rules
	@failed=0; for tool in "ruff check" "ruff format --check" mypy "lint-imports --no-logo"; do \
	  $(bin)/$$tool || failed=1; done; exit $$failed

docs: .venv/dev-is-ready ## write the pages and SQL files that are made from code
	@$(bin)/python -m tools.reference

audit: .venv/dev-is-ready ## look for known faults in packages (ARGS=--require-advisories fails without a service)
	@$(bin)/python -m tools.audit $(ARGS)

package: .venv/dev-is-ready ## build dist/: the wheel, and the environment that executors unpack
	@rm -rf build/lib build/bdist.* dist/unverified && mkdir -p dist/unverified && rm -f dist/*.whl
	@$(bin)/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir dist .
	@$(bin)/python -m tools.packaging.pack_environment dist/*.whl dist/unverified/environment.tar.gz
	@$(bin)/python -m tools.packaging.verify_environment dist/unverified/environment.tar.gz
	@$(bin)/python -m tools.packaging.verify_wheel dist/*.whl
	@mv dist/unverified/* dist && rmdir dist/unverified

# In a place of its own, so that it also mends locks that cannot be installed. For every platform: markers keep MXNet
# away from where it has no wheel. Pins stay as they are unless ARGS say otherwise.
lock: $(uv) ## resolve pyproject.toml into the lock files (ARGS=--upgrade for the newest versions)
	@$(compile) pyproject.toml --extra page --extra training --group build --output-file requirements.lock $(ARGS)
	@$(compile) --group dev --group package --group audit --constraint requirements.lock --output-file requirements-dev.lock $(ARGS)

$(uv): Makefile
	@python3 -m venv build/uv
	@build/uv/bin/pip install --quiet uv==$(uv_version)
	@touch $@

clean: ## remove all that these targets made
	@rm -rf .venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache ./*.egg-info \
	  spark-warehouse metastore_db derby.log
	@find jobs sentiment_core tests tools -name __pycache__ -prune -exec rm -rf {} +

include tools/bench.mk tools/bundled_model.mk tools/faults.mk
