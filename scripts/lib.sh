# lib.sh - shared by the project's shell scripts: where things are, and a progress display.
# Source it; POSIX sh.  CACHE holds what was fetched or made for guests (safe to delete).

TOP=$(CDPATH= cd -- "$(dirname -- "$0")" && while [ ! -f meson.build ] || [ ! -d src ]; do
    [ "$PWD" = / ] && exit 1
    cd ..
done && pwd)
CACHE=${HANOK_CACHE:-$TOP/.cache/guest}
LOG_DIR=$TOP/.cache/log

die() {
    printf '%s: error: %s\n' "$(basename -- "$0")" "$*" >&2
    exit 1
}

# as_root CMD...: runs it directly as root, else through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        die "'$1' needs root: run as root, or install sudo"
    fi
}

# step "TEXT" CMD...: runs CMD with its output in a log file and shows what is going on and for how long.
# On a terminal the line is live; otherwise one line at the end.  On failure: the log's tail, and exit 1.
step() {
    step_text=$1
    shift
    mkdir -p "$LOG_DIR"
    step_log=$LOG_DIR/$(printf '%s' "$step_text" | tr -c 'a-zA-Z0-9' '_').log
    step_start=$(date +%s)
    "$@" >"$step_log" 2>&1 </dev/null &
    step_pid=$!
    trap 'kill "$step_pid" 2>/dev/null; exit 130' INT TERM
    if [ -t 2 ]; then
        while kill -0 "$step_pid" 2>/dev/null; do
            for step_mark in '|' / - '\'; do
                printf '\r  %s %s (%ds) \033[K' "$step_mark" "$step_text" $(($(date +%s) - step_start)) >&2
                sleep 0.2
            done
        done
        printf '\r\033[K' >&2
    fi
    if wait "$step_pid"; then
        trap - INT TERM
        printf '  ok  %s (%ds)\n' "$step_text" $(($(date +%s) - step_start)) >&2
    else
        trap - INT TERM
        printf '  FAILED  %s; the end of %s:\n' "$step_text" "$step_log" >&2
        tail -n 25 "$step_log" >&2
        exit 1
    fi
}
