# `make demo` and `make test` do everything, set-up included, from a bare Debian 12 on; `make help` lists the rest.
# KEEL_DEPS, KEEL_TORCH and KEEL_ARROW: see tools/setup.sh. CUDA=1: with --device cuda, from then on.
# JOBS: parallel compilers, by default one a core and 2 GB of free memory.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test build setup parquet model compat bench guard deb asan tsan fuzz lint format docs clean

JOBS ?= $(shell awk -v cores=$$(nproc) '/^MemAvailable/ {n = int($$2 / 2e6); print n < 1 ? 1 : n < cores ? n : cores}' /proc/meminfo)
BINARY := build/keel
CONFIGURE = cmake --log-level=WARNING -DKEEL_DEPS="$(KEEL_DEPS)" -DKEEL_TORCH="$(KEEL_TORCH)" -DKEEL_ARROW="$(KEEL_ARROW)" --preset
CTEST = ctest --output-on-failure --no-label-summary --no-tests=error --parallel $(JOBS) --test-dir
SMOLLM2 := models/smollm2-135m-instruct
HELPFULNESS ?= runs/demo/reward_models/helpfulness
SAFETY ?= runs/demo/reward_models/safety

help:  ## this list
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 16

demo: build  ## the whole recipe on the sandbox, with its report in runs/demo
	$(BINARY) run recipes/sandbox.json --out runs/demo

test: build  ## all tests
	$(CTEST) build/release

build: setup  ## build/keel, which runs without environment variables
	$(CONFIGURE) release $(if $(CUDA),-DKEEL_CUDA=ON)
	cmake --build build/release --parallel $(JOBS)
	@ln -sfn release/keel $(BINARY)

setup:  ## packages, Catch2 and LibTorch: what is missing of them
	@tools/setup.sh $(if $(CUDA),cuda)

parquet:  ## fetches Arrow (55 MB) and builds build/keel with it: Parquet is read from then on, by every later build
	@tools/setup.sh parquet
	@$(MAKE) --no-print-directory build

model: build  ## SmolLM2-135M-Instruct in models/
	tools/fetch_model.sh $(BINARY) $(SMOLLM2)

compat: build  ## keel serve against clients of other trainers (pip install -r tests/serve/compat/requirements.txt; HELPFULNESS, SAFETY: models)
	python3 tests/serve/compat/compat.py --keel $(BINARY) --helpfulness $(HELPFULNESS) --safety $(SAFETY)

bench: build  ## the benchmarks (bench/growth.py: how speed goes with sizes)
	build/release/bench/keel_bench --benchmark_filter=-^growth_

guard: build  ## keel's kernels beside plain operators: none below 0.9 of its ratio in bench/ratios.json
	$(BINARY) bench engine --pairs 3 --least bench/ratios.json

deb: build  ## build/keel_VERSION_amd64.deb: keel with LibTorch's libraries (and Arrow's), for Debian 12
	@tools/setup.sh deb
	cd build && rm -rf deb keel_*.deb && cpack --config release/CPackConfig.cmake -B deb && mv deb/*.deb .

asan: setup  ## all tests with address and undefined-behaviour sanitizers
	$(CONFIGURE) asan
	cmake --build build/asan --parallel $(JOBS)
	$(CTEST) build/asan

tsan: setup  ## the tests of threads with the thread sanitizer
	$(CONFIGURE) tsan
	cmake --build build/tsan --parallel $(JOBS) --target core_test engine_test runtime_test annotation_test http_test serve_test
	TSAN_OPTIONS="suppressions=$(CURDIR)/tools/tsan.supp" $(CTEST) build/tsan -L '^(core|engine|runtime|annotation|http|serve)$$'

fuzz:  ## SECONDS (600) of random bodies through the dialects of keel serve
	@tools/setup.sh fuzz
	$(CONFIGURE) fuzz
	cmake --build build/fuzz --parallel $(JOBS) --target dialects_fuzz
	mkdir -p build/fuzz/corpus && build/fuzz/tests/dialects_fuzz -max_total_time=$(or $(SECONDS),600) -max_len=4096 \
	  -dict=tests/serve/dialects/members.dict -artifact_prefix=build/fuzz/ build/fuzz/corpus

lint:  ## formatting of every source, clang-tidy on the folders without LibTorch (SINCE=COMMIT: on what has changed)
	@tools/setup.sh lint
	$(CONFIGURE) dev
	tools/lint.sh build/dev $(SINCE)

format:  ## format every source
	@tools/setup.sh lint
	tools/lint.sh --fix

docs:  ## the interfaces as HTML in build/docs
	@tools/setup.sh docs
	doxygen docs/Doxyfile

clean:  ## remove build/ (runs/ and models/ stay)
	rm -rf build
