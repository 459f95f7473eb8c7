#!/bin/sh
# check-style.sh - what a machine can say about style: format, banned functions, followed paths, folder
# READMEs, sizes.  Prints every finding; exit 1 when a rule (not a soft limit) is broken.
set -eu
. "$(dirname -- "$0")/lib.sh"
cd "$TOP"
status=0
say() {
    printf 'style: %s\n' "$*"
    status=1
}

sources=$(git ls-files 'src/**/*.[ch]' 'tests/**/*.[ch]' 'bench/*.[ch]')

format=$(command -v clang-format || true)
[ -n "$format" ] || die "clang-format is missing: run scripts/packages.sh style"
# shellcheck disable=SC2086
unformatted=$("$format" --dry-run $sources 2>&1 | sed -n 's/^\([^:]*\):.*clang-format-violations.*/\1/p' | sort -u)
for f in $unformatted; do
    say "$f is not as clang-format would have it: clang-format -i $f"
done

# Functions that overflow, truncate silently, or start a shell.
banned='\b(strcpy|strcat|sprintf|vsprintf|strncpy|atoi|atol|system|alloca|gets|tmpnam|mktemp)[[:space:]]*\('
for f in $sources; do
    grep -nE "$banned" "$f" | grep -vE '^[0-9]+:[[:space:]]*(\*|//|/\*)' | while read -r hit; do
        printf 'style: %s:%s: banned function\n' "$f" "$hit"
    done
done | grep . && status=1
for f in $sources; do
    grep -nE '\b(TODO|FIXME|XXX)\b' "$f" | grep -vE '(TODO|FIXME|XXX)\(#[0-9]+\)' | sed "s|^|style: $f:|"
done | grep . && status=1

for dir in src/*/; do
    [ -f "$dir/README.md" ] || say "$dir has no README.md"
done

python3 scripts/check-paths.py || status=1
python3 scripts/check-sizes.py || status=1

git grep -nIE '^(<<<<<<<|>>>>>>>)' -- . ':!scripts/check-style.sh' && status=1
[ $status = 0 ] && echo "style: clean"
exit $status
