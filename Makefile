# What people and machines run; `make` alone lists it. Everything works in a fresh clone on
# Debian 12, as root, with a Rust toolchain and gcc; what is missing is installed by apt.
MAKEFLAGS += --no-print-directory
CARGO ?= cargo
PREFIX ?= /usr/local
TARGET := x86_64-unknown-linux-gnu
OUT := $(or $(CARGO_TARGET_DIR),target)
RELEASE := $(OUT)/$(TARGET)/release
DEV := $(OUT)/$(TARGET)/debug
# The binaries of the tests: they know how to take defences away, and are never released.
TESTED := $(OUT)/rkt-tests/bin
# As released, without that knowledge; not optimised, which would take as long as all tests.
PLAIN := $(OUT)/rkt-tests/plain
SKIPS := $(OUT)/rkt-tests/skips
ATTACKS := $(OUT)/rkt-tests/attacks

.PHONY: help build demo test test-vm test-pods check house unit bench bench-walls install clean need-tests

help:
	@echo "make demo      a pod of two apps that try the attacks of rkt issue #576"
	@echo "make test      format, lints, unit tests, and the pods in the real kernel"
	@echo "make test-vm   the tests that need systemd and cgroup version 2, in a machine of their own"
	@echo "make check     what needs no root: format, lints, unit tests, documentation"
	@echo "make bench     rkt beside crun, runc and podman, in one run"
	@echo "make bench-walls  what each wall costs a start"
	@echo "make build     the released binary: $(RELEASE)/rkt"
	@echo "make install   to PREFIX ($(PREFIX)); DESTDIR is understood"

# stage1 and the probe first: they go into rkt, so that one file installs everything.
build:
	@$(CARGO) build --quiet --release -p rkt-stage1 -p rkt-probe
	@RKT_EMBED_DIR=$(abspath $(RELEASE)) $(CARGO) build --quiet --release -p rkt

demo: build
	@contrib/demo.sh $(RELEASE)/rkt

install: build
	install -D -m 0755 $(RELEASE)/rkt $(DESTDIR)$(PREFIX)/bin/rkt

need-tests:
	@tests/need.sh skopeo mmdebstrap docker-registry busybox:busybox-static strace xz:xz-utils bzip2 gpg openssl umoci buildah setfattr:attr setcap:libcap2-bin chattr:e2fsprogs \
	    ip:iproute2 nft:nftables iptables /usr/lib/cni/portmap:containernetworking-plugins pasta:passt

check: house unit
	@RUSTDOCFLAGS="-D warnings" RKT_EMBED_DIR=$(abspath $(TESTED)) $(CARGO) doc --quiet --workspace --no-deps

house: tested
	@$(CARGO) fmt --all --check
	@RKT_EMBED_DIR=$(abspath $(TESTED)) $(CARGO) clippy --quiet --workspace --all-targets -- -D warnings
	@$(CARGO) test --quiet -p rkt-tests --test house

unit: tested
	@RKT_EMBED_DIR=$(abspath $(TESTED)) $(CARGO) test --quiet --workspace --exclude rkt-tests

.PHONY: tested
tested:
	@$(CARGO) build --quiet -p rkt-stage1 --features rkt-stage1/weaken -p rkt-probe
	@install -s -D -t $(TESTED) $(DEV)/rkt-stage1 $(DEV)/rkt-probe
	@RKT_EMBED_DIR=$(abspath $(TESTED)) $(CARGO) build --quiet -p rkt --features rkt/weaken
	@install -D -t $(TESTED) $(DEV)/rkt

.PHONY: plain
plain:
	@$(CARGO) build --quiet -p rkt-stage1 -p rkt-probe
	@install -s -D -t $(PLAIN) $(DEV)/rkt-stage1 $(DEV)/rkt-probe
	@RKT_EMBED_DIR=$(abspath $(PLAIN)) $(CARGO) build --quiet -p rkt
	@install -D -t $(PLAIN) $(DEV)/rkt

test: need-tests house unit plain test-pods

# The tests say what they skip and why; a skip that tests/skips.txt does not expect is a failure.
# Of a whole run the last line is the sum of the attacks; one without a verdict is a failure.
test-pods: tested
	@rm -f $(SKIPS) $(ATTACKS) && touch $(SKIPS) $(ATTACKS)
	@RKT_BIN=$(abspath $(TESTED))/rkt RKT_PLAIN_BIN=$(abspath $(PLAIN))/rkt RKT_TEST_SKIPS=$(abspath $(SKIPS)) \
	    RKT_TEST_ATTACKS=$(abspath $(ATTACKS)) \
	    $(CARGO) test --quiet -p rkt-tests --test rkt -- $(TESTS)
	@tests/skips.sh $(SKIPS)
	@[ -n "$(TESTS)" ] || tests/attacks.sh $(ATTACKS) $(TESTED)/rkt-probe

test-vm: tested
	@tests/need.sh qemu-system-x86_64:qemu-system-x86 mmdebstrap cpio mke2fs:e2fsprogs
	@for suite in bookworm trixie; do \
	    echo "test-vm: $$suite"; RKT_VM_SUITE=$$suite tests/vm/run.sh $(TESTED)/rkt || exit; \
	done

bench: build
	@tests/need.sh crun runc podman catatonit conmon cc:gcc skopeo umoci docker-registry containerd busybox:busybox-static ip:iproute2 nft:nftables /usr/lib/podman/netavark:netavark
	@$(CARGO) run --quiet --release -p rkt-bench -- run --rkt=$(abspath $(RELEASE))/rkt $(BENCH)

# The same program with walls left out, one after the other: built apart, never installed.
bench-walls: build
	@tests/need.sh cc:gcc busybox:busybox-static
	@$(CARGO) build --quiet --release --target-dir $(OUT)/weak -p rkt-stage1 --features rkt-stage1/weaken -p rkt-probe
	@RKT_EMBED_DIR=$(abspath $(OUT))/weak/$(TARGET)/release \
	    $(CARGO) build --quiet --release --target-dir $(OUT)/weak -p rkt --features rkt/weaken
	@$(CARGO) run --quiet --release -p rkt-bench -- run --only=walls \
	    --weak-rkt=$(abspath $(OUT))/weak/$(TARGET)/release/rkt $(BENCH)

clean:
	$(CARGO) clean
