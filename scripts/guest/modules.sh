# shellcheck shell=sh
# modules.sh - kernel modules for an initramfs; source it (POSIX sh).

# module_closure KERNEL NAME...: the paths of the modules and all they depend on, dependencies first.
module_closure() {
    closure_kernel=$1
    shift
    closure_release=$(cat "$closure_kernel/release")
    for m in "$@"; do
        line=$(grep -E "/$(echo "$m" | sed 's/[-_]/[-_]/g')\.ko:" \
            "$closure_kernel/lib/modules/$closure_release/modules.dep" || true)
        [ -n "$line" ] || continue # built in
        path=${line%%:*}
        for dep in ${line#*:}; do
            echo "$dep"
        done | tac
        echo "$path"
    done | awk '!seen[$0]++'
}

# number_modules KERNEL DIR NAME...: copies them to DIR as 01-x.ko, 02-y.ko, in the order to load them.
number_modules() {
    number_kernel=$1 number_dir=$2
    shift 2
    n=0
    module_closure "$number_kernel" "$@" | while read -r m; do
        n=$((n + 1))
        cp "$number_kernel/lib/modules/$(cat "$number_kernel/release")/$m" \
            "$number_dir/$(printf '%02d' $n)-$(basename "$m")"
    done
}
