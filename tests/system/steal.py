#!/usr/bin/env python3
"""The guest's steal time grows while its CPU competes for one host core with a program that never sleeps.

  steal.py
"""
import os
import subprocess

from vmtest import Failure, Guest, Skip, guest_files, run_tests

ROUNDS = 10  # of two busy seconds each, until steal is seen


def stolen(guest):
    """The guest's steal count, in ticks of a hundredth of a second."""
    guest.send("set -- $(head -n 1 /proc/stat); echo stolen=$9=\n")
    return int(guest.expect(r"stolen=(\d+)=", 60).group(1))


def grows():
    if not os.access("/proc/thread-self/schedstat", os.R_OK):
        raise Skip("the host counts no run delay (/proc/thread-self/schedstat)")
    core = {min(os.sched_getaffinity(0))}
    directory = guest_files("cloud")
    with Guest(["-accel", "jit", "-m", "192", "-nodefaults", "-display", "none", "-serial", "stdio", "-kernel",
                str(directory / "vmlinuz"), "-initrd", str(directory / "initrd.img"), "-append", "console=ttyS0"],
               serial=False) as guest:
        guest.expect("hanok:~# ", 120)
        for task in os.listdir(f"/proc/{guest.process.pid}/task"):
            os.sched_setaffinity(int(task), core)
        rival = subprocess.Popen(["sh", "-c", "while :; do :; done"], preexec_fn=lambda: os.sched_setaffinity(0, core))
        try:
            before = after = stolen(guest)
            for _ in range(ROUNDS):
                guest.send("timeout 2 sh -c 'while :; do :; done'; echo rou''nd-over\n")
                guest.expect("round-over", 60)
                after = stolen(guest)
                if after - before >= 20:
                    return
        finally:
            rival.kill()
            rival.wait()
    raise Failure(f"steal went from {before} to {after} ticks while a busy program shared the core")


run_tests([("steal-grows", grows)])
