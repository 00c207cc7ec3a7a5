# viva_tensor: two commands do it all, `make demo` and `make test`. Each sets up what is missing first.
#
# cargo builds the NIF in native/ and it is copied to priv/, gleam (or mix) builds the rest. What the machine lacks,
# tools/setup.sh puts into .toolchain/, whose bin/ comes first on PATH here.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.SHELLFLAGS := -euc
MAKEFLAGS += --no-print-directory

export PATH := $(CURDIR)/.toolchain/bin:$(PATH):$(HOME)/.cargo/bin
export CARGO_TARGET_DIR := $(CURDIR)/native/target
# File names are UTF-8 whatever the locale; without it Elixir warns under LANG=C.
export ELIXIR_ERL_OPTIONS ?= +fnu

NIF := priv/viva_tensor_nif.so
BUILT_NIF := $(CARGO_TARGET_DIR)/release/libviva_tensor_nif.$(if $(filter Darwin,$(shell uname)),dylib,so)
# Puts a freshly built NIF in place at once, and leaves one that has not changed alone.
PLACE_NIF := cmp -s '$(BUILT_NIF)' $(NIF) || { cp '$(BUILT_NIF)' $(NIF).new; mv $(NIF).new $(NIF); }

CARGO := cd native && cargo
RUN := gleam run --no-print-progress -m viva_tensor/cli --

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## install what is missing: Erlang, Elixir, gleam (silent when nothing is)
	@tools/setup.sh

.PHONY: build
build: setup ## build the NIF (release) and the Gleam code
	@$(CARGO) build --release --locked
	@$(PLACE_NIF)
	@gleam build

.PHONY: demo
demo: build ## fetch SmolLM2-135M-Instruct (98 MB, once) and let it answer a question
	@model=$$(python3 tools/fetch_model.py); $(RUN) demo "$$model"

.PHONY: test
test: test-engine test-gleam test-no-nif test-elixir test-examples test-docs check-kernels ## run every test

.PHONY: test-engine
test-engine: setup ## run the engine's tests (cargo)
	@$(CARGO) test --release --locked

.PHONY: test-gleam
test-gleam: build ## run the Gleam tests with the NIF (EUnit)
	@gleam test

.PHONY: test-no-nif
test-no-nif: build ## run the Gleam tests without the NIF (EUnit)
	@trap 'mv -f $(NIF).aside $(NIF)' EXIT; trap 'exit 130' INT; trap 'exit 143' TERM; \
	mv $(NIF) $(NIF).aside; gleam test

.PHONY: test-elixir
test-elixir: build ## run the Elixir tests (ExUnit)
	@if [ -f mix.exs ]; then mix test; else echo 'There is no mix.exs, so there are no Elixir tests.'; fi

.PHONY: test-examples
test-examples: build ## run the tests of the examples, which add this folder by its path, outside the tree
	@python3 tools/try_package.py gleam_path mix_cargo

.PHONY: test-docs
test-docs: build ## run the code blocks of README.md and docs/, the tour included
	@python3 tools/run_docs.py

.PHONY: test-package
test-package: package ## try each way of adding the package, with the native library, without it, without tools
	@python3 tools/try_package.py

.PHONY: tidy
tidy: setup ## check the rules of the house: layering, sizes, words
	@$(CARGO) test --release --locked --test tidy

.PHONY: check-kernels
check-kernels: setup ## compile the CUDA kernels for every GPU, without one (fetches NVIDIA's compiler, once)
	@tools/kernels.sh check

.PHONY: kernels
kernels: setup ## the same, and write what the next build brings along for machines without libnvrtc
	@tools/kernels.sh

.PHONY: gpu-bundle
gpu-bundle: build ## pack what a GPU machine without Rust, Erlang and Gleam needs for the two below: build/gpu/bundle.tar.xz
	@tools/gpu/bundle.sh

.PHONY: test-gpu
test-gpu: ## run the GPU's tests, and compute-sanitizer where it is (from the bundle, made first where Rust is)
	@tools/gpu/test.sh

.PHONY: bench-gpu
bench-gpu: ## measure the GPU and write bench/results/<gpu>.json (from the bundle); MODELS="tinyllama:F16 …" picks
	@tools/gpu/bench.sh $(MODELS)

.PHONY: bench
bench: build ## measure speed; MODELS="a.gguf folder …" picks checkpoints, LLAMA_BENCH=… measures llama.cpp beside
	@models='$(MODELS)'; [ -n "$$models" ] || models=$$(python3 tools/fetch_model.py); \
	LLAMA_BENCH='$(LLAMA_BENCH)' python3 tools/bench.py $$models
	@model=$$(python3 tools/fetch_model.py); python3 tools/bench_tensors.py --model "$$model"
	@python3 tools/bench_linears.py

.PHONY: quality
quality: build ## what takes minutes: the cost of each weight format, and SmolLM2 in pure Gleam against transformers
	@models='$(MODELS)'; [ -n "$$models" ] || models=$$(python3 tools/fetch_model.py); python3 tools/quality.py $$models
	@model=$$(python3 tools/fetch_model.py); gleam run --no-print-progress -m quality/smollm2 -- "$$model"

.PHONY: speed
speed: ## write the speed tables of README.md and its translations and draw docs/speed.svg, from bench/results
	@python3 tools/speed_table.py
	@python3 tools/speed_chart.py

.PHONY: fmt
fmt: setup ## format the sources (Gleam's where the official gleam is on PATH)
	@$(CARGO) fmt --all
	@cd tools/gleam && cargo fmt
	@if gleam format --help >/dev/null 2>&1; then gleam format; fi
	@if [ -f mix.exs ]; then mix format; fi

.PHONY: lint
lint: build ## clippy, warnings, formats, the speed table and Dialyzer's findings (where it is), each as an error
	@$(CARGO) fmt --all --check
	@cd tools/gleam && cargo fmt --check
	@$(CARGO) clippy --release --locked --all-targets -- -D warnings
	@cd tools/gleam && cargo clippy --locked --target-dir target -- -D warnings
	@gleam build --warnings-as-errors
	@if gleam format --help >/dev/null 2>&1; then gleam format --check; fi
	@python3 tools/speed_table.py --check
	@python3 tools/quality.py --check
	@python3 tools/speed_chart.py --check
	@if [ -f mix.exs ]; then mix format --check-formatted && mix compile --force --warnings-as-errors && tools/dialyzer.sh; fi

# A Mac has no NVIDIA GPU.
.PHONY: prebuilt
prebuilt: setup ## the native library as an archive in dist/, with GPU code for any model in it, and checksums in priv/
	@[ "$$(uname)" = Darwin ] || tools/kernels.sh generic
	@$(MAKE) build
	@python3 tools/make_prebuilt.py

.PHONY: package
package: prebuilt ## the package for Gleam, Elixir and Erlang, in dist/
	@python3 tools/make_package.py

.PHONY: docs
docs: build ## build the documentation in build/docs: Gleam's, and Elixir's where ex_doc is (Debian: elixir-ex-doc)
	@gleam docs build
	@mkdir -p build/docs; rm -rf build/docs/*; cp -r build/dev/docs/viva_tensor build/docs/gleam
	@if command -v ex_doc >/dev/null; then mix compile && ex_doc viva_tensor "$$(sed -n 's/^version = "\(.*\)"/\1/p' gleam.toml)" \
	_build/dev/lib/viva_tensor/ebin --config docs/ex_doc.exs --output build/docs/elixir --formatter html --warnings-as-errors; \
	else echo 'There is no ex_doc, so the Elixir documentation was not built.'; fi

.PHONY: release-check
release-check: docs test-package ## check what a release needs: versions agree, the documentation and the packages are made
	@python3 tools/release_check.py
	@python3 tools/run_docs.py --strict

.PHONY: clean
clean: ## delete what was built here (.toolchain and the fetched model stay)
	@rm -rf build _build dist $(NIF) native/target kernels/generic.ptxs
