# The only door: `make` alone lists what can be done.
# Needs Python 3.11 or newer, git and make; everything else is fetched into this folder.
# ARGS= goes on to the command behind a target: make demo ARGS=--exit, make test ARGS="-k tail -x"

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

ARGS ?=
VENV := .venv
VENV_SWIFT := .venv-swift
PY := $(VENV)/bin/python
MANAGE := $(PY) manage.py
NODE := $(PY) tools/bootstrap.py node $(VENV)
export PYTHONUNBUFFERED := 1
# redis-server for the embedded stack, where PATH has none; read by manage.py up too
REDIS_FOLDER := .redis

# Stamps: a step runs again only when what it was made from is newer.
TOOLS := $(VENV)/.stamp
SWIFT := $(VENV_SWIFT)/.stamp
PACKAGES := node_modules/.stamp
FRONT_END := static/dist/.stamp
REDIS := $(REDIS_FOLDER)/.stamp
# Templates and Python too: they name the classes whose rules stay in the style sheets.
FRONT_END_SOURCES := $(wildcard static/src/* static/js/* static/js/*/* static/css/*) tools/build_frontend.mjs \
	$(shell find templates loraforge -name '*.html' -o -name '*.py')
TRANSLATIONS := $(patsubst %.po,%.mo,$(wildcard locale/*/LC_MESSAGES/*.po))

# A recipe's first word: the first Python of 3.11 or newer. PYTHON=/path/to/python picks another.
define FIND_PYTHON
python=""; \
for one in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if command -v "$$one" >/dev/null && \
		"$$one" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		python="$$one"; break; \
	fi; \
done; \
if [ -z "$$python" ]; then \
	echo "LoRAForge needs Python 3.11 or newer, and none was found." >&2; \
	echo "Remedy: install it (Debian 12: apt install python3 python3-venv), or name it:" >&2; \
	echo "        make setup PYTHON=/path/to/python3.11" >&2; \
	exit 1; \
fi
endef

.PHONY: help
help: ## this list
	@echo "make TARGET [ARGS=...]"
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

##  Setting up

.PHONY: setup setup-tools
setup: setup-tools $(SWIFT) $(REDIS) ## everything that the other targets need; again in a second

setup-tools: $(TOOLS) $(FRONT_END) $(TRANSLATIONS)

$(TOOLS): requirements/dev.txt
	@$(FIND_PYTHON); "$$python" tools/bootstrap.py install $(VENV) requirements/dev.txt
	@touch $@

$(SWIFT): requirements/swift-cpu.txt
	@$(FIND_PYTHON); "$$python" tools/bootstrap.py swift $(VENV_SWIFT) requirements/swift-cpu.txt
	@touch $@

$(PACKAGES): package-lock.json requirements/node.txt | $(TOOLS)
	@$(PY) tools/bootstrap.py npm $(VENV)
	@touch $@

$(FRONT_END): $(PACKAGES) $(FRONT_END_SOURCES) | $(TOOLS)
	@echo "==> front end into static/dist"
	@$(NODE) tools/build_frontend.mjs
	@touch $@

$(REDIS): tools/redis_fetch.py | $(TOOLS)
	@echo "==> a Redis for the embedded stack"
	@$(PY) tools/redis_fetch.py $(REDIS_FOLDER)
	@mkdir -p $(REDIS_FOLDER) && touch $@

%.mo: %.po tools/messages.py | $(TOOLS)
	@$(PY) tools/messages.py compile
	@touch $@

.PHONY: swift-image
swift-image: ## the CPU training image for the docker runtime (ARGS="--base NAME --tag NAME --force")
	@$(FIND_PYTHON); "$$python" tools/swift_image.py $(ARGS)

.PHONY: images
images: setup-tools ## the images that docker-compose.yml runs (ARGS="--base NAME --version TAG")
	@$(PY) tools/images.py $(ARGS)

##  Running

.PHONY: demo up down
demo: setup ## a real fine-tune from nothing, then the web pages (ARGS=--exit: ends after it)
	@$(MANAGE) demo $(ARGS)

up: setup ## the whole stack on this machine; Ctrl-C ends it, trainings go on
	@$(MANAGE) up $(ARGS)

down: $(TOOLS) ## end the stack, leave trainings running (ARGS=--jobs: end them too)
	@$(MANAGE) down $(ARGS)

##  Judging

CHECKS := check-lint check-format check-types check-floors check-templates check-migrations \
	check-schema check-javascript check-css check-messages

.PHONY: check $(CHECKS)
check: setup-tools ## lint, format, types, import floors, templates, migrations, API schema, browsers, texts
	@$(MAKE) --keep-going $(CHECKS)

check-lint:
	@echo "==> ruff check"; $(VENV)/bin/ruff check .

check-format:
	@echo "==> ruff format --check"; $(VENV)/bin/ruff format --check .

check-types:
	@echo "==> mypy"; $(VENV)/bin/mypy

check-floors:
	@echo "==> import floors"; $(VENV)/bin/lint-imports

check-templates:
	@echo "==> djlint"; if [ -d templates ]; then $(VENV)/bin/djlint --lint --quiet templates; fi

check-migrations:
	@echo "==> missing migrations"
	@DJANGO_SETTINGS_MODULE=loraforge.settings.test $(MANAGE) makemigrations --check --dry-run

check-schema:
	@echo "==> API schema"
	@DJANGO_SETTINGS_MODULE=loraforge.settings.test \
		$(MANAGE) spectacular --validate --fail-on-warn --file /dev/null

check-javascript:
	@echo "==> eslint: ours, and the built one for the oldest browsers"
	@$(NODE) node_modules/eslint/bin/eslint.js --max-warnings 0 .

check-css:
	@echo "==> style sheets for the oldest browsers"; $(NODE) tools/check_css.mjs

check-messages:
	@echo "==> translations"; $(PY) tools/messages.py check

# With CI=true a skipped test is a failed test. Workers: WORKERS=0 runs in this process; one more than there are
# cores, since the tests of whole stacks mostly wait.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST := $(PY) -m pytest -p tools.spread $(if $(filter true,$(CI)),-p tools.no_skips)

# Tests of GPUs are for machines with NVIDIA's driver; elsewhere they are left out by their mark, and listed.
GPU := $(wildcard /proc/driver/nvidia/version)
GPU_FILES = $(shell grep --recursive --files-with-matches --include='*.py' 'mark\.gpu' tests)

.PHONY: test gpu-tests gpu-check long faults bench screenshots
test: setup $(if $(GPU),,gpu-tests) ## every test that this machine can run; with CI=true none may be skipped
	@$(PYTEST) -n $(WORKERS) --dist loadscope -m "not long and not faults$(if $(GPU),, and not gpu)" $(ARGS)

gpu-tests: setup-tools ## the tests that need an NVIDIA GPU, by name
	@echo "==> tests that need an NVIDIA GPU$(if $(GPU),, (there is none here: left out))"
	@$(PYTEST) --collect-only --quiet -m gpu -p no:warnings $(GPU_FILES) | sed '/^$$/d; s/^/    /'

gpu-check: setup ## real trainings on this machine's NVIDIA GPUs, with figures (ARGS="offered two timed", ARGS=docker: in containers)
	@$(PYTEST) -n 0 -m gpu
	@$(PY) -m tests.benchmarks.gpu $(ARGS)

long: setup ## the tests that take too long for every change
	@$(PYTEST) -m long $(ARGS)

faults: setup ## everything that may fail, one after the other; about three quarters of an hour, as root
	@$(PYTEST) -n 0 -p no:randomly tests/e2e/faults $(ARGS)

bench: setup ## measures what a user waits for, each beside its floor
	@$(PY) -m tests.benchmarks $(ARGS)

screenshots: setup ## pictures of every page and state, both themes, languages and widths (ARGS="--out DIR --only home")
	@$(PY) tools/screenshots.py $(ARGS)

##  Changing

.PHONY: format lock messages catalogue
format: setup-tools ## put Python and templates into the agreed shape
	@$(VENV)/bin/ruff check --fix-only --quiet . || true
	@$(VENV)/bin/ruff format .

COMPILE := $(VENV)/bin/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

lock: $(TOOLS) ## lock the dependencies anew (ARGS=--upgrade: to the newest)
	@$(COMPILE) requirements/control.in -o requirements/control.txt $(ARGS)
	@$(COMPILE) requirements/nodeagent.in -c requirements/control.txt -o requirements/nodeagent.txt $(ARGS)
	@$(COMPILE) requirements/dev.in -c requirements/control.txt -c requirements/nodeagent.txt \
		-o requirements/dev.txt $(ARGS)
	@$(COMPILE) requirements/node.in -o requirements/node.txt $(ARGS)
	@$(VENV)/bin/uv pip compile --quiet --config-file requirements/swift-cpu.uv.toml \
		requirements/swift-cpu.in -o requirements/swift-cpu.txt $(ARGS)

messages: $(TOOLS) ## find new screen texts (needs gettext), compile the translations
	@command -v xgettext >/dev/null || { \
		echo "Finding texts needs GNU gettext. Remedy: apt install gettext" >&2; exit 1; }
	@mkdir -p locale
	@$(MANAGE) makemessages --locale zh_Hans --no-wrap --add-location file \
		--ignore ".venv*" --ignore node_modules --ignore var --ignore tests --ignore static
	@$(PY) tools/messages.py compile

ifdef IMAGE
catalogue: setup-tools ## SWIFT's argument catalogue from an image (IMAGE=NAME: what changes is printed), else from the SWIFT here
	@$(PY) -m tools.catalogue_upgrade $(IMAGE) $(ARGS)
else
catalogue: $(SWIFT)
	@$(VENV_SWIFT)/bin/python tools/swift_catalogue.py $(ARGS)
endif
