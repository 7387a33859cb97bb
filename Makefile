# The distribution's Python, with which the Debian package runs: one that somebody compiled is often not optimised, and an
# Attach takes a tenth longer then.
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3 || echo python3)
BIN := .venv/bin
PROTO := netplumb/api/v1/netplumb.proto
ETCD_PROTO := netplumb/reconciler/cluster/etcd/rpc.proto
SCALE ?= 30
DIST ?= dist
CRI_PROTO := tests/runtimes/cri/runtime.proto
RUNTIME_PACKAGES := bats busybox-static catatonit conmon containerd containernetworking-plugins curl dpkg-dev iptables jq \
	podman runc slirp4netns \
	gcc golang-go libc6-dev protoc-gen-go protoc-gen-go-grpc \
	golang-github-appc-cni-dev golang-github-containerd-go-cni-dev golang-google-grpc-dev golang-google-protobuf-dev
METRICS_PACKAGES := prometheus
CLUSTER_PACKAGES := etcd-client etcd-server
UI_PACKAGES := chromium chromium-driver
PLUGIN := .venv/libexec/netplumb-cni
PLUGIN_PACKAGES := golang-go
DIST_PACKAGES := debhelper dpkg-dev $(PLUGIN_PACKAGES)
IN_NAMESPACES := scripts/in-namespaces

# Where it is set, each of the many programs that the tests start compiles all that it imports.
export PYTHONDONTWRITEBYTECODE :=

# Tests wait for the kernel more than they work, so two processors serve six; but not where each has nodes and etcd, nor
# where sweeps want a machine that does little else.
WORKERS := 6
sweeps test-cluster: WORKERS := 4
PYTEST = $(IN_NAMESPACES) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# $(call generate,DIR) writes the Python stubs of the protos below DIR.
stubs = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I $(2) \
	--python_out=$(1) --grpc_python_out=$(1) --mypy_out=$(1) --mypy_grpc_out=$(1) $(3)
generate = $(call stubs,$(1)/src,src,$(PROTO) $(ETCD_PROTO)) && $(call stubs,$(1),.,$(CRI_PROTO))

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: debian .venv/.installed ## Install what is needed: Debian packages, and the locked Python packages into .venv

.PHONY: debian
debian:
	@PYTHON="$(PYTHON)" scripts/setup-debian

.venv/.installed: requirements-dev.lock pyproject.toml | debian
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

.PHONY: plugin
plugin: setup ## Build the compiled CNI plugin, which `netplumb cni install` then takes (installs Debian's Go)
	@PYTHON="$(PYTHON)" scripts/setup-debian $(PLUGIN_PACKAGES)
	scripts/build-plugin $(PLUGIN)

.PHONY: run
run: setup ## Run the demo in a sandbox
	$(IN_NAMESPACES) $(BIN)/netplumb sandbox --demo

.PHONY: run-cluster
run-cluster: setup ## Run three nodes on an etcd of three members in a sandbox (installs Debian's)
	@PYTHON="$(PYTHON)" scripts/setup-debian $(CLUSTER_PACKAGES)
	$(IN_NAMESPACES) $(BIN)/netplumb sandbox --cluster

.PHONY: test
test: setup ## Run all checks, and all tests but the sweeps
	$(MAKE) check
	$(PYTEST) -m "not sweep"

.PHONY: sweeps
sweeps: setup ## Run the tests that take long: each fault at each call, chaos, soak, fuzzing
	@PYTHON="$(PYTHON)" scripts/setup-debian $(CLUSTER_PACKAGES)
	$(PYTEST) -m sweep
	$(PYTEST) -m sweep tests/cluster

OWNED = $(addprefix tests/e2e/test_,$(addsuffix .py,attach detach ports ports_shared guards flows untranslated martians \
	restart repair damage_repairs damage_namespaces damage_resync several_interfaces uplinks unnumbered node_settings \
	store_rebuild one_truth cni_add owned_table))

.PHONY: test-owned
test-owned: setup ## Test with the table owned by the daemon, as it is by default where the kernel knows that
	E2E_OWN_TABLE=1 $(PYTEST) -m "not sweep and not open_table" $(OWNED)

.PHONY: test-runtimes
test-runtimes: plugin ## Test with real containerd and Podman (root; installs their Debian packages)
	@PYTHON="$(PYTHON)" scripts/setup-debian $(RUNTIME_PACKAGES)
	$(BIN)/python -m pytest --timeout 900 tests/runtimes # the first build of containerd takes minutes

.PHONY: test-metrics
test-metrics: setup ## Test metrics, alerts and dashboard with promtool and a real Prometheus (installs Debian's)
	@PYTHON="$(PYTHON)" scripts/setup-debian $(METRICS_PACKAGES)
	$(IN_NAMESPACES) $(BIN)/python -m pytest tests/metrics

.PHONY: test-cluster
test-cluster: setup ## Test many nodes on a real etcd (installs Debian's)
	@PYTHON="$(PYTHON)" scripts/setup-debian $(CLUSTER_PACKAGES)
	$(PYTEST) -m "not sweep" tests/cluster

.PHONY: test-ui
test-ui: setup ## Test the page in a real browser, Chromium (installs Debian's)
	@PYTHON="$(PYTHON)" scripts/setup-debian $(UI_PACKAGES)
	$(IN_NAMESPACES) $(BIN)/python -m pytest tests/ui

.PHONY: test-dist
test-dist: setup ## Test what `make dist` makes: in empty environments, and in Debian 12 and 13 (root; the packages it needs)
	@PYTHON="$(PYTHON)" scripts/setup-debian $(DIST_PACKAGES) mmdebstrap
	$(BIN)/python -m pytest tests/dist

.PHONY: dist
dist: setup ## Build wheel, sdist and Debian package into DIST, dist without it
	@PYTHON="$(PYTHON)" scripts/setup-debian $(DIST_PACKAGES)
	rm -rf src/netplumb.egg-info
	mkdir -p $(DIST)
	rm -f $(DIST)/netplumb-*.whl $(DIST)/netplumb-*.tar.gz $(DIST)/netplumb_*.deb
	$(BIN)/uv build --quiet --no-config --no-build-isolation --python $(BIN)/python --out-dir $(DIST) .
	scripts/build-deb $(DIST)

.PHONY: check
check: setup ## Lint, formatting, types, layers, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) proto-check

.PHONY: format
format: setup ## Format the code and apply the safe lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: proto
proto: setup ## Generate the Python code of the gRPC contract, and of etcd's
	$(call generate,.)

GO_OUT := api/go/cniproxy
GO_MODULE := github.com/containerd/go-cni
GO_PACKAGE := M$(PROTO)=$(GO_MODULE)/internal/netplumbv1

.PHONY: proto-go
proto-go: setup ## Generate its Go code (with Debian's protoc-gen-go and protoc-gen-go-grpc)
	$(BIN)/python -m grpc_tools.protoc -I src \
		--go_out=$(GO_OUT) --go_opt=module=$(GO_MODULE),$(GO_PACKAGE) --go-grpc_out=$(GO_OUT) \
		--go-grpc_opt=module=$(GO_MODULE),$(GO_PACKAGE),require_unimplemented_servers=false $(PROTO)

.PHONY: proto-check
proto-check: setup ## Fail if the generated code is not that of the contract
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && mkdir "$$fresh/src" && \
	$(call generate,"$$fresh") && \
	for file in $$(cd "$$fresh" && find . -type f); do \
		diff -u "$$file" "$$fresh/$$file" || { echo "$$file is out of date: run make proto" >&2; exit 1; }; \
	done

.PHONY: fuzz
fuzz: setup ## Fuzz requests and state files for minutes; SCALE=1000 for a night
	FUZZ_SCALE=$(SCALE) $(IN_NAMESPACES) $(BIN)/python -m pytest -n 2 -rP tests/fuzz \
		tests/e2e/test_hostile_requests.py tests/e2e/test_hostile_frames.py

.PHONY: bench
bench: setup ## Measure attach, detach and resync
	$(IN_NAMESPACES) $(BIN)/python -m tests.bench

.PHONY: bench-guard
bench-guard: setup ## Fail if an Attach costs much more than its floor
	$(IN_NAMESPACES) $(BIN)/python -m tests.bench latency --guard --rounds 3 --workloads 60

PEERS := golang-go golang-google-grpc-dev golang-google-protobuf-dev golang-github-vishvananda-netlink-dev \
	containernetworking-plugins netavark iptables

.PHONY: bench-peers
bench-peers: plugin ## Measure side by side with a plain Go server, the CNI plugins and netavark
	dpkg -s $(PEERS) >/dev/null 2>&1 || apt-get install -qq --no-install-recommends $(PEERS)
	$(BIN)/python -m tests.bench peers $(PEERS_FLAGS)

.PHONY: performance
performance: ## Measure so, on a quiet machine, and write docs/performance.md
	$(MAKE) bench-peers PEERS_FLAGS=--record
	$(BIN)/python -m tests.bench.peers.page

.PHONY: bench-paired
bench-paired: setup ## Measure by pairs what metrics, page and remote clients cost an Attach
	$(IN_NAMESPACES) $(BIN)/python -m tests.bench paired $(PAIRED_FLAGS)

.PHONY: bench-policy
bench-policy: setup ## Measure what network policies cost, as ratios of one run
	$(IN_NAMESPACES) $(BIN)/python -m tests.bench policy $(POLICY_FLAGS)

.PHONY: bench-cluster
bench-cluster: setup ## Measure what many nodes cost themselves and etcd, for docs/scale.md (installs Debian's)
	@PYTHON="$(PYTHON)" scripts/setup-debian $(CLUSTER_PACKAGES)
	$(IN_NAMESPACES) $(BIN)/python -m tests.bench cluster --record $(CLUSTER_FLAGS)
	$(BIN)/python -m tests.bench.cluster.page

.PHONY: soak
soak: setup ## Attach and detach 40,000 times, and see whether anything grows
	$(IN_NAMESPACES) $(BIN)/python -m tests.bench soak

.PHONY: scale
scale: setup ## Measure what 10,000 attachments cost, each, against 200
	$(IN_NAMESPACES) $(BIN)/python -m tests.bench scale

.PHONY: hostile
hostile: setup ## Measure what others wait for while one workload does its worst
	$(IN_NAMESPACES) $(BIN)/python -m tests.bench hostile $(HOSTILE_FLAGS)

.PHONY: hostile-guard
hostile-guard: setup ## Do a little of each harm, and fail if others wait far too long
	$(IN_NAMESPACES) $(BIN)/python -m tests.bench hostile --guard

.PHONY: chaos
chaos: setup ## Do harm of every kind for CHAOS_MINUTES, and see whether all comes right
	CHAOS_MINUTES=$${CHAOS_MINUTES:-10} CHAOS_STEPS=$${CHAOS_STEPS:-30} \
		$(IN_NAMESPACES) $(BIN)/python -m pytest tests/chaos

.PHONY: errors
errors: setup ## Let every call to the kernel meet every error, for the better part of an hour
	FAULT_SWEEPS=all $(PYTEST) \
		tests/e2e/test_kernel_errors.py tests/e2e/test_kernel_errors_at_start.py

compile = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header

.PHONY: lock
lock: setup ## Resolve the dependencies anew: requirements.lock to run, requirements-dev.lock to develop
	$(compile) --extra ui --output-file requirements.lock pyproject.toml
	$(compile) --extra ui --extra dev --constraints requirements.lock --output-file requirements-dev.lock pyproject.toml

.PHONY: clean
clean: ## Remove what the other targets made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
