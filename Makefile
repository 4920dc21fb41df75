# What .ci/run calls; every target also works alone. docs/TESTING.md explains them.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LINTER  := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2

# Packages with kernels in assembler, and those whose results depend on them.
KERNELS := ./internal/kern ./decode/... ./runtime/sched
TIERED  := $(KERNELS) ./model/... ./internal/engine ./pack/...
SHARED  := ./runtime/... ./server/... ./internal/engine # goroutines meet here

# Builds that users get. macOS and Windows have no kernels of their own beyond the processor's.
RELEASES := linux/amd64 linux/arm64 darwin/arm64 darwin/amd64 windows/amd64
CROSS    := linux/arm64 darwin/arm64 windows/amd64

FUZZTIME ?= 20000x
BENCH    ?= .
COUNT    ?= 1

.PHONY: all build test purego invariants tiers arm64 race fuzz lint cross bench e2e cover builtin release clean
all: build test lint

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o lamina ./cmd/lamina

test:
	$(GO) test -shuffle=on ./...

purego: # the reference implementations, on every processor
	$(GO) vet -tags purego ./...
	$(GO) test -tags purego -short -timeout 30m ./...

invariants: # use after free faults, leaks panic
	$(GO) test -tags invariants ./runtime/... ./model/kv ./internal/engine

tiers: # -count=1: the cache of test results does not see the variable
	LAMINA_CPU=generic $(GO) test -count=1 -timeout 30m $(KERNELS) ./model/...
	for tier in avx2 avx512; do echo "LAMINA_CPU=$$tier" && LAMINA_CPU=$$tier $(GO) test -count=1 -timeout 30m $(TIERED) || exit 1; done

arm64: # the NEON kernels under emulation, with and without the dot-product instructions
	scripts/need.sh qemu-user-static -- qemu-aarch64-static --version
	for cpu in max cortex-a53; do echo "QEMU_CPU=$$cpu" && GOARCH=arm64 QEMU_CPU=$$cpu CGO_ENABLED=0 \
		$(GO) test -short -timeout 30m -exec qemu-aarch64-static $(KERNELS) || exit 1; done

race: # not the commands: their tests pack models, and what runs concurrently in them is tested below them
	scripts/need.sh gcc libc6-dev -- gcc --version
	CGO_ENABLED=1 $(GO) test -race -short -timeout 30m $$($(GO) list ./... | grep -v /cmd/)
	CGO_ENABLED=1 $(GO) test -race -short -timeout 30m -cpu=1,4 $(SHARED)

fuzz: # every target, a fixed number of inputs each
	scripts/fuzz.sh $(FUZZTIME)

lint:
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(LINTER) run ./...
	cd e2e/go && $(GO) vet ./...

cross:
	for target in $(CROSS); do echo "$$target" && export CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} && \
		$(GO) build ./... && $(GO) vet ./... || exit 1; done

bench: # BENCH=Dot COUNT=10 make bench | tee new.txt, then benchstat old.txt new.txt
	$(GO) test -run '^$$' -bench '$(BENCH)' -count $(COUNT) ./...

e2e: # the official clients; needs Python 3 and Node
	scripts/need.sh curl ca-certificates -- curl --version
	scripts/need.sh python3-venv -- python3 -m ensurepip --version
	scripts/need.sh npm -- npm --version
	e2e/run.sh

cover:
	mkdir -p dist
	$(GO) test -coverprofile=dist/cover.out -coverpkg=./... ./...
	$(GO) tool cover -func=dist/cover.out | tail -1

builtin: # the embedded model again, from its checkpoint: make builtin SRC=folder
	scripts/builtin.sh $(SRC)

release: # static binaries and their checksums in dist/
	rm -rf dist && mkdir dist
	for target in $(RELEASES); do os=$${target%/*} arch=$${target#*/}; exe= ; [ $$os = windows ] && exe=.exe; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' \
			-o dist/lamina-$$os-$$arch$$exe ./cmd/lamina || exit 1; done
	cd dist && sha256sum lamina-* >SHA256SUMS

clean:
	rm -rf lamina dist
