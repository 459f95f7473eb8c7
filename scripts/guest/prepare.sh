#!/bin/sh
# prepare.sh FLAVOUR... - kernel and guest images for each flavour, made only when not there yet.
set -eu
. "$(dirname -- "$0")/../lib.sh"
cd "$TOP"
for flavour in "$@"; do
    [ -f "$CACHE/kernel-$flavour/release" ] ||
        step "fetching the stock Debian $flavour kernel" sh scripts/guest/fetch-kernel.sh "$flavour"
    if [ ! -f "$CACHE/guest-$flavour/stamp" ]; then
        step "making the $flavour guest (initramfs, ext4 disk)" sh scripts/guest/make-guest.sh "$flavour"
    else
        sh scripts/guest/make-guest.sh "$flavour" >/dev/null 2>&1
    fi
done
