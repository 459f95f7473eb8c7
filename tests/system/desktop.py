#!/usr/bin/env python3
"""A Wayland desktop (weston) on virtio-gpu: a person types into its terminal by a virtio keyboard, moves the pointer
by a virtio tablet and closes the window; the screen is read at each step.

  desktop.py              judges
  desktop.py --save PNG   also leaves a picture of the desktop there
"""
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from firmware_parts import Qmp
from screen import read_ppm
from vmtest import SLOWNESS, TOP, Failure, Guest, Skip, guest_files, run_tests

WIDTH, HEIGHT = 1024, 768
BACKGROUND = (0x20, 0x50, 0x80)  # of make-desktop.sh's weston.ini
TITLE = (WIDTH // 4, 45)         # a place in the title bar of the terminal, which fills the screen
CLOSE = (1004, 46)               # its button
MIDDLE = (WIDTH // 2, HEIGHT // 2)
NAMES = {" ": "spc", "\n": "ret", "/": "slash", "-": "minus", ";": "semicolon"}


def desktop_disk():
    made = subprocess.run(["sh", str(TOP / "scripts/guest/make-desktop.sh")], capture_output=True, text=True)
    if made.returncode:
        raise Skip(f"no desktop guest and it cannot be made here: {made.stderr.strip()[-300:]}")
    return made.stdout.strip().splitlines()[-1] + "/root.img"


class Screen:
    def __init__(self, qmp, path):
        self.qmp, self.path = qmp, path

    def look(self):
        self.qmp.run("screendump", filename=self.path)
        self.width, self.height, self.rgb = read_ppm(self.path)
        return self

    def dot(self, place):
        at = (place[1] * self.width + place[0]) * 3
        return tuple(self.rgb[at:at + 3])

    def until(self, condition, what, seconds=60):
        end = time.monotonic() + seconds * SLOWNESS
        while not condition(self.look()):
            if time.monotonic() > end:
                raise Failure(f"{what}: {self.width} x {self.height}, middle {self.dot(MIDDLE)}, title {self.dot(TITLE)}")
            time.sleep(0.2)


def white(color):
    return min(color) > 200


def text_dots(screen):
    """Lit dots in the terminal's first line of text and the four below it."""
    return sum(1 for y in range(62, 170) for x in range(8, WIDTH - 8) if sum(screen.dot((x, y))) > 300)


def press(qmp, screen, text):
    """As a person types who looks at the screen: the next key when the last one is there."""
    for c in text:
        before = screen.look().rgb
        qmp.run("send-key", keys=[{"type": "qcode", "data": NAMES.get(c, c)}], **{"hold-time": 10})
        screen.until(lambda s, b=before: s.rgb != b, f"the key {c!r}")


def pointer(qmp, place, *buttons):
    events = [{"type": "abs", "data": {"axis": axis, "value": value * 0x7fff // (size - 1)}}
              for axis, value, size in (("x", place[0], WIDTH), ("y", place[1], HEIGHT))]
    qmp.run("input-send-event", events=events)
    for down in buttons:
        qmp.run("input-send-event", events=[{"type": "btn", "data": {"button": "left", "down": down}}])


def person_at_the_desktop(save):
    directory, disk = guest_files("generic"), desktop_disk()
    with tempfile.TemporaryDirectory() as work:
        args = ["-accel", "jit", "-m", "768", "-nodefaults", "-no-reboot", "-serial", "stdio", "-display", "none",
                "-kernel", str(directory / "vmlinuz"), "-initrd", str(directory / "initrd.img"),
                "-append", "console=ttyS0 quiet root=/dev/vda",
                "-drive", f"file={disk},format=raw,if=virtio,snapshot=on",
                "-device", f"virtio-vga,xres={WIDTH},yres={HEIGHT}", "-device", "virtio-keyboard-pci",
                "-device", "virtio-tablet-pci", "-qmp", f"unix:{work}/qmp,server=on,wait=off"]
        with Guest(args, serial=False) as g:
            g.expect("desktop guest: up after", 300)
            with Qmp(f"{work}/qmp") as q:
                screen = Screen(q, f"{work}/shot.ppm")
                screen.until(lambda s: (s.width, s.height) == (WIDTH, HEIGHT) and white(s.dot(TITLE)) and
                             s.dot(MIDDLE) == (0, 0, 0) and text_dots(s) > 20, "the terminal", 180)
                before = text_dots(screen)
                press(q, screen, "uname -a; ls -l /; touch /tmp/typed\n")
                g.send("until [ -f /tmp/typed ]; do sleep 0.2; done; echo was-$((40+2))-typed\n")
                g.expect("was-42-typed", 60)
                screen.until(lambda s: text_dots(s) > before + 1000, "what was typed, and its answer")
                # an arrow on the black ground, wherever it is moved to
                for place in (MIDDLE, (WIDTH - 200, HEIGHT - 100)):
                    pointer(q, place)
                    screen.until(lambda s, p=place: any(sum(s.dot((p[0] + x, p[1] + y))) for x in range(4) for y in range(8)),
                                 f"the pointer at {place}")
                if save:
                    q.run("screendump", filename=str(Path(save).resolve()), format="png")
                pointer(q, CLOSE, True, False)
                screen.until(lambda s: s.dot(MIDDLE) == BACKGROUND, "the background, after the window was closed")


if __name__ == "__main__":
    save_to = sys.argv[2] if sys.argv[1:2] == ["--save"] else None
    run_tests([("typing, pointing and closing a window", lambda: person_at_the_desktop(save_to))])
