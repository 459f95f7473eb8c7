#!/bin/sh
# make-guest.sh CPUBENCH - what the CPU benchmark runs in: a tree of distribution packages (native runs
# happen in it), the same as an ext4 image, and an initramfs with CPUBENCH.  Needs no root.
#
# In $CACHE/bench: debs/ (downloaded), root/ (the tree), root.img, initrd.img, vmlinuz.
set -eu
. "$(dirname -- "$0")/../../scripts/lib.sh"
. "$TOP/scripts/guest/modules.sh"

cpubench=${1:?usage: make-guest.sh CPUBENCH}
here=$TOP/bench/cpu
kernel=$CACHE/kernel-cloud
dest=$CACHE/bench
packages="libc6 libgcc-s1 libstdc++6 libcrypt1 zlib1g libbz2-1.0 liblzma5 libzstd1 liblz4-1 libexpat1 libffi8
    libuuid1 libtinfo6 libreadline8 libselinux1 libpcre2-8-0 libacl1 libattr1 libgmp10 libmpfr6 libmpc3 libisl23
    libssl3 openssl libsqlite3-0 sqlite3 python3.11-minimal libpython3.11-minimal libpython3.11-stdlib perl-base
    cpp-12 dash coreutils grep sed gzip xz-utils zstd"

[ -f "$kernel/release" ] || die "no kernel in '$kernel': run scripts/guest/prepare.sh cloud first"
busybox=$(command -v busybox) || die "busybox is missing: run scripts/packages.sh guest"
mkdir -p "$dest"
work=$(mktemp -d "$CACHE/make.XXXXXX")
trap 'rm -rf "$work"' EXIT

make_root() {
    stamp=$(echo "$packages" | cksum)
    [ -f "$dest/stamp" ] && [ "$(cat "$dest/stamp")" = "$stamp" ] && return
    mkdir -p "$work/debs"
    # shellcheck disable=SC2086 # a list of words
    (cd "$work/debs" && apt-get -o APT::Sandbox::User=root download $packages) ||
        die "apt cannot download the benchmark's packages: run 'apt-get update' and check the sources (Debian 12)"
    mkdir -p "$work/root"
    for p in bin sbin lib lib64; do
        mkdir -p "$work/root/usr/$p"
        ln -s "usr/$p" "$work/root/$p"
    done
    for deb in "$work"/debs/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$work/root" --keep-directory-symlink --no-same-owner
    done
    rm -rf "$work/root/usr/share/doc" "$work/root/usr/share/man" "$work/root/usr/share/locale" "$work/root/var"
    ln -sf dash "$work/root/usr/bin/sh"
    for d in proc sys dev tmp bench; do
        mkdir -p "$work/root/$d"
    done
    mke2fs=$(command -v mke2fs || echo /usr/sbin/mke2fs)
    "$mke2fs" -q -t ext4 -O ^has_journal -E root_owner=0:0 -d "$work/root" "$work/root.img" 400M
    rm -rf "$dest/root"
    mv "$work/root" "$work/root.img" "$dest/"
    echo "$stamp" >"$dest/stamp"
}

make_initramfs() {
    tree=$work/initramfs
    mkdir -p "$tree/bin" "$tree/dev" "$tree/proc" "$tree/sys" "$tree/mnt" "$tree/lib/modules" "$tree/bench"
    cp "$busybox" "$tree/bin/busybox"
    for applet in sh mount insmod cat cp basename usleep switch_root; do
        ln -s busybox "$tree/bin/$applet"
    done
    cp "$here/guest/init" "$tree/init"
    chmod 755 "$tree/init"
    cp "$dest/root/bench/"* "$tree/bench/"
    number_modules "$kernel" "$tree/lib/modules" virtio_pci virtio_blk virtio_console ext4 crc32c_generic
    (cd "$tree" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$dest/initrd.img"
}

# make_work: what is in /bench: the program, the scripts of apps/, preprocessed C for the compiler.
make_work() {
    rm -f "$dest"/root/bench/*
    cp "$cpubench" "$here"/apps/* "$dest/root/bench/"
    for c in fib coremark cold dhrystone main; do
        "${CC:-cc}" -std=gnu17 -E -P "$here/$c.c" -o "$dest/root/bench/$c.i"
    done
}

make_root
make_work
make_initramfs
cp "$kernel/vmlinuz" "$dest/vmlinuz"
