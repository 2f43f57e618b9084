# rcnt: `make` alone prints what can be made.

PREFIX  ?= /usr/local
DESTDIR ?=
ROUNDS  ?= 20
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

# Said before anything is built, not after.
root:
	@[ "$$(id -u)" = 0 ] || { echo 'rcnt makes namespaces and needs root: sudo make' >&2; exit 1; }

.PHONY: help root setup build demo test test-vm test-weakened check install uninstall bench bench-record clean
.DEFAULT_GOAL := help

help: ## this text
	@echo "usage: make TARGET"; echo
	@sed -n 's/^\([a-z-]*\):.*## /    \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
	@echo; echo "PREFIX=$(PREFIX) and DESTDIR say where install puts things."

setup: ## install what building needs (apt-get, rustup), if anything is missing
	@scripts/setup build

build: setup ## the release binaries, as target/rcnt and target/rcnt-oci
	@scripts/build release rcnt target/rcnt
	@scripts/build release rcnt-oci target/rcnt-oci

demo: root build ## build, make a small web server image, run it on port 8080, fetch its page, clean up
	@scripts/setup demo
	@RCNT_BINARY=$(CURDIR)/target/rcnt scripts/demo

test: root setup ## every test: units, then end to end with real namespaces (root; ONLY=name runs some)
	@scripts/setup test
	@scripts/build debug rcnt target/rcnt-debug
	@scripts/build debug rcnt-oci target/rcnt-oci-debug
	@RCNT_BINARY=$(CURDIR)/target/rcnt-debug RCNT_OCI_BINARY=$(CURDIR)/target/rcnt-oci-debug \
		scripts/test $(ONLY)

test-vm: root ## tests in emulated machines with Debian's kernel: cgroup v2 alone; systemd (root; VM=, ONLY=)
	@scripts/test-vm $(ONLY)

test-weakened: root setup ## runtime and netstack without their protections, one by one: a test must notice (root; ONLY=)
	@scripts/test-weakened $(ONLY)

check: setup ## what review asks for: format, lints, documentation, licences, weakened builds' patches
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --document-private-items
	scripts/licences
	scripts/test-weakened --check

install: ## binaries, completions and manual pages below $(DESTDIR)$(PREFIX)
	@[ -x target/rcnt ] && [ -x target/rcnt-oci ] || $(MAKE) --no-print-directory build
	scripts/install '$(DESTDIR)$(PREFIX)' target/rcnt target/rcnt-oci

uninstall: ## remove what install put there
	scripts/install --remove '$(DESTDIR)$(PREFIX)'

bench: build ## rcnt beside docker, podman, crun and runc, whichever are installed (ROUNDS=20, ONLY=part, ALL=1)
	@cargo run --quiet --locked -p rcnt-bench -- --rcnt target/rcnt --rcnt-oci target/rcnt-oci --rounds $(ROUNDS) \
		$(if $(ONLY),--only $(ONLY)) $(if $(ALL),--all)

bench-record: build ## the same with ALL=1, written to docs/benchmarks.md
	@cargo run --quiet --locked -p rcnt-bench -- --rcnt target/rcnt --rcnt-oci target/rcnt-oci --rounds $(ROUNDS) \
		--all --record docs/benchmarks.md

clean: ## remove what was built
	cargo clean
