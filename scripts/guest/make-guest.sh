#!/bin/sh
# make-guest.sh FLAVOUR - an initramfs (initrd.img) and a small ext4 root disk (root.img) with busybox for the
# stock kernel FLAVOUR, in $CACHE/guest-FLAVOUR.  Needs no root.
#
# The initramfs loads the drivers (virtio, e1000, IDE, SATA, keyboard, power button, fw_cfg), brings the network up when asked
# (hanok.net on the kernel command line), mounts root=/dev/vda when there is one, and starts /sbin/init there;
# without a disk it is itself the system.  hanok.run=PATH-OR-WORDS (spaces written as %20) runs a command instead of a shell, reports its
# status through the virtio port "org.hanok.result" and powers off.
set -eu
. "$(dirname -- "$0")/../lib.sh"
. "$TOP/scripts/guest/modules.sh"

flavour=${1:?usage: make-guest.sh cloud|generic|686|686-pae}
here=$TOP/scripts/guest
kernel=$CACHE/kernel-$flavour
dest=$CACHE/guest-$flavour
[ -f "$kernel/release" ] || die "no kernel in '$kernel': run scripts/guest/fetch-kernel.sh $flavour first"
release=$(cat "$kernel/release")
busybox=$(command -v busybox) || die "busybox is missing: run scripts/packages.sh guest"
case $flavour in
686*) # a 64-bit busybox does not run on a 32-bit kernel
    busybox=$("$here/fetch-busybox-i386.sh")
    ;;
esac
stamp=$release-$(cat "$here/init" "$here/rcS" "$here/inittab" "$here/modules.sh" "$0" | cksum | cut -d' ' -f1)
[ -f "$dest/stamp" ] && [ "$(cat "$dest/stamp")" = "$stamp" ] && echo "$dest" && exit 0

mkdir -p "$CACHE"
work=$(mktemp -d "$CACHE/make.XXXXXX")
trap 'rm -rf "$work"' EXIT

common_tree() { # DIR
    mkdir -p "$1/bin" "$1/sbin" "$1/etc/init.d" "$1/proc" "$1/sys" "$1/dev" "$1/tmp" "$1/root" "$1/mnt" \
        "$1/usr/share/udhcpc" "$1/var/run" "$1/lib"
    cp "$busybox" "$1/bin/busybox"
    for applet in $(busybox --list); do
        [ "$applet" = busybox ] || ln -sf busybox "$1/bin/$applet"
    done
    ln -sf ../bin/busybox "$1/sbin/init"
    cp "$here/inittab" "$1/etc/inittab"
    cp "$here/rcS" "$1/etc/init.d/rcS"
    cp "$here/udhcpc.script" "$1/usr/share/udhcpc/default.script"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$1/etc/passwd"
    echo hanok >"$1/etc/hostname"
    # shellcheck disable=SC2016 # for the guest's shell
    echo 'export PS1="hanok:\w# "; cd /root' >"$1/etc/profile"
    cp "$here/hanok-result" "$1/bin/hanok-result"
    chmod 755 "$1/etc/init.d/rcS" "$1/usr/share/udhcpc/default.script" "$1/bin/hanok-result"
}

initramfs=$work/initramfs
common_tree "$initramfs"
cp "$here/init" "$initramfs/init"
chmod 755 "$initramfs/init"
mkdir -p "$initramfs/lib/modules"
number_modules "$kernel" "$initramfs/lib/modules" virtio_pci virtio_blk virtio_console virtio_net virtio_rng \
    virtio_balloon virtio_gpu virtio_scsi ahci ata_piix sd_mod sr_mod isofs pvpanic-pci pvpanic-mmio e1000 e1000e ext4 \
    crc32c_generic crc32c-intel i8042 atkbd button evdev virtio_input qemu_fw_cfg xhci_pci ehci_pci uhci_hcd usbhid hid_generic \
    usb_storage virtio_mmio bochs
(cd "$initramfs" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$work/initrd.img"

common_tree "$work/root"
mke2fs=$(command -v mke2fs || echo /usr/sbin/mke2fs)
"$mke2fs" -q -t ext4 -E root_owner=0:0 -d "$work/root" "$work/root.img" 64M

mkdir -p "$dest"
cp "$kernel/vmlinuz" "$dest/vmlinuz"
mv "$work/initrd.img" "$work/root.img" "$dest/"
echo "$stamp" >"$dest/stamp"
echo "$dest"
