#!/usr/bin/env python3
"""Suspend to RAM (ACPI S3) and back: without firmware, by SeaBIOS, by OVMF; woken by the monitor and by the guest's clock.

What was in RAM before is there afterwards, processors and disk work, and the machine can sleep again.
"""
import sys
import tempfile

from firmware_parts import Qmp, drive, flash, grub, grub_disk
from vmtest import Failure, Guest, guest_files, run_tests


def sleeps(guest, q, command):
    guest.send(f"{command}; echo awake-$((1+1))\n")
    q.event("SUSPEND")
    status = q.run("query-status")
    if status["status"] != "suspended" or status["running"]:
        raise Failure(f"the machine sleeps, query-status says {status}")


def is_as_before(guest, cpus, token):
    guest.expect("awake-2", 240)
    guest.send("cat /tmp/kept; grep -c ^processor /proc/cpuinfo; sha256sum /tmp/disk; dd if=/dev/vda bs=65536 count=16 "
               "iflag=direct 2>/dev/null | cmp - /tmp/disk && echo same-$((2+2))\n")
    guest.expect(rf"{token}\r*\n{cpus}\r*\n", 60)
    guest.expect("same-4", 60)


def sleeps_and_wakes(args, cpus):
    with tempfile.TemporaryDirectory() as work:
        if args == "ovmf":
            args = flash(work)[0] + drive(grub("efi.img"), **{"if": "virtio"})
        with Guest([*args, "-smp", str(cpus), "-qmp", f"unix:{work}/qmp,server=on,wait=off"]) as g:
            g.expect("hanok guest: up after", 300)
            with Qmp(f"{work}/qmp") as q:
                g.send("dd if=/dev/vda of=/tmp/disk bs=65536 count=16 2>/dev/null; echo first-night > /tmp/kept\n")
                sleeps(g, q, "echo mem > /sys/power/state")
                q.run("system_wakeup")
                q.event("WAKEUP")
                is_as_before(g, cpus, "first-night")
                g.send("echo second-night > /tmp/kept\n")
                sleeps(g, q, "echo 0 > /sys/class/rtc/rtc0/wakealarm; echo +3 > /sys/class/rtc/rtc0/wakealarm; "
                             "echo mem > /sys/power/state")
                q.event("WAKEUP")
                is_as_before(g, cpus, "second-night")
            g.send("poweroff\n")
            if g.wait(120) != 0:
                raise Failure(f"power-off did not end the process well: {g.stderr.decode()}")
        for bad in ("Kernel panic", "BUG:", "WARNING: CPU", "Call Trace", "ACPI Error"):
            if bad in g.text():
                raise Failure(f"the kernel complained ({bad})\n{g.text()[-3000:]}")


def direct():
    files = guest_files("cloud")
    return ["-kernel", str(files / "vmlinuz"), "-initrd", str(files / "initrd.img"), "-append", "console=ttyS0"]


VIRTIO = {"if": "virtio"}
BOARD = ["-m", "256", "-nic", "none"]
TESTS = [
    ("by SeaBIOS", lambda: sleeps_and_wakes([*BOARD, *drive(grub_disk(), **VIRTIO)], 1)),
    ("without firmware, two processors",
     lambda: sleeps_and_wakes([*BOARD, *direct(), *drive(grub_disk(), **VIRTIO)], 2)),
    ("by SeaBIOS, two processors", lambda: sleeps_and_wakes([*BOARD, *drive(grub_disk(), **VIRTIO)], 2)),
    ("by SeaBIOS on machine pc",
     lambda: sleeps_and_wakes([*BOARD, "-machine", "pc", *drive(grub_disk(), **VIRTIO)], 1)),
    ("by OVMF", lambda: sleeps_and_wakes("ovmf", 2)),
]
words = sys.argv[1:]
run_tests([t for t in TESTS if not words or any(w == t[0] for w in words)])
