#!/usr/bin/env python3
"""A Linux guest with AVX-512: its kernel takes the state, and programs keep their registers.

The program (avx512_guest.c) is the guest's disk.  It compares all vector and opmask registers across context
switches and signals.  A guest without AVX-512 must not show it.

  avx512.py PROGRAM
"""
import sys
import tempfile
from pathlib import Path

from vmtest import Failure, Guest, Skip, guest_files, run_tests

PROMPT = r"hanok:~# "


def host_has_avx512():
    flags = Path("/proc/cpuinfo").read_text().split()
    return {"avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl"} <= set(flags)


def boot(cpu, disk):
    directory = guest_files("cloud")
    return Guest(["-accel", "jit", "-cpu", cpu, "-m", "192", "-nodefaults", "-display", "none", "-serial",
                  "stdio", "-drive", f"file={disk},format=raw,if=virtio", "-kernel", str(directory / "vmlinuz"),
                  "-initrd", str(directory / "initrd.img"), "-append", "console=ttyS0"], serial=False)


def ask(guest, command, pattern, timeout=60):
    guest.send(command + "\n")
    return guest.expect(pattern, timeout)


def with_disk(cpu, check):
    with tempfile.TemporaryDirectory() as work:
        disk = Path(work) / "program.img"
        program = Path(sys.argv[1]).read_bytes()
        disk.write_bytes(program + bytes(-len(program) % 4096))
        with boot(cpu, disk) as guest:
            guest.expect(PROMPT, 120)
            ask(guest, "dd if=/dev/vda of=/tmp/program bs=64k 2>/dev/null; chmod +x /tmp/program; echo cop''ied", "copied")
            check(guest)


def registers_stay():
    if not host_has_avx512():
        raise Skip("the host has no AVX-512")

    def check(guest):
        ask(guest, "dmesg | grep -c 'x86/fpu.*AVX-512'", r"\n3\b")
        ask(guest, "/tmp/program; echo sta''tus=$?=", r"avx512: 0 of \d+ processes failed\s+status=0=", 240)

    with_disk("max", check)


def not_shown_when_taken_away():
    def check(guest):
        ask(guest, "grep -c avx512 /proc/cpuinfo; echo cou''nted", r"\n0\s+counted")
        ask(guest, "/tmp/program; echo sta''tus=$?=", r"status=1=")

    with_disk("max,-avx512f", check)


run_tests([("registers-stay-across-switches-and-signals", registers_stay),
           ("not-shown-when-taken-away", not_shown_when_taken_away)])
