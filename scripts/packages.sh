#!/bin/sh
# packages.sh GROUP... - installs the Debian packages a group of tasks needs; says nothing when all are there.
# Groups: build, guest (kernels and disks for guests), image (hanok image build), test, long (make test-all), style,
# bench, lab.  Needs root or sudo only when
# something is missing.
set -eu
. "$(dirname -- "$0")/lib.sh"

group_packages() {
    case $1 in
    build)
        echo "gcc libc6-dev make meson ninja-build pkg-config libglib2.0-dev libjansson-dev libzydis-dev
              libslirp-dev liburing-dev libnbd-dev libseccomp-dev libzstd-dev libdeflate-dev libcap-ng-dev
              libxml2-dev libvncserver-dev libusb-1.0-0-dev acpica-tools"
        ;;
    guest) echo "busybox-static cpio e2fsprogs kmod xz-utils lz4 python3 seabios grub-common
              grub-pc-bin grub-efi-amd64-bin xorriso mtools fdisk ovmf ipxe-qemu" ;;
    image) echo "mmdebstrap e2fsprogs fdisk mtools uidmap util-linux" ;;
    test) echo "python3 binutils clang libclang-rt-14-dev qemu-utils libvirt0 libxml2-utils passt libsdl2-dev
               vncsnapshot libjpeg-turbo-progs tesseract-ocr" ;;
    long) echo "mmdebstrap uidmap debian-installer-12-netboot-amd64
               debian-installer-12-netboot-i386 memtest86+ qemu-system-x86 util-linux
               xvfb xdotool" ;;
    style) echo "clang-format clang python3 git" ;;
    lab) echo "gnuplot-nox fonts-nanum" ;;
    bench) echo "qemu-system-x86 qemu-utils cpio" ;;
    *) die "unknown package group '$1' (build, guest, image, test, long, style, bench, lab)" ;;
    esac
}

wanted=
for g in "$@"; do
    wanted="$wanted $(group_packages "$g")"
done
missing=
for p in $wanted; do
    dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
done
[ -z "$missing" ] && exit 0

install_missing() {
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
}
update_and_install() {
    as_root apt-get update && install_missing
}
if [ "$(id -u)" != 0 ] && command -v sudo >/dev/null 2>&1; then
    sudo -v # ask for the password before the display starts
fi
if [ -n "$(find /var/lib/apt/lists -name '*Packages*' 2>/dev/null | head -n 1)" ]; then
    try_install() { install_missing || update_and_install; }
else
    try_install() { update_and_install; }
fi
step "installing packages:$(echo "$missing" | wc -w) missing" try_install
