#!/bin/sh
# soak_guest.sh SECONDS - inside the guest: loads that run beside one another until the time is over.  Each
# compares what it computes with the host's answer (expected/NAME) and says "soak: NAME ROUNDS WRONG".
# /mnt is the distribution's tree, this file's folder a RAM disk.
end=$(($(cut -d. -f1 /proc/uptime) + $1))
here=$(cd "$(dirname "$0")" && pwd)

going() { [ "$(cut -d. -f1 /proc/uptime)" -lt "$end" ]; }

# worker NAME INSTANCE: its load's output, again and again.
worker() {
    rounds=0
    wrong=0
    while going; do
        got=$("load_$1" "$2" 2>&1)
        rounds=$((rounds + 1))
        [ "$got" = "$(cat "$here/expected/$1")" ] || {
            wrong=$((wrong + 1))
            echo "soak: $1 answered: $got"
        }
    done
    echo "soak: $1 $rounds $wrong" >>"$here/results"
}

load_compile() {
    for c in cold coremark dhrystone fib main; do
        chroot /mnt /usr/lib/gcc/x86_64-linux-gnu/12/cc1 -quiet -O2 -fpreprocessed "/tmp/work/$c.i" -o - | sha256sum
    done
}

load_unpack() {
    mkdir -p "$here/unpacked$1"
    tar -xzf "$here/tree.tar.gz" -C "$here/unpacked$1"
    (cd "$here/unpacked$1" && find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum)
    rm -rf "$here/unpacked$1"
}

load_memory() {
    yes "hanok $(seq 1 50 | tr '\n' ' ')" | head -c 30000000 | sha256sum
}

# Patches kernel text while the others run: tracers, trace events and a static key.
load_toggle() {
    t=/sys/kernel/tracing
    for tracer in function nop function_graph nop; do
        echo $tracer >$t/current_tracer
    done
    for on in 1 0 1 0; do
        echo $on >$t/events/sched/enable
        echo $on >$t/events/syscalls/enable
        echo $on >/proc/sys/kernel/sched_schedstats
    done
    cat $t/current_tracer
}

mount -t tracefs trace /sys/kernel/tracing 2>/dev/null
mkdir -p /mnt/tmp/work
cp "$here"/*.i /mnt/tmp/work/
for instance in $(seq 1 "$(nproc)"); do
    worker compile "$instance" &
done
worker unpack 1 &
worker memory 1 &
worker toggle 1 &
wait
cat "$here/results"
dmesg | grep -E 'BUG:|Oops|WARNING: CPU|stalls? |soft lockup|segfault|general protection|trap ' | sed 's/^/soak: kernel: /'
echo soak-over
