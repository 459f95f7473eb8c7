#!/bin/sh
# fetch-kernel.sh FLAVOUR - a stock Debian 12 kernel, unpacked into the cache, never installed on the host.
# FLAVOUR: cloud, generic (both amd64), 686, 686-pae (i386).  Leaves vmlinuz, config, release and
# lib/modules/RELEASE (with modules.dep) in $CACHE/kernel-FLAVOUR and prints that path.
set -eu
. "$(dirname -- "$0")/../lib.sh"

flavour=${1:?usage: fetch-kernel.sh cloud|generic|686|686-pae}
case $flavour in
cloud) meta=linux-image-cloud-amd64 arch=amd64 ;;
generic) meta=linux-image-amd64 arch=amd64 ;;
686) meta=linux-image-686 arch=i386 ;;
686-pae) meta=linux-image-686-pae arch=i386 ;;
*) die "unknown kernel flavour '$flavour' (cloud, generic, 686, 686-pae)" ;;
esac
dest=$CACHE/kernel-$flavour
[ -f "$dest/release" ] && echo "$dest" && exit 0

# i386 package lists live in a private state directory: the host's own apt is not told of a second
# architecture.
mkdir -p "$CACHE"
apt_opts=
if [ "$arch" = i386 ]; then
    state=$CACHE/apt-i386
    mkdir -p "$state/lists/partial" "$state/archives/partial"
    apt_opts="-o APT::Architecture=i386 -o APT::Architectures=i386 -o Dir::State::lists=$state/lists
              -o Dir::Cache=$state -o APT::Sandbox::User= -o Dir::State::status=/dev/null"
    # shellcheck disable=SC2086
    # one broken mirror index must not stop us: what matters is whether the package is found below
    apt-get $apt_opts update >&2 || true
fi
# shellcheck disable=SC2086
package=$(apt-cache $apt_opts depends --important "$meta" | sed -n 's/^ *Depends: *//p' |
    grep '^linux-image-' | head -n 1)
package=${package%%:*}
[ -n "$package" ] || die "apt knows no package '$meta': run 'apt-get update' and check the sources (Debian 12)"

work=$(mktemp -d "$CACHE/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
# shellcheck disable=SC2086
apt-get $apt_opts -o APT::Sandbox::User=root download "$package" >&2
dpkg-deb -x ./*.deb tree
release=$(basename tree/lib/modules/*)
depmod=$(command -v depmod || echo /usr/sbin/depmod)
"$depmod" -b "$work/tree" "$release"
mv "tree/boot/vmlinuz-$release" tree/vmlinuz
mv "tree/boot/config-$release" tree/config
rm -rf tree/boot tree/usr
echo "$release" >tree/release
rm -rf "$dest"
mv tree "$dest"
echo "$dest"
