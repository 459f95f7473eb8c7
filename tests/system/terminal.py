#!/usr/bin/env python3
"""A terminal session as a person has it: the shell on a pseudo-terminal of 80x24, typed commands, Ctrl-C,
reboot, Ctrl-a h, Ctrl-a c, leaving by Ctrl-a x - and the terminal is left as it was found."""
import fcntl
import shutil
import struct
import tempfile
import termios
from pathlib import Path

from vmtest import Failure, Guest, guest_files, run_tests

PROMPT = r"hanok:[^ ]*# "


def start(work, *extra):
    directory = guest_files("cloud")
    disk = Path(work) / "root.img"
    shutil.copyfile(directory / "root.img", disk)
    guest = Guest(["-machine", "q35", "-accel", "jit", "-m", "256", "-nodefaults",
                   "-chardev", "stdio,id=con,mux=on,signal=off", "-serial", "chardev:con", "-mon", "chardev=con",
                   "-kernel", str(directory / "vmlinuz"), "-initrd", str(directory / "initrd.img"),
                   "-append", "console=ttyS0 root=/dev/vda quiet", "-drive", f"file={disk},format=raw,if=virtio",
                   *extra])
    fcntl.ioctl(guest.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return guest


def test_typed_commands_interrupt_and_quit():
    with tempfile.TemporaryDirectory() as work, start(work) as guest:
        guest.expect(PROMPT, 120)
        guest.send("echo $((6*7))-answer\r")
        guest.expect("42-answer")
        guest.expect(PROMPT)
        # "ready" comes from the foreground child itself, so that the interrupt cannot come too early
        guest.send("sh -c 'echo rea\"\"dy; exec sleep 1000'\r")
        guest.expect("ready")
        guest.send(b"\x03")
        guest.expect(PROMPT, 20)
        guest.send("stty -F /dev/ttyS0 rows 24 cols 80; stty size\r")
        guest.expect("24 80")
        guest.expect(PROMPT)
        guest.send(b"\x01h")
        guest.expect("Ctrl-a x|C-a x")
        guest.send(b"\x01c")
        guest.expect(r"\((qemu|hanok)\) ")
        guest.send("info status\r")
        guest.expect("VM status: running")
        guest.send(b"\x01c")
        guest.send("\r")
        guest.expect(PROMPT)
        guest.send(b"\x01x")
        status = guest.wait(20)
        if status != 0:
            raise Failure(f"Ctrl-a x ended hanok-vm with {status}")
        if termios.tcgetattr(guest.slave) != guest.before:
            raise Failure("the terminal's settings were not restored")


def test_reboot_restarts_and_poweroff_ends():
    with tempfile.TemporaryDirectory() as work, start(work) as guest:
        guest.expect(PROMPT, 120)
        guest.send("reboot\r")
        guest.expect("hanok guest: up", 180)
        guest.expect(PROMPT)
        guest.send("poweroff\r")
        status = guest.wait(60)
        if status != 0:
            raise Failure(f"poweroff ended hanok-vm with {status}")


run_tests([
    ("typed commands, Ctrl-C, monitor, Ctrl-a x", test_typed_commands_interrupt_and_quit),
    ("reboot restarts, poweroff ends", test_reboot_restarts_and_poweroff_ends),
])
