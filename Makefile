# One door: `make demo`, `make test`, or `make` alone for a working .venv/bin/seqcast.
# Each target does all its set-up; after the first run none of them needs the network.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
C_FLAGS := -std=c11 -Wall -Wextra -Werror -Wconversion -g -O1 -Inative/src -fsanitize=address,undefined -fno-sanitize-recover=all
C_SOURCES := $(wildcard native/src/*.c)
C_HEADERS := $(wildcard native/src/*.h)
C_OBJECTS := $(patsubst native/src/%.c,build/ctest/%.o,$(C_SOURCES))
C_TESTS := $(patsubst native/tests/%.c,build/ctest/%,$(wildcard native/tests/test_*.c))
SMOKES := $(patsubst native/fuzz/fuzz_%.c,build/ctest/smoke_%,$(wildcard native/fuzz/fuzz_*.c))
FUZZ_FLAGS := -std=c11 -g -O1 -Inative/src -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
FUZZ_OBJECTS := $(patsubst native/src/%.c,build/fuzz/%.o,$(C_SOURCES))
FUZZERS := $(patsubst native/fuzz/%.c,build/fuzz/%,$(wildcard native/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 10
MESSAGES ?= 200000
MINUTES ?= 10
SEEDS ?= 500
SIM_OPTIONS = $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(if $(FIRST),--first $(FIRST)) $(if $(VOTERS),--voters $(VOTERS)) \
  $(if $(PROFILE),--profile $(PROFILE)) $(if $(WITHOUT),--without $(WITHOUT))

.PHONY: all system build demo test sim lint format types ctest fuzz check sanitize soak bench-results wheel docs clean

.SECONDARY: $(C_OBJECTS) $(FUZZ_OBJECTS)

all: build

# What Debian's python3 leaves out is checked before anything else, and named in one line.
system:
	@$(PYTHON) native/requirements.py

$(BIN)/python:
	@$(MAKE) --no-print-directory system
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml setup.py | $(BIN)/python
	@$(MAKE) --no-print-directory system
	$(BIN)/python -m pip install --quiet --upgrade "setuptools>=77" wheel "cffi>=1.17"
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[test,lint]"
	@touch $@

# An editable install does not rebuild C: this rule does, whenever a source is newer than the module.
native/.built: $(VENV)/.installed $(C_SOURCES) $(C_HEADERS) native/build.py
	$(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@

build: native/.built

demo: build
	$(BIN)/seqcast demo --messages $(MESSAGES)

test: build ctest
	$(BIN)/python -m pytest

# The whole bus on virtual time: SEEDS=500 runs many, SEED=7 runs one and shows what happened.
sim: build
	PYTHONPATH=tests $(BIN)/python -m simulation $(SIM_OPTIONS)

lint: build
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/clang-format --dry-run --Werror native/src/*.[ch] native/tests/*.[ch] native/fuzz/*.c

format: build
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i native/src/*.[ch] native/tests/*.[ch] native/fuzz/*.c

types: build
	$(BIN)/mypy

build/ctest/%.o: native/src/%.c $(C_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -c -o $@ $<

build/ctest/test_%: native/tests/test_%.c $(C_OBJECTS) $(C_HEADERS) $(wildcard native/tests/*.h)
	$(CC) $(C_FLAGS) -o $@ $< $(C_OBJECTS)

build/ctest/smoke_%: native/fuzz/fuzz_%.c native/fuzz/smoke.c $(C_OBJECTS) $(C_HEADERS)
	$(CC) $(filter-out -Wconversion,$(C_FLAGS)) -o $@ $< native/fuzz/smoke.c $(C_OBJECTS)

# The C tests, and each fuzz target over the same few thousand inputs (`make fuzz` goes on looking).
ctest: system $(C_TESTS) $(SMOKES)
	@for test in $(C_TESTS) $(SMOKES); do $$test || { echo "$$test failed"; exit 1; }; done
	@echo "$(words $(C_TESTS)) C tests and $(words $(SMOKES)) fuzz targets passed under AddressSanitizer and UndefinedBehaviorSanitizer"

build/fuzz/%.o: native/src/%.c $(C_HEADERS)
	@mkdir -p $(@D)
	clang $(FUZZ_FLAGS) -c -o $@ $<

build/fuzz/fuzz_%: native/fuzz/fuzz_%.c $(FUZZ_OBJECTS) $(C_HEADERS)
	clang $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $< $(FUZZ_OBJECTS)

fuzz: $(FUZZERS)
	@for target in $(FUZZERS); do \
	  echo "== $$target"; $$target -max_total_time=$(FUZZ_SECONDS) -print_final_stats=0 -verbosity=0 || exit 1; \
	done

# The Python tests that stay in one process, over an extension built with sanitizers in a copy of the tree.
SANITIZED := tests/moldudp tests/rewinder tests/sequencer tests/souptcp tests/seqcast/test_assembly.py \
  tests/seqcast/test_feeds.py tests/seqcast/test_reception.py tests/seqcast/test_submission.py
sanitize: build
	rm -rf build/sanitize && mkdir -p build/sanitize
	git ls-files -z | xargs -0 cp --parents -t build/sanitize
	cd build/sanitize && SEQCAST_SANITIZE=1 $(abspath $(BIN))/python setup.py --quiet build_ext --inplace
	cd build/sanitize && LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
	  SEQCAST_SHARED_DATA=$${SEQCAST_SHARED_DATA:-$(abspath ../shared/data)} PYTHONMALLOC=malloc PYTHONPATH=. $(abspath $(BIN))/python -m pytest -s -q -n 0 -k "not tshark and not kill" $(SANITIZED)

# Random faults on a bus of real processes under load. SEED=n does those of an earlier run again.
soak: build
	$(BIN)/python tests/chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# What bench/RESULTS.md shows, measured and drawn; what is of this commit stays. ONLY="throughput scale" FRESH=1
bench-results: build
	$(BIN)/python -m bench.results $(ONLY) $(if $(FRESH),--fresh)

# An abi3 wheel in dist/, built from what git knows, and tried in a new environment outside the checkout.
WHEEL := build/wheel
wheel: build
	rm -rf $(WHEEL) dist && mkdir -p $(WHEEL)/tree
	git ls-files -z | xargs -0 cp --parents -t $(WHEEL)/tree
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist $(WHEEL)/tree
	ls dist/*-cp311-abi3-*.whl
	$(PYTHON) -m venv $(WHEEL)/venv
	$(WHEEL)/venv/bin/python -m pip install --quiet dist/*.whl pytest
	outside=$$(mktemp -d) && cd $$outside && $(abspath $(WHEEL))/venv/bin/python -P $(abspath tests/wheel.py); \
	  status=$$?; rm -rf $$outside; exit $$status

# API.md for reading beside the code, HTML for a browser. pdoc is installed for this alone.
docs: build
	@$(BIN)/python -c "import pdoc" 2>/dev/null || $(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[docs]"
	$(BIN)/python docs/api.py
	$(BIN)/python docs/api.py --html build/docs

check: lint types test

clean:
	rm -rf build dist *.egg-info native/_seqcast.c native/*.so native/.built
