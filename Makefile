# The verbs of this repository; `make help` lists them.
SHELL := /bin/sh
export CGO_ENABLED = 0
# -trimpath only for releases: it makes every library be compiled a second time.
VERSION = k8s.io/component-base/version
KUBERNETES = $(shell sed -n 's/.*Kubernetes = "\(.*\)"/\1/p' internal/version/version.go)
# The linker tells kubectl which release it is: its library does not know.
GOFLAGS_BUILD = -ldflags "-s -w -X $(VERSION).gitVersion=$(KUBERNETES) -X $(VERSION).gitMajor=1 -X $(VERSION).gitMinor=36"
OCI = internal/ocibin/bin/skiff-oci.gz
HELLO = internal/helloimage/image/hello.gz
FUZZTIME ?= 20s
VMTESTS ?= .
SELECTION ?= conformance
PACKAGES = busybox-static containerd crun docker.io nginx-light iproute2 nftables podman
PACKAGES_PERF = busybox-static crun runc
PACKAGES_VM = busybox-static dbus e2fsprogs podman qemu-system-x86 systemd

.PHONY: help build demo test test-vm conformance conformance-cri perf fuzz lint gen check-gen clean release deps deps-vm deps-perf FORCE

help: ## list the verbs
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

build: bin/skiff bin/skiff-oci ## build bin/skiff and bin/skiff-oci, static

bin/skiff: $(OCI) $(HELLO) FORCE
	go build $(GOFLAGS_BUILD) -o $@ ./cmd/skiff

bin/skiff-oci: FORCE
	go build $(GOFLAGS_BUILD) -o $@ ./cmd/skiff-oci

bin/hello: FORCE
	go build $(GOFLAGS_BUILD) -o $@ ./cmd/hello

# The small programs travel inside bin/skiff. They are packed anew only when
# they changed, so that an unchanged skiff is not linked again.
$(OCI): bin/skiff-oci
	@mkdir -p $(@D)
	gzip -9nc bin/skiff-oci > $@.new
	@cmp -s $@ $@.new && rm $@.new || mv $@.new $@

$(HELLO): bin/hello
	@mkdir -p $(@D)
	gzip -9nc bin/hello > $@.new
	@cmp -s $@ $@.new && rm $@.new || mv $@.new $@

demo: build ## start a cluster, deploy examples/hello, call it in three ways
	go run ./test/demo

# A package may bring a service (nginx, dbus): policy-rc.d keeps it from being started.
define install
@dpkg -s $(1) >/dev/null 2>&1 || { \
	policy=/usr/sbin/policy-rc.d; test -e $$policy || { printf '#!/bin/sh\nexit 101\n' > $$policy; chmod 755 $$policy; trap "rm -f $$policy" EXIT; }; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null; }
endef

deps: ## install what the tests need beside Go (Debian's packages)
	$(call install,$(PACKAGES))

test: deps build ## run all tests
	go test -timeout 20m ./internal/... ./cmd/...
	go test -timeout 30m -p 1 ./test/...
	go test -C test/conformance ./...

deps-vm:
	$(call install,$(PACKAGES_VM))

test-vm: deps-vm build ## run the kernel tests and a pod's life on a Debian kernel with cgroup v2, emulated
	SKIFF_TEST_VM=1 go test -v -count=1 -timeout 50m -run '$(VMTESTS)' ./test/vm

conformance: deps build ## judge skiff by the upstream suite and keep its ledger; FOCUS='...' a part, SELECTION=node|network|network-policy|storage|resize others
	@mkdir -p bin/conformance
	go run ./test/pause bin/conformance/pause
	go run -C test/conformance . -selection '$(SELECTION)' -focus '$(FOCUS)' $(CONFORMANCEFLAGS)

conformance-cri: build ## judge the container layer by the CRI validation suite of sigs.k8s.io/cri-tools
	go run ./test/cri

deps-perf:
	$(call install,$(PACKAGES_PERF))

perf: deps-perf build ## print the benchmarks and hold them against their budgets
	go run ./test/perf

fuzz: ## run every fuzz target for FUZZTIME
	go run ./test/fuzz -time $(FUZZTIME) $(FUZZFLAGS)

lint: ## formatter, vet and linters
	@test -z "$$(gofmt -l cmd internal test | tee /dev/stderr)"
	go vet ./...
	go vet -C test/conformance ./...
	go build -C tools -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	bin/golangci-lint run --allow-parallel-runners ./...
	cd test/conformance && ../../bin/golangci-lint run --allow-parallel-runners ./...

gen: ## write what is generated
	go generate ./...

check-gen: gen ## fail if what is generated is not what is committed
	git diff --exit-code

clean: ## remove what make built
	rm -rf bin internal/ocibin/bin/skiff-oci.gz internal/helloimage/image/hello.gz

release: build ## bin/skiff for amd64 and arm64 with checksums
	GOARCH=arm64 go build -trimpath $(GOFLAGS_BUILD) -o bin/skiff-arm64 ./cmd/skiff
	cd bin && sha256sum skiff skiff-arm64 skiff-oci > SHA256SUMS
