# Entry point: each recipe is a script that can be run and read on its own.
.DEFAULT_GOAL := help
.PHONY: help demo test check generate unit fuzz e2e cluster-up cluster-down image figures bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

demo: ## run a real cluster, the operator and a real model, until a pod has loaded the weights
	tests/demo

test: ## run every test: unit, conversation, fault, and end-to-end on the real cluster
	tests/all

check: ## run the cheap checks: format, spelling, lints, documentation, generated files, licences, chart
	tests/check

generate: ## write the files that are generated from the types
	tests/generate

unit: ## run the tests that need no cluster
	eval "$$(tests/tools)" && cargo nextest run --workspace

fuzz: ## fuzz each parser, for SECONDS=60 each
	tests/fuzz $(SECONDS)

e2e: ## run only the end-to-end tests; starts the cluster if needed
	tests/all --only-e2e

cluster-up: ## start the cluster: two nodes with different memory, one with GPUs
	tests/cluster-for-tests

cluster-down: ## stop the cluster and remove everything it left
	tests/cluster/down

image: ## build both images and load them into the nodes of the cluster
	tests/image

figures: ## measure against a hand-written Job that runs the hf command line
	eval "$$(tests/tools --demo)" && eval "$$(tests/cluster/env)" && tests/figures

bench: ## measure the fetcher against aria2, huggingface_hub and others, and write docs/benchmarks.md
	tests/bench

clean: cluster-down ## stop the cluster and remove the build output of the clone
	cargo clean
