#!/usr/bin/env python3
"""UEFI: OVMF from flash, its shell, variables that persist, Secure Boot with system management mode."""
import tempfile

from firmware_parts import VARS, Qmp, drive, flash, grub
from screen import lit, read_ppm
from vmtest import Failure, Guest, run_tests


def test_shell_and_variables():
    with tempfile.TemporaryDirectory() as work:
        args, copy = flash(work)
        with Guest(args) as g:
            g.expect("Press .*ESC", 180)
            g.send("\x1b")
            g.expect("Shell>", 60)
            g.send("setvar HanokTest -guid 3f1c2a70-5b1e-4a8e-9d0c-68616e6f6b21 -bs -rt -nv =L\"kept\"\r")
            g.expect("Shell>", 60)
            g.send("reset -s\r")
            if g.wait(60) != 0:
                raise Failure("'reset -s' did not end the process well")
        if "kept".encode("utf-16-le") not in copy.read_bytes():
            raise Failure("the variable is not in the image")
        with Guest(args) as g:
            g.expect("Press .*ESC", 180)
            g.send("\x1b")
            g.expect("Shell>", 60)
            g.send("setvar HanokTest -guid 3f1c2a70-5b1e-4a8e-9d0c-68616e6f6b21\r")
            g.expect("6B 00 65 00 70 00 74", 60)


def test_screen_in_ram():
    """OVMF's own driver of ramfb; the shell's text is on the screen."""
    with tempfile.TemporaryDirectory() as work:
        args, _ = flash(work)
        args += ["-vga", "none", "-device", "ramfb", "-qmp", f"unix:{work}/qmp,server=on,wait=off"]
        with Guest(args) as g:
            g.expect("Press .*ESC", 180)
            g.send("\x1b")
            g.expect("Shell>", 60)
            with Qmp(f"{work}/qmp") as q:
                q.run("screendump", filename=f"{work}/shot.ppm")
            width, height, rgb = read_ppm(f"{work}/shot.ppm")
            if (width, height) != (800, 600) or lit(rgb) < 2000 or lit(rgb) > 50000:
                raise Failure(f"the picture has {width} x {height} dots, {lit(rgb)} of them lit")


def secure(work, variables):
    """OVMF with Secure Boot: its variables are kept by code in system management mode."""
    args, copy = flash(work, VARS.with_name("OVMF_CODE_4M.secboot.fd"), VARS.with_name(variables))
    return args + ["-machine", "smm=on", "-accel", "jit"] + drive(grub("efi.img"), **{"if": "virtio"}), copy


def test_secure_boot_variant():
    with tempfile.TemporaryDirectory() as work:
        args, copy = secure(work, "OVMF_VARS_4M.fd")
        before = copy.read_bytes()
        with Guest(args + ["-smp", "2"]) as g:
            g.expect("Debian kernel on a GRUB disk", 300)
            g.expect("hanok guest: up after", 300)
            g.send("poweroff\n")
            if g.wait(120) != 0:
                raise Failure(f"power-off did not end the process well: {g.stderr.decode()}")
        name = "BootOrder".encode("utf-16-le")  # which the firmware has written by system management interrupts
        if name in before or name not in copy.read_bytes():
            raise Failure("the variable is not in the image")


def test_secure_boot_refuses_what_is_not_signed():
    with tempfile.TemporaryDirectory() as work:
        args, _ = secure(work, "OVMF_VARS_4M.ms.fd")
        with Guest(args) as g:
            g.expect("Access Denied|Security Violation", 300)
            if "GRUB" in g.text():
                raise Failure(f"an unsigned boot loader was started:\n{g.text()[-2000:]}")


def test_smm_mistakes_are_sentences():
    for args, wanted in ((["-machine", "smm=on", "-m", "16"], "give at least -m 32"),
                         (["-machine", "smm=perhaps"], "smm")):
        with Guest(["-nic", "none", *args]) as g:
            if g.wait() != 1 or wanted not in g.stderr.decode():
                raise Failure(f"{args}: expected {wanted!r}, got {g.stderr.decode()}")


def test_mistakes_are_sentences():
    with tempfile.NamedTemporaryFile() as odd:
        odd.write(b"x" * 1000)
        odd.flush()
        for args, wanted in ((["-machine", "pflash0=none"], "there is no such block node"),
                             (["-pflash", odd.name], "is no flash"),
                             (["-blockdev", f"driver=raw,node-name=v,file.driver=file,file.filename={VARS},read-only=on",
                               "-machine", "pflash1=v"], "pflash1 is the second flash")):
            with Guest(["-m", "64", "-nic", "none"] + args) as g:
                if g.wait() != 1 or wanted not in g.stderr.decode():
                    raise Failure(f"{args}: expected {wanted!r}, got {g.stderr.decode()}")


run_tests([
    ("the UEFI shell, and a variable that persists", test_shell_and_variables),
    ("the shell on a screen in RAM", test_screen_in_ram),
    ("Secure Boot's variant with system management mode, to the shell", test_secure_boot_variant),
    ("Secure Boot refuses what is not signed", test_secure_boot_refuses_what_is_not_signed),
    ("mistakes are sentences", test_mistakes_are_sentences),
    ("mistakes with smm= are sentences", test_smm_mistakes_are_sentences),
])
