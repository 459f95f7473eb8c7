#!/bin/sh
# make-lab.sh FLAVOUR... - the laboratory's guests: the stock kernel and the modules it needs, in $CACHE/lab-FLAVOUR.
# The lab adds its own program as the first process when it starts a machine.  cloud has virtio; generic has AHCI
# and IDE, too.  Needs no root.
set -eu
. "$(dirname -- "$0")/../lib.sh"
. "$TOP/scripts/guest/modules.sh"
for flavour in "$@"; do
    kernel=$CACHE/kernel-$flavour
    dest=$CACHE/lab-$flavour
    [ -f "$kernel/release" ] ||
        step "fetching the stock Debian $flavour kernel" sh "$TOP/scripts/guest/fetch-kernel.sh" "$flavour"
    stamp=$(cat "$kernel/release")-$(cat "$0" "$TOP/scripts/guest/modules.sh" | cksum | cut -d' ' -f1)
    [ -f "$dest/stamp" ] && [ "$(cat "$dest/stamp")" = "$stamp" ] && continue
    work=$(mktemp -d "$CACHE/make.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/tree/lib/modules" "$work/tree/proc" "$work/tree/sys" "$work/tree/dev" "$dest"
    number_modules "$kernel" "$work/tree/lib/modules" virtio_pci virtio_console virtio_blk virtio_balloon ahci \
        ata_piix sd_mod
    (cd "$work/tree" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$work/modules.cpio"
    cp "$kernel/vmlinuz" "$dest/vmlinuz"
    mv "$work/modules.cpio" "$dest/modules.cpio"
    echo "$stamp" >"$dest/stamp"
    rm -rf "$work"
    trap - EXIT
done
