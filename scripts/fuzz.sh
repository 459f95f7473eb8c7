#!/bin/sh
# fuzz.sh [SECONDS] - builds every libFuzzer target of tests/fuzz with clang and runs each over its corpus for
# SECONDS (default 30).  A crash leaves its input in .cache/fuzz and fails.
set -eu
. "$(dirname -- "$0")/lib.sh"
cd "$TOP"
seconds=${1:-30}
sh scripts/packages.sh build test
if [ ! -f build-fuzz/build.ninja ]; then
    CC=clang step "configuring build-fuzz" meson setup build-fuzz -Db_sanitize=address,undefined -Db_lundef=false \
        -Dbuildtype=debugoptimized -Dfuzz=true -Dwerror=false
fi
step "building the fuzz targets" ninja -C build-fuzz
status=0
for target in build-fuzz/tests/fuzz/fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    name=$(basename "$target")
    corpus=tests/fuzz/corpus/${name#fuzz_}
    work=.cache/fuzz/$name
    mkdir -p "$work" "$corpus"
    if "$target" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048 -print_final_stats=0 \
        -artifact_prefix="$work/" "$work" "$corpus" >"$work.log" 2>&1; then
        printf '  ok  %s: %s\n' "$name" "$(grep -E 'DONE' "$work.log" | tail -n 1)"
    else
        printf '  FAILED  %s; the end of %s:\n' "$name" "$work.log"
        tail -n 20 "$work.log"
        status=1
    fi
done
exit $status
