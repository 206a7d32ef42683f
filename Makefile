# The same targets for people, CI and benchmarks. Each installs what it lacks
# and says what it is doing; `make help` lists them.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

KUBE_VERSION := v1.36.3
VERSION      ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STEP         := hack/step
GOBUILD      := env CGO_ENABLED=0 go build
LDFLAGS      := -s -w -X github.com/podpath/podpath/internal/cli.Version=$(VERSION)
KUBE_LDFLAGS := -s -w \
	-X k8s.io/component-base/version.gitVersion=$(KUBE_VERSION) \
	-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 \
	-X k8s.io/client-go/pkg/version.gitVersion=$(KUBE_VERSION)

.PHONY: help demo test build unit kernel parity bench verify fuzz scenarios deps lab-deps generate clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: build lab-deps ## fresh machine → packages, build, lab, one broken flow diagnosed, healed, lab down
	@hack/demo

test: build lab-deps unit kernel fuzz parity scenarios ## everything, the lab's scenarios included; what CI runs

build: deps ## bin/podpath, bin/kubectl-podpath, bin/podpath-probe, bin/podpath-lab, bin/podpath-kube, bin/coredns
	@$(STEP) "building podpath" $(GOBUILD) -trimpath -ldflags '$(LDFLAGS)' -o bin/podpath ./cmd/podpath
	@ln -sf podpath bin/kubectl-podpath
	@$(STEP) "building podpath-probe" $(GOBUILD) -trimpath -ldflags '$(LDFLAGS)' -o bin/podpath-probe ./cmd/podpath-probe
	@$(STEP) "building podpath-lab" $(GOBUILD) -C lab -trimpath -ldflags '-s -w' -o ../bin/ ./cmd/podpath-lab ./cmd/app
	@$(STEP) "building Kubernetes $(KUBE_VERSION) (about 7 minutes the first time)" \
		$(GOBUILD) -C lab/kube -trimpath -ldflags '$(KUBE_LDFLAGS)' -o ../../bin/podpath-kube .
	@$(STEP) "building CoreDNS" $(GOBUILD) -C lab/kube -trimpath -ldflags '-s -w' -o ../../bin/coredns ./coredns

unit: deps ## tests that need no root and no lab
	@$(STEP) -v "unit tests: podpath" go test ./...
	@$(STEP) -v "unit tests: lab" go test -C lab ./...

kernel: deps lab-deps ## packets against the model of a node's packet filter, the lab's network and its enforcer, in namespaces of their own (root)
	@$(STEP) "packet filter: the walk against the kernel" env PODPATH_KERNEL=1 go test -count=1 -run Kernel ./internal/netfilter
	@$(STEP) "the lab's network and enforcer: packets" env PODPATH_LAB_ROOT=1 go test -C lab -count=1 -run Trial ./fabric ./enforcer

parity: build lab-deps ## podpath's predictions against packets, in random worlds of a lab (PODPATH_SEED, PODPATH_FLOWS)
	@hack/parity

fuzz: deps ## every fuzz target for a bounded count
	@$(STEP) "fuzz targets, a bounded count each" hack/fuzz

scenarios: build lab-deps ## every scenario against the lab
	@bin/podpath-lab bench scenarios --labs 3 --tries 3

bench: build lab-deps ## measure: accuracy, seconds, scale; writes docs/bench.md
	@hack/bench

verify: deps ## lint, formatting, generated files, layers
	@hack/verify

generate: deps ## rewrite generated files
	@$(STEP) "generated files" go generate ./...

deps:
	@hack/deps go

lab-deps:
	@hack/deps lab

clean: ## remove what the targets built
	rm -rf bin
