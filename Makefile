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
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

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
test: test-engine test-gleam test-no-nif test-elixir ## run every test

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

.PHONY: kernels
kernels: setup ## compile the CUDA kernels for every GPU (needs the PyPI package nvidia-cuda-nvrtc-cu12)
	@$(CARGO) run --release --locked -p viva_tensor_engine --example compile_kernels

.PHONY: bench
bench: build ## measure speed; MODELS="a.gguf folder …" picks checkpoints, LLAMA_BENCH=… measures llama.cpp beside
	@models='$(MODELS)'; [ -n "$$models" ] || models=$$(python3 tools/fetch_model.py); \
	LLAMA_BENCH='$(LLAMA_BENCH)' python3 tools/bench.py $$models

.PHONY: fmt
fmt: setup ## format the sources (Gleam's where the official gleam is on PATH)
	@$(CARGO) fmt --all
	@cd tools/gleam && cargo fmt
	@if gleam format --help >/dev/null 2>&1; then gleam format; fi
	@if [ -f mix.exs ]; then mix format; fi

.PHONY: lint
lint: build ## clippy, warnings, formats and the speed table, each as an error
	@$(CARGO) fmt --all --check
	@cd tools/gleam && cargo fmt --check
	@$(CARGO) clippy --release --locked --all-targets -- -D warnings
	@cd tools/gleam && cargo clippy --locked --target-dir target -- -D warnings
	@gleam build --warnings-as-errors
	@if gleam format --help >/dev/null 2>&1; then gleam format --check; fi
	@python3 tools/speed_table.py --check
	@if [ -f mix.exs ]; then mix format --check-formatted && mix compile --force --warnings-as-errors; fi

.PHONY: prebuilt
prebuilt: build ## the native library as an archive in dist/, and the list of checksums in priv/
	@python3 tools/make_prebuilt.py

.PHONY: clean
clean: ## delete what was built here (.toolchain and the fetched model stay)
	@rm -rf build _build $(NIF) native/target
