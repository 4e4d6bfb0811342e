# Thin: each target sets up what it needs and hands over to Python in tools/.
# Everything that is made goes below build/; HV=xen runs on real Xen 4.17 instead of Proxen;
# DOM0=trixie or sid takes that Debian release's kernel for domain 0 instead of bookworm's.

PYTHON := build/venv/bin/python
HV ?= proxen
export PROXEN_HV := $(HV)
DOM0 ?= bookworm
export PROXEN_DOM0 := $(DOM0)
export PROXEN_DISK := $(DISK)
export PROXEN_NIC := $(NIC)
export PROXEN_CPUS := $(CPUS)
export PROXEN_MEMORY := $(MEMORY)
export PYTHONPATH := $(CURDIR):$(CURDIR)/tools:$(CURDIR)/build/gen
export PYTHONDONTWRITEBYTECODE := 1
PYTEST_ARGS ?=
SEED ?=
seed := $(if $(SEED),--seed $(SEED))

.DEFAULT_GOAL := help
.PHONY: help setup build run check test test-long test-hosts mutate fuzz up down doctor bench compare debug golden iso lock lint clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 12
	@echo; echo "HV=xen runs on real Xen 4.17, HV=xen-4.20 on that; PYTEST_ARGS goes to pytest, as in: make test PYTEST_ARGS='-k grant'"
	@echo "DOM0=trixie or DOM0=sid runs that Debian release's kernel as domain 0, instead of bookworm's"
	@echo "DISK=virtio|ahci|nvme|usb|scsi NIC=virtio|e1000|e1000e|rtl8139|igb CPUS=n MEMORY=8G choose the machine's hardware"
	@echo "SEED=n repeats: make run SEED=7 gives the same console each time, make test SEED=7 the same random tests"

setup: ## have the host's programs and build/venv
	@python3 -m tools.setup $(SETUP_FOR)

build: setup ## build the core, the example kernels and dom0's image
	@$(PYTHON) -m tools.run build

run: setup ## boot, run the example kernel in a domain, exit with its exit code
	@$(PYTHON) -m tools.run example $(seed)

check: setup ## within a minute: ruff, the compiler's check, the tests that your change touches
	@$(PYTHON) -m tools.check

test test-long debug: SETUP_FOR := test

test: setup ## run all tests
	@$(PYTHON) -m tools.run build
	@$(PYTHON) -m pytest $(seed) $(PYTEST_ARGS)

test-long: setup ## hours of what `make test` samples: every order of races, random guests; PYTEST_ARGS splits it
	@$(PYTHON) -m tools.run build
	@HYPOTHESIS_PROFILE=deep $(PYTHON) -m pytest -v -m 'long or deep' $(seed) $(PYTEST_ARGS)

test-hosts: ## as newcomers on Debian 12, 13, sid and less: HOSTS=, WHAT='run test', USERS=, PINS=, KEEP=1
	@python3 -m tests.chroots $(if $(HOSTS),--hosts $(HOSTS)) $(if $(WHAT),--what $(WHAT)) \
		$(if $(USERS),--users $(USERS)) $(if $(PINS),--pins $(PINS)) $(if $(KEEP),--keep)

mutate: setup ## remove each check from the core, and see which test notices
	@$(PYTHON) -m tests.mutation

fuzz: setup ## hostile guests make random hypercalls: COUNT=n of them, TIME=s, REPLAY=file
	@$(PYTHON) -m tests.fuzz $(if $(COUNT),--count $(COUNT)) $(if $(TIME),--time $(TIME)) \
		$(if $(REPLAY),--replay $(REPLAY)) $(if $(TOOLSTACK),--toolstack) $(seed)

up: setup ## keep a machine running for ./xm and the HTTP API
	@$(PYTHON) -m tools.run up $(seed)

down: setup ## stop that machine
	@$(PYTHON) -m tools.run down

iso: setup ## build build/proxen.iso: a disc or USB stick from which a PC boots Proxen, by BIOS or UEFI
	@$(PYTHON) -m tools.iso

doctor: ## what is installed, built and running, and how to mend what is missing
	@python3 -m tools.doctor

bench: setup ## compare with real Xen 4.17; PART='operations disk' for some of it
	@$(PYTHON) -m tools.run build
	@$(PYTHON) -m tools.bench $(PART)

compare: setup ## ask Proxen and real Xen 4.17 the same, and show where they differ
	@$(PYTHON) -m tools.compare

debug: setup ## attach gdb to the core as it starts; KERNEL=build/hello.elf for a toy dom0
	@$(PYTHON) -m tools.run debug $(if $(KERNEL),--kernel '$(KERNEL)') $(seed)

golden: setup ## write the golden disassemblies anew, to be reviewed
	@GOLDEN=write $(PYTHON) -m pytest -q tests/asm
	@git diff --stat tests/asm/golden

lock: setup ## pin the newest Debian packages for dom0's image, to be reviewed
	@$(PYTHON) -m tools.image.debian
	@git diff --stat tools/image/lock

lint: setup ## check style and format
	@$(PYTHON) -m ruff check
	@$(PYTHON) -m ruff format --check

clean: ## remove what was built; downloads and build/venv stay
	@[ ! -e build/run/current ] || $(PYTHON) -m tools.run down
	@if [ -d build ]; then find build -mindepth 1 -maxdepth 1 ! -name cache ! -name 'venv*' -exec rm -rf {} +; fi
