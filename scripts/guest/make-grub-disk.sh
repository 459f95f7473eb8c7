#!/bin/sh
# make-grub-disk.sh FLAVOUR [wait] - a disk as a person has it: master boot record, GRUB, one ext4 partition with the
# stock kernel FLAVOUR and its initramfs under /boot, in $CACHE/grub-FLAVOUR/disk.img; the same as a CD-ROM for BIOS and
# UEFI, cd.iso; as a GPT disk with GRUB for UEFI on its EFI system partition, efi.img; and as a folder tftp/ for network
# boot (core.0, bootx64.efi).  With the word wait, in $CACHE/grub-FLAVOUR-wait: the menu stays until a key is pressed.
# Needs no root.
#
# GRUB's boot sector and core image are put where grub-install would put them: sectors 0 and 1 onward, before the
# partition at 1 MiB.  GRUB speaks on the serial port and on the screen.
set -eu
. "$(dirname -- "$0")/../lib.sh"

flavour=${1:?usage: make-grub-disk.sh cloud|generic [wait]}
guest=$CACHE/guest-$flavour
dest=$CACHE/grub-$flavour${2:+-$2}
timeout=1
[ "${2:-}" = wait ] && timeout=-1
grub=/usr/lib/grub/i386-pc
[ -f "$guest/stamp" ] || die "no guest in '$guest': run scripts/guest/prepare.sh $flavour first"
[ -f $grub/boot.img ] || die "GRUB is missing: run scripts/packages.sh guest"
stamp=$(cat "$guest/stamp")-$(cksum <"$0" | cut -d' ' -f1)
[ -f "$dest/stamp" ] && [ "$(cat "$dest/stamp")" = "$stamp" ] && echo "$dest" && exit 0

work=$(mktemp -d "$CACHE/make.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/boot/grub"
cp "$guest/vmlinuz" "$guest/initrd.img" "$work/root/boot/"
cat >"$work/root/boot/grub/grub.cfg" <<END
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
set timeout=$timeout
menuentry "Debian kernel on a GRUB disk" {
    linux /boot/vmlinuz console=tty0 console=ttyS0
    initrd /boot/initrd.img
}
END
mke2fs=$(command -v mke2fs || echo /usr/sbin/mke2fs)
"$mke2fs" -q -t ext4 -L hanokroot -O ^metadata_csum_seed -E root_owner=0:0 -d "$work/root" "$work/part.img" 128M >/dev/null

# shellcheck disable=SC2016 # for GRUB
printf 'search.fs_label hanokroot root\nset prefix=($root)/boot/grub\n' >"$work/early.cfg"
grub-mkimage -O i386-pc -o "$work/core.img" -p /boot/grub -c "$work/early.cfg" biosdisk part_msdos ext2 normal linux \
    serial terminal echo search search_label configfile halt reboot test ls cat vbe all_video gfxterm

disk=$work/disk.img
truncate -s 129M "$disk"
dd if=$grub/boot.img of="$disk" bs=440 count=1 conv=notrunc status=none
dd if="$work/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
dd if="$work/part.img" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
# One active partition of type 0x83: 2048 sectors in, 128 MiB long; then the signature.
{
    printf '\200\376\377\377\203\376\377\377\000\010\000\000\000\000\004\000'
    head -c 48 /dev/zero
    printf '\125\252'
} | dd of="$disk" bs=1 seek=446 conv=notrunc status=none

efi_modules="fat part_gpt normal linux serial terminal echo search search_label configfile halt reboot test ls cat all_video
    gfxterm"
# esp IMAGE SIZE BOOTX64 - a FAT image that UEFI boots by its fallback name
esp() {
    truncate -s "$2" "$1"
    mformat -i "$1" -v HANOKEFI ${4:-} ::
    mmd -i "$1" ::/EFI ::/EFI/BOOT
    mcopy -i "$1" "$3" ::/EFI/BOOT/BOOTX64.EFI
}

# The network: GRUB's core image, and the same for UEFI; both find their menu where they came from.
mkdir "$work/tftp"
cp -r "$work/root/boot" "$work/tftp/"
grub-mkimage -O i386-pc-pxe -o "$work/tftp/core.0" -p /boot/grub pxe tftp normal linux serial terminal echo search \
    configfile halt reboot test ls cat
# shellcheck disable=SC2086 # words
grub-mkimage -O x86_64-efi -o "$work/tftp/bootx64.efi" -p /boot/grub efinet tftp $efi_modules

# The CD-ROM starts through its El Torito boot images: GRUB for BIOS, and a FAT image with GRUB for UEFI.
grub-mkimage -O i386-pc-eltorito -o "$work/root/boot/grub/eltorito.img" -p /boot/grub biosdisk iso9660 normal linux \
    serial terminal echo search configfile halt reboot test ls cat
# shellcheck disable=SC2016 # for GRUB
printf 'search.fs_label HANOK root\nset prefix=($root)/boot/grub\n' >"$work/early.cfg"
# shellcheck disable=SC2086
grub-mkimage -O x86_64-efi -o "$work/cdx64.efi" -p /boot/grub -c "$work/early.cfg" iso9660 $efi_modules
esp "$work/root/boot/grub/efi.img" 4M "$work/cdx64.efi"
xorriso -as mkisofs -quiet -R -V HANOK -o "$work/cd.iso" -b boot/grub/eltorito.img -no-emul-boot -boot-load-size 4 \
    -boot-info-table -eltorito-alt-boot -e boot/grub/efi.img -no-emul-boot "$work/root" 2>/dev/null

# UEFI finds GRUB under its fallback name; kernel and initramfs lie beside it.
# shellcheck disable=SC2086
grub-mkimage -O x86_64-efi -o "$work/bootx64.efi" -p /boot/grub $efi_modules
esp "$work/esp.img" 64M "$work/bootx64.efi" -F
mmd -i "$work/esp.img" ::/boot ::/boot/grub
mcopy -i "$work/esp.img" "$guest/vmlinuz" "$guest/initrd.img" ::/boot/
mcopy -i "$work/esp.img" "$work/root/boot/grub/grub.cfg" ::/boot/grub/
truncate -s 66M "$work/efi.img"
dd if="$work/esp.img" of="$work/efi.img" bs=1M seek=1 conv=notrunc,sparse status=none
printf 'label: gpt\nstart=2048, size=131072, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n' |
    "$(command -v sfdisk || echo /usr/sbin/sfdisk)" -q "$work/efi.img"

mkdir -p "$dest"
rm -rf "$dest/tftp"
mv "$disk" "$work/cd.iso" "$work/efi.img" "$work/tftp" "$dest/"
echo "$stamp" >"$dest/stamp"
echo "$dest"
