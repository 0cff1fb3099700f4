# The entry to everything; each recipe is a script that can be run and read on its own.
.DEFAULT_GOAL := help
.PHONY: help demo test check generate unit fuzz e2e cluster-up cluster-down image figures bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

demo: ## a real cluster, the operator, a real model: ends with Ready and a pod that has loaded the weights
	tests/demo

test: ## every test: unit, conversation, fault, and end-to-end on the real cluster
	tests/all

check: ## the cheap checks: format, spelling, lints, documentation, generated files, licences, chart
	tests/check

generate: ## write the files that are generated from the types
	tests/generate

unit: ## the tests that need no cluster
	eval "$$(tests/tools)" && cargo nextest run --workspace

fuzz: ## give each parser random input for a while: SECONDS=60 for each
	tests/fuzz $(SECONDS)

e2e: ## the end-to-end tests alone, on the cluster that is up (brings it up if need be)
	tests/all --only-e2e

cluster-up: ## two nodes of different memory, one with GPUs
	tests/cluster-for-tests

cluster-down: ## end the cluster and all that it left
	tests/cluster/down

image: ## build both images and load them into the cluster's nodes
	tests/image

figures: ## measure beside a hand-written Job that runs the hf command line
	eval "$$(tests/tools --demo)" && eval "$$(tests/cluster/env)" && tests/figures

bench: ## measure the fetcher beside aria2, huggingface_hub and others, and write docs/benchmarks.md
	tests/bench

clean: cluster-down ## end the cluster and remove what was built in the clone
	cargo clean
