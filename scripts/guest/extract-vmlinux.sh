#!/bin/sh
# extract-vmlinux.sh BZIMAGE OUT - the ELF vmlinux inside a bzImage (LZ4, xz, zstd or gzip), for PVH boots.
set -eu
. "$(dirname -- "$0")/../lib.sh"
in=${1:?usage: extract-vmlinux.sh BZIMAGE OUT}
out=${2:?usage: extract-vmlinux.sh BZIMAGE OUT}
[ -s "$out" ] && [ "$out" -nt "$in" ] && exit 0
try() { # OCTAL-MAGIC COMMAND...
    magic=$1
    shift
    for at in $(LC_ALL=C grep -aobP "$magic" "$in" | cut -d: -f1); do
        tail -c +$((at + 1)) "$in" | "$@" >"$out.tmp" 2>/dev/null || true
        if [ "$(head -c 4 "$out.tmp" | od -An -c | tr -d ' ')" = '177ELF' ]; then
            mv "$out.tmp" "$out"
            exit 0
        fi
    done
}
try '\x02!L\x18' lz4 -dc -
try '\xfd7zXZ\x00' xz -dc --single-stream
try '\x28\xb5\x2f\xfd' zstd -dc
try '\x1f\x8b\x08' gzip -dc
rm -f "$out.tmp"
die "no kernel found inside '$in' (tried LZ4, xz, zstd, gzip; is the tool installed?)"
