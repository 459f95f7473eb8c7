# Front door: the build itself is Meson's.  `make help` lists the targets.
BUILD ?= build
ASAN ?= build-asan
PREFIX ?= /usr/local
MESON_SETUP = meson setup --prefix=$(PREFIX)
NINJA_QUIET = scripts/build.sh

.PHONY: help build run test test-all test-asan test-fuzz check-style bench bench-manager bench-cpu bench-disk bench-screen bench-grub soak install guest lab lab-guest clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## build        programs at build/hanok-vm, build/hanok-img, build/hanok (release)
build:
	@$(NINJA_QUIET) $(BUILD) -Dprefix=$(PREFIX)

## guest        the small test guest: stock Debian cloud kernel + busybox (no root)
guest:
	@scripts/guest/prepare.sh cloud

## lab-guest    the laboratory's guests (no root)
lab-guest:
	@sh scripts/packages.sh guest lab
	@sh scripts/guest/make-lab.sh cloud generic

## lab          every experiment of the laboratory, quick (ARGS="--lang ko")
lab: build lab-guest
	@$(BUILD)/hanok lab run all --quick $(ARGS)

## run          boot the guest with hanok-vm, shell on the serial console (ARGS="...")
run: build
	@scripts/run-guest.sh $(ARGS)

## test         all fast tests
test: build guest
	@scripts/test.sh $(BUILD) fast

## test-all     the long ones too: boot matrix, all instruction tests, sanitizers
test-all: build guest
	@sh scripts/packages.sh long
	@scripts/guest/prepare.sh generic 686 686-pae
	@scripts/test.sh $(BUILD) all
	@$(MAKE) --no-print-directory test-asan

## test-asan    fast tests under AddressSanitizer and UndefinedBehaviorSanitizer
test-asan:
	@$(NINJA_QUIET) $(ASAN) -Db_sanitize=address,undefined -Dbuildtype=debugoptimized
	@scripts/test.sh $(ASAN) unit

## test-fuzz    fuzz targets over their corpora, bounded (SECONDS_EACH=30)
test-fuzz:
	@scripts/fuzz.sh $(SECONDS_EACH)

## check-style  format, includes, followed paths, banned words, sizes
check-style:
	@scripts/check-style.sh

## bench        start-up, memory and idle figures, beside QEMU's where installed
bench: build guest
	@python3 bench/startup.py

## bench-manager  what hanok's verbs cost with 1,000 machines (ARGS="--machines N")
bench-manager: build
	@python3 bench/manager.py $(ARGS)

## bench-cpu    integer to boot: native, hanok-vm -accel jit and QEMU TCG, one table (ARGS="--quick")
bench-cpu: build
	@scripts/packages.sh guest bench
	@python3 bench/cpu.py $(ARGS)

## bench-disk   conversion of images, and disk I/O inside a guest, beside QEMU's where installed
bench-disk: build guest
	@scripts/packages.sh guest bench
	@for part in $(wildcard bench/guest_disk.py bench/disk_convert.py); do python3 $$part || exit 1; done

## bench-screen idle cost with a viewer, and a full-screen scroll, beside QEMU's TCG (ARGS="--desktop")
bench-screen: build
	@scripts/packages.sh guest bench
	@scripts/guest/prepare.sh generic
	@python3 bench/screen.py $(ARGS)

## bench-grub   from the start of the process to GRUB's menu by SeaBIOS and OVMF, beside QEMU's TCG (ARGS="--rounds 9")
bench-grub: build guest
	@scripts/packages.sh guest bench
	@python3 bench/grub.py $(ARGS)

## soak         guests of 2 and 4 vcpus under load; every answer must be the host's (SECONDS_EACH=120, ARGS="...")
soak: build guest
	@scripts/packages.sh guest bench
	@python3 bench/cpu.py --list >/dev/null
	@HANOK_VM=$(abspath $(BUILD))/hanok-vm python3 tests/system/soak.py --seconds $(or $(SECONDS_EACH),120) $(ARGS)

## install      programs, man pages, completions (PREFIX=, DESTDIR=)
install: build
	@meson install -C $(BUILD) --no-rebuild --quiet

## clean        removes what was built (guests stay in .cache)
clean:
	rm -rf build build-*
