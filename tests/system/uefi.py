#!/usr/bin/env python3
"""UEFI: OVMF from flash, its shell, variables that persist."""
import tempfile

from firmware_parts import VARS, Qmp, flash
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
    ("mistakes are sentences", test_mistakes_are_sentences),
])
