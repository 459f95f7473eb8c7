#!/bin/sh
# build.sh DIR [MESON-OPTION...] - configures once and builds; one progress line, errors in full.
set -eu
. "$(dirname -- "$0")/lib.sh"
dir=$1
shift
cd "$TOP"
if [ ! -f "$dir/build.ninja" ]; then
    step "configuring $dir" meson setup "$dir" "$@"
fi
if ninja -C "$dir" -n 2>/dev/null | grep -q 'no work to do'; then
    exit 0
fi
step "building $dir" ninja -C "$dir"
