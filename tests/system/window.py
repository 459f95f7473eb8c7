#!/usr/bin/env python3
"""-display sdl: the window on a desktop (Xvfb) shows the guest's screen, takes keys and the pointer, and ends the
machine when it is closed."""
import contextlib
import ctypes
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import time

from firmware_parts import Qmp, drive, grub_disk
from vmtest import SLOWNESS, VM, Failure, Guest, Skip, run_tests

# the guest's own shell is on the serial port; this one reads what is typed into the window
SHELL = "while sleep 0.1; do setsid sh -c 'exec sh </dev/tty1 >/dev/tty1 2>&1'; done &\n"


class Desktop:
    """An X server whose screen lies in a file."""

    def __init__(self, work):
        if not shutil.which("Xvfb") or not shutil.which("xdotool"):
            raise Skip("Xvfb or xdotool is not installed: scripts/packages.sh test")
        if not (pathlib.Path(VM).parent / "hanok-sdl.so").exists():
            raise Skip("the window's module was not built: libsdl2-dev is not installed")
        read, write = os.pipe()
        self.file = f"{work}/Xvfb_screen0"
        self.process = subprocess.Popen(["Xvfb", "-displayfd", str(write), "-fbdir", work, "-screen", "0", "1280x1024x24",
                                         "-nolisten", "tcp"], pass_fds=[write], stderr=subprocess.DEVNULL)
        os.close(write)
        number = b""
        while not number.endswith(b"\n"):
            more = os.read(read, 16)
            if not more:
                raise Skip("Xvfb does not start here")
            number += more
        os.close(read)
        self.display = f":{number.decode().strip()}"
        self.env = dict(os.environ, DISPLAY=self.display, SDL_VIDEODRIVER="x11", SDL_RENDER_DRIVER="software")

    def close(self):
        self.process.terminate()
        self.process.wait()

    def do(self, *words):
        done = subprocess.run(["xdotool", *words], env=self.env, capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"xdotool {words}: {done.stderr}")
        return done.stdout.split()

    def find(self, name):
        """The window, when it is shown; until then None."""
        done = subprocess.run(["xdotool", "search", "--onlyvisible", "--name", name], env=self.env, capture_output=True,
                              text=True)
        return done.stdout.split()[0] if done.stdout.split() else None

    def size(self, window):
        words = dict(w.split("=") for w in self.do("getwindowgeometry", "--shell", window))
        return int(words["WIDTH"]), int(words["HEIGHT"])

    def lit(self):
        """How many dots of the whole screen are bright: X's window dump format, 32 bits a dot."""
        data = pathlib.Path(self.file).read_bytes()
        head, = struct.unpack(">I", data[:4])
        colors, = struct.unpack(">I", data[76:80])
        pixels = memoryview(data)[head + colors * 12:]
        return sum(1 for v in pixels[1::4] if v > 0x80)

    def ask_to_close(self, window):
        """What a window manager sends when its close button is pressed."""
        x = ctypes.CDLL("libX11.so.6")
        x.XOpenDisplay.restype = ctypes.c_void_p
        x.XInternAtom.restype = ctypes.c_ulong
        x.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
        x.XSendEvent.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
        x.XCloseDisplay.argtypes = [ctypes.c_void_p]
        d = x.XOpenDisplay(self.display.encode())
        event = (ctypes.c_long * 24)()  # XClientMessageEvent: type, serial, send_event, display, window, type, format, data
        event[0], event[4] = 33, int(window)
        event[5], event[6] = x.XInternAtom(d, b"WM_PROTOCOLS", 0), 32
        event[7] = x.XInternAtom(d, b"WM_DELETE_WINDOW", 0)
        x.XSendEvent(d, int(window), 0, 0, event)
        x.XCloseDisplay(d)


def until(condition, what, seconds=60):
    end = time.monotonic() + seconds * SLOWNESS
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failure(what() if callable(what) else what)
        time.sleep(0.1)


@contextlib.contextmanager
def machine(*more):
    with tempfile.TemporaryDirectory() as work:
        desktop = Desktop(work)
        old = dict(os.environ)
        os.environ.update(desktop.env)
        try:
            with Guest(["-m", "256", "-nic", "none", "-name", "desk", "-serial", "stdio", "-qmp",
                        f"unix:{work}/qmp,server=on,wait=off", *more], serial=False) as g:
                yield g, desktop, f"{work}/qmp"
        finally:
            os.environ.clear()
            os.environ.update(old)
            desktop.close()


def shows_types_and_closes():
    with machine("-display", "sdl", *drive(grub_disk(), **{"if": "virtio"})) as (g, desktop, qmp):
        g.expect("hanok guest: up after", 120)
        window = until(lambda: desktop.find("Hanok .desk."), "there is no window")
        until(lambda: desktop.size(window) == (720, 400), lambda: f"the window has {desktop.size(window)} dots")
        until(lambda: desktop.lit() > 2000, lambda: f"the window has {desktop.lit()} bright dots")
        desktop.do("windowfocus", "--sync", window)
        g.send(SHELL)
        g.expect("hanok:~#")
        # again until it is there: the shell on the screen may not have been started yet
        for _ in range(30):
            desktop.do("type", "--delay", "40", "touch /tmp/Typed_1")
            desktop.do("key", "Return")
            g.send("[ -f /tmp/Typed_1 ] && echo was-$((40+2))-typed; echo look-$((1+1))\n")
            if b"was-42-typed" in g.expect("(was-42-typed\\s+)?look-2").group(0):
                break
            g.drain(0.5)
        else:
            raise Failure("what was typed has not arrived: " + g.text()[-500:])
        # a click catches the pointer, a hot key lets it go
        desktop.do("mousemove", "--window", window, "300", "200", "click", "1")
        until(lambda: desktop.find("lets the pointer go"), "the pointer is not caught")
        desktop.do("key", "ctrl+alt+g")
        until(lambda: not desktop.find("lets the pointer go"), "the pointer is not let go")
        with Qmp(qmp) as q:
            desktop.ask_to_close(window)
            if q.event("SHUTDOWN").get("reason") != "host-ui":
                raise Failure("SHUTDOWN has another reason than host-ui")
        if g.wait(30) != 0:
            raise Failure(f"hanok-vm ended with {g.process.returncode}: {g.stderr.decode()}")


def positions_and_no_closing():
    """With a tablet nothing is caught, and window-close=off keeps the machine."""
    with machine("-display", "gtk,window-close=off", "-device", "virtio-tablet-pci",
                 *drive(grub_disk(), **{"if": "virtio"})) as (g, desktop, qmp):
        g.expect("hanok guest: up after", 120)
        window = until(lambda: desktop.find("Hanok .desk."), "there is no window")
        g.send("dd if=$(ls /dev/input/event* | tail -1) bs=24 count=20 2>/dev/null | "
               "hexdump -v -e '\"EV\" 12/2 \" %d\" \"\\n\"'\n")
        width, height = desktop.size(window)
        for step in range(300):  # input is lost until the guest has opened its device
            desktop.do("mousemove", "--window", window, str(width // 2 + step % 2), str(height // 4))
            with contextlib.suppress(Failure):
                g.expect(r"EV( -?\d+){8} 3 0 16[34]\d\d ", 0.2)
                break
        else:
            raise Failure("no position arrives: " + g.text()[-500:])
        if desktop.find("lets the pointer go"):
            raise Failure("the pointer is caught")
        desktop.ask_to_close(window)
        with Qmp(qmp) as q:
            until(lambda: q.run("query-status")["status"] == "running", "it does not run")
            q.run("quit")
        if g.wait(30) != 0:
            raise Failure(f"hanok-vm ended with {g.process.returncode}")


def mistakes_are_sentences():
    for args, env, wanted in ((["-display", "sdl,gl=on"], {}, "gl=on is not possible"),
                              (["-display", "sdl,colour=on"], {}, "colour"),
                              (["-display", "sdl"], {"SDL_VIDEODRIVER": "x11", "DISPLAY": ":987"}, "no window can be opened"),
                              (["-display", "sdl"], {}, "there is no desktop here")):
        old = dict(os.environ)
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
            os.environ.pop(name, None)
        os.environ.update(env)
        try:
            with Guest(["-m", "64", "-nic", "none"] + args) as g:
                if g.wait() != 1 or wanted not in g.stderr.decode():
                    if "is not installed" in g.stderr.decode():
                        raise Skip("the window's module was not built: libsdl2-dev is not installed")
                    raise Failure(f"{args}: expected {wanted!r}, got {g.stderr.decode()}")
        finally:
            os.environ.clear()
            os.environ.update(old)


run_tests([("the screen, keys, a caught pointer, and the end", shows_types_and_closes),
           ("positions by a tablet; it need not be closed", positions_and_no_closing),
           ("mistakes are sentences", mistakes_are_sentences)])
