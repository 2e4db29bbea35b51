# Everything here is `cargo xtask`; this file only gives the commands the names people expect.
.DEFAULT_GOAL := help
.PHONY: help start restate dev build test fuzz bench fmt lint clean

XTASK := cargo xtask

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

start: rust ## Build for release, serve, print the address (ARGS="--addr 127.0.0.1:4000" goes to the server)
	@$(XTASK) serve -- $(ARGS)

restate: rust ## The same with a Restate server deciding when tasks run (installed from npm into .tools)
	@$(XTASK) restate -- $(ARGS)

dev: rust ## Serve a development build that follows edits (cargo leptos watch)
	@$(XTASK) dev

build: rust ## Build everything for release without serving
	@$(XTASK) build

test: rust ## Run every check and test, end-to-end tests in Chromium included
	@$(XTASK) test

fuzz: rust ## Run the tests with made-up input for long (PROPTEST_CASES=1000000 for longer)
	@$(XTASK) fuzz

bench: rust ## Measure the release build and print a table
	@$(XTASK) bench

fmt: rust ## Format the Rust code
	@cargo fmt --all

lint: rust ## Check formatting and lints
	@$(XTASK) lint

clean: ## Remove everything that was built or installed here
	rm -rf target node_modules end2end/node_modules end2end/test-results end2end/playwright-report .tools

.PHONY: rust
rust:
	@command -v cargo >/dev/null || { echo "Rust is missing. Install it with:"; \
	  echo "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"; exit 1; }
