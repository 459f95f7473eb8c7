#!/bin/sh
# fetch-busybox-i386.sh - a 32-bit static busybox for i386 guests; prints its path in the cache.
set -eu
. "$(dirname -- "$0")/../lib.sh"
dest=$CACHE/busybox-i386
[ -x "$dest" ] && echo "$dest" && exit 0
state=$CACHE/apt-i386
mkdir -p "$state/lists/partial" "$state/archives/partial"
opts="-o APT::Architecture=i386 -o APT::Architectures=i386 -o Dir::State::lists=$state/lists
      -o Dir::Cache=$state -o APT::Sandbox::User= -o Dir::State::status=/dev/null"
work=$(mktemp -d "$CACHE/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
# shellcheck disable=SC2086
{
    apt-get $opts update || true
    apt-get $opts download busybox-static
} >&2
dpkg-deb -x ./*.deb tree
cp tree/bin/busybox "$dest"
echo "$dest"
