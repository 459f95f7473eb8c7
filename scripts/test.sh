#!/bin/sh
# test.sh BUILDDIR fast|all|unit - runs Meson's test suites, then says N passed, N failed, N skipped.
set -eu
. "$(dirname -- "$0")/lib.sh"
cd "$TOP"
dir=$1
case $2 in
fast) suites="--suite fast" ;;
unit) suites="--suite fast --no-suite system" ;;
all) suites="" ;;
*) die "usage: test.sh BUILDDIR fast|all|unit" ;;
esac
# In a sanitizer build, what the sanitizer says ends the test.
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
status=0
# A loaded machine is slow, not wrong.
# shellcheck disable=SC2086
meson test -C "$dir" --no-rebuild --timeout-multiplier 4 --print-errorlogs $suites || status=$?
python3 - "$dir/meson-logs/testlog.json" <<'PY'
import json, sys
passed = failed = skipped = 0
for line in open(sys.argv[1]):
    r = json.loads(line)["result"]
    if r in ("OK", "EXPECTEDFAIL"):
        passed += 1
    elif r == "SKIP":
        skipped += 1
    else:
        failed += 1
print(f"{passed} passed, {failed} failed, {skipped} skipped")
PY
exit $status
