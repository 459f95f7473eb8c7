#!/usr/bin/env python3
"""A running Debian guest moves into a new process: stopped, saved to a file, loaded, and its shell goes on.

The disk is read without pause and a timer ticks while the machine is stopped, so requests are in flight and timers
armed.  What was in memory before must be there after, and the kernel must have noticed nothing but late timers.

  state.py [CPUS ...]       2 when none is given
"""
import hashlib
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from vmtest import SLOWNESS, Failure, Guest, guest_files, run_tests

PROMPT = r"hanok:~# "


class Driver:
    """The machine's test socket (docs/devtest.md)."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60 * SLOWNESS)
        end = time.monotonic() + 20 * SLOWNESS
        while self.socket.connect_ex(str(path)):
            if time.monotonic() > end:
                raise Failure(f"nobody listens at {path}")
            time.sleep(0.02)
        self.file = self.socket.makefile("r")

    def ask(self, command):
        self.socket.sendall(command.encode() + b"\n")
        answer = self.file.readline().strip()
        if not answer.startswith("OK"):
            raise Failure(f"{command.split()[0]} was answered by {answer!r}")


def arguments(directory, work, cpus, accel, more=()):
    return ["-accel", accel, "-m", "192", "-smp", str(cpus), "-nodefaults", "-no-reboot", "-display", "none", "-serial",
            "stdio", "-qtest", f"unix:{work}/driver,server=on,wait=off", "-kernel", str(directory / "vmlinuz"), "-initrd",
            str(directory / "initrd.img"), "-append", "console=ttyS0 root=/dev/vda",
            "-drive", f"file={work}/root.img,format=raw,if=virtio", "-drive",
            f"file={work}/data.img,format=raw,if=virtio,readonly=on", "-device", "virtio-rng-pci", *more]


def ask_shell(guest, command, pattern, timeout=30):
    guest.send(command + "\n")
    return guest.expect(pattern, timeout)


def judge_kernel(guest):
    guest.send("dmesg | tail -n 30; echo dmesg-$((1+1))\n")
    guest.expect("dmesg-2", 30)
    for bad in ("I/O error", "BUG", "WARNING", "Call Trace", "stall", "hung", "buffer error"):
        if bad in guest.text():
            raise Failure(f"the guest complained ({bad}):\n{guest.text()[-2500:]}")


def moves(cpus, accel="jit"):
    directory = guest_files("cloud")
    with tempfile.TemporaryDirectory() as work:
        shutil.copyfile(directory / "root.img", Path(work) / "root.img")
        data = bytes(range(256)) * 4096 * 24
        (Path(work) / "data.img").write_bytes(data)
        want = hashlib.md5(data).hexdigest()
        with Guest(arguments(directory, work, cpus, accel), serial=False) as first:
            first.expect(PROMPT, 120)
            ask_shell(first, "secret=kept-$((6*7)); n=0; echo ready-$((2+3))", "ready-5")
            ask_shell(first, "(while :; do dd if=/dev/vdb of=/dev/null bs=64k iflag=direct 2>/dev/null; done) & "
                      "(while :; do sleep 1; echo tick >>/tmp/ticks; done) & sleep 1; echo busy-$((3+4))", "busy-7")
            driver = Driver(Path(work) / "driver")
            driver.ask("stop")
            driver.ask(f"machine_save {work}/state")
            driver.ask("quit")
            first.wait(30)
        with Guest(arguments(directory, work, cpus, accel, ["-S"]), serial=False) as second:
            driver = Driver(Path(work) / "driver")
            driver.ask(f"machine_load {work}/state")
            driver.ask("cont")
            ask_shell(second, 'echo "secret is $secret"', "secret is kept-42")
            ask_shell(second, "kill %1; md5sum </dev/vdb", want)
            ask_shell(second, "echo written-by-the-second >/note; sync; cat /note; a=$(wc -l </tmp/ticks); sleep 2; "
                      "[ $(wc -l </tmp/ticks) -gt $a ] && echo ticks-go-$((0+1))", "ticks-go-1")
            ask_shell(second, "grep -c ^processor /proc/cpuinfo", rf"\n{cpus}\r")
            judge_kernel(second)
            second.send("poweroff\n")
            status = second.wait(60)
            if status != 0:
                raise Failure(f"the second process ended with {status}: {second.stderr}")


run_tests([(f"jit-cpus-{cpus}", lambda c=cpus: moves(c)) for cpus in map(int, sys.argv[1:] or ["2"])])
