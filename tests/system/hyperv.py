#!/usr/bin/env python3
"""A stock Debian kernel that finds Hyper-V (and no KVM): it takes the reference TSC page as its clock, sends interrupts
and flushes TLBs by hypercalls, and comes to its shell; the time it sees is the host's.

With KVM's leaves beside Hyper-V's, the kernel takes KVM.
"""
import time

from vmtest import SLOWNESS, Failure, Guest, guest_files, run_tests

ALL = ("hv-relaxed,hv-vapic,hv-spinlocks=0x1fff,hv-vpindex,hv-runtime,hv-crash,hv-time,hv-reset,hv-frequencies,hv-tlbflush,"
       "hv-ipi")


def boot(cpu, cpus):
    d = guest_files("cloud")
    return Guest(["-accel", "jit", "-m", "256", "-smp", str(cpus), "-nic", "none", "-cpu", cpu, "-kernel",
                  str(d / "vmlinuz"), "-initrd", str(d / "initrd.img"), "-append", "console=ttyS0 loglevel=7"])


def seconds(guest):
    guest.send("echo now=$(cut -d' ' -f1 /proc/uptime)\n")
    return float(guest.expect(r"\nnow=([0-9.]+)\s").group(1))


def finds_hyperv():
    with boot(f"max,kvm=off,{ALL}", 2) as g:
        g.expect("hanok:.*# ", 120)
        for line in ("Hypervisor detected: Microsoft Hyper-V", "Using hypercall for remote TLB flush",
                     "Using IPI hypercalls", "Switched to clocksource hyperv_clocksource_tsc_page"):
            if line not in g.text():
                raise Failure(f"the kernel did not say {line!r}\n{g.text()[-3000:]}")
        # processes on both processors, whose memory changes hands: interrupts and flushes by hypercall
        g.send("for i in 1 2 3 4; do (for j in 1 2 3 4 5 6 7 8; do (dd if=/dev/zero bs=1M count=4 2>/dev/null | md5sum); done"
               " | sort -u | wc -l >>/tmp/kinds) & done 2>/dev/null; wait; echo kinds $(sort /tmp/kinds | uniq -c)\n")
        g.expect(r"\nkinds 4 1\s", 120)
        before, host = seconds(g), time.monotonic()
        g.send("sleep 2; echo slept-$((1+1))\n")
        g.expect("slept-2", 60)
        inside, outside = seconds(g) - before, time.monotonic() - host
        if not 1.98 <= inside <= outside + 2 * SLOWNESS:
            raise Failure(f"two seconds were {inside} in the guest and {outside} on the host")
        for bad in ("Kernel panic", "BUG:", "WARNING", "unchecked MSR", "Call Trace", "soft lockup"):
            if bad in g.text():
                raise Failure(f"the kernel complained ({bad})\n{g.text()[-3000:]}")
        g.send("poweroff -f\n")
        if g.wait(60) != 0:
            raise Failure(f"hanok-vm ended badly: {g.stderr}")


def prefers_kvm():
    with boot(f"max,{ALL}", 1) as g:
        g.expect("Hypervisor detected: KVM", 60)
        g.expect("hanok:.*# ", 120)
        if "clocksource hyperv" in g.text():
            raise Failure("a clock of Hyper-V's was taken")


run_tests([("finds-hyperv", finds_hyperv), ("prefers-kvm", prefers_kvm)])
