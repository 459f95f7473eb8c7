#!/usr/bin/env python3
"""What a person at the screen sees and types: text mode, a linear framebuffer, a VNC viewer, keys, screendump."""
import os
import struct
import tempfile
import zlib

from firmware_parts import Qmp, drive, grub_disk
from vmtest import Failure, Guest, run_tests
from vnc_client import Viewer

# set 1 scan codes
SHIFT = 0x2a
CODES = {c: 0x10 + i for i, c in enumerate("qwertyuiop")}
CODES |= {c: 0x1e + i for i, c in enumerate("asdfghjkl")}
CODES |= {c: 0x2c + i for i, c in enumerate("zxcvbnm")}
CODES |= {" ": 0x39, "\n": 0x1c, "-": 0x0c, "/": 0x35, ".": 0x34}
# the guest's own shell is on the serial port; this one reads what is typed at the screen
SHELL = "while sleep 0.1; do setsid sh -c 'exec sh </dev/tty1 >/dev/tty1 2>&1'; done &\n"


def read_ppm(path):
    with open(path, "rb") as f:
        magic, size, depth, data = f.read().split(b"\n", 3)
    if magic != b"P6" or depth != b"255":
        raise Failure("this is no PPM file")
    width, height = map(int, size.split())
    return width, height, data


def read_png(path):
    """Width, height and RGB bytes of a PNG without filters; checks every checksum."""
    with open(path, "rb") as f:
        data = f.read()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise Failure("this is no PNG file")
    at, packed, head = 8, b"", None
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + n]
        if struct.unpack(">I", data[at + 8 + n:at + 12 + n])[0] != zlib.crc32(kind + body):
            raise Failure(f"the checksum of {kind} is wrong")
        head = struct.unpack(">IIBBBBB", body) if kind == b"IHDR" else head
        packed += body if kind == b"IDAT" else b""
        at += 12 + n
    width, height, raw = head[0], head[1], zlib.decompress(packed)
    line = 1 + 3 * width
    return width, height, b"".join(raw[y * line + 1:(y + 1) * line] for y in range(height))


def lit(rgb):
    return sum(1 for i in range(0, len(rgb), 3) if rgb[i])


def test_viewer_sees_the_screen_and_types():
    with tempfile.TemporaryDirectory() as work:
        sock, qmp = f"{work}/vnc", f"{work}/qmp"
        args = ["-m", "256", "-nic", "none", "-vnc", f"unix:{sock}", "-name", "guest with a screen",
                "-qmp", f"unix:{qmp},server=on,wait=off"]
        with Guest(args + drive(grub_disk(), **{"if": "virtio"})) as g:
            g.expect("hanok guest: up after", 120)
            with Viewer(sock) as v, Qmp(qmp) as q:
                if v.name != "guest with a screen":
                    raise Failure(f"the viewer is told the name {v.name!r}")
                if not v.until(lambda s: lit(s.rgb()) > 2000, 60):
                    raise Failure("the viewer sees no text")
                if (v.width, v.height) != (720, 400):
                    raise Failure(f"text mode has {v.width} x {v.height} dots")
                g.send(SHELL)
                g.expect("hanok:~#")
                if not v.until(lambda s: s.extended, 60):
                    raise Failure("scan codes are not offered")
                for c in "touch /tmp/typed\n":
                    v.press(CODES[c])
                g.send("until [ -f /tmp/typed ]; do sleep 0.2; done; echo was-$((40+2))-typed\n")
                g.expect("was-42-typed", 60)
                for name, reader in (("ppm", read_ppm), ("png", read_png)):
                    path = f"{work}/dump.{name}"
                    q.run("screendump", filename=path, format=name)
                    width, height, rgb = reader(path)
                    if (width, height) != (720, 400) or lit(rgb) < 2000:
                        raise Failure(f"the {name} file has {width} x {height} dots, {lit(rgb)} of them lit")
                # a key by its name, read back by the guest
                g.send(SHELL)
                g.expect("hanok:~#")
                for name in ("t", "o", "u", "c", "h", "spc", "slash", "t", "m", "p", "slash", "y", "ret"):
                    q.run("send-key", keys=[{"type": "qcode", "data": name}], **{"hold-time": 10})
                g.send("until [ -f /tmp/y ]; do sleep 0.2; done; echo was-$((40+2))-named\n")
                g.expect("was-42-named", 60)
                info = q.run("query-vnc")
                if not info["enabled"] or info["auth"] != "none" or info["viewers"] != 1:
                    raise Failure(f"query-vnc says {info}")
            with Viewer(sock) as v:  # leaves with Shift held down
                v.key(SHIFT, True)
            with Viewer(sock) as v:
                for c in "touch /tmp/t\n":
                    v.press(CODES[c])
            g.send("until [ -f /tmp/t ]; do sleep 0.2; done; echo was-$((40+2))-small\n")
            g.expect("was-42-small", 60)


def test_bios_draws_into_ramfb():
    with tempfile.TemporaryDirectory() as work:
        sock = f"{work}/vnc"
        with Guest(["-m", "64", "-nic", "none", "-vga", "none", "-device", "ramfb", "-vnc", f"unix:{sock}"]) as g:
            g.expect("SeaBIOS")
            with Viewer(sock) as v:
                if not v.until(lambda s: (s.width, s.height) == (1024, 768) and lit(s.rgb()) > 500, 60):
                    raise Failure(f"the viewer sees {v.width} x {v.height} dots, {lit(v.rgb())} of them lit")


def test_password_is_asked_for():
    with tempfile.TemporaryDirectory() as work:
        sock, qmp = f"{work}/vnc", f"{work}/qmp"
        with Guest(["-m", "64", "-nic", "none", "-vnc", f"unix:{sock},password=on", "-qmp",
                    f"unix:{qmp},server=on,wait=off"]) as g:
            g.expect("SeaBIOS")
            with Qmp(qmp) as q:
                q.run("set_password", protocol="vnc", password="sesame")
                with Viewer(sock) as v:
                    if v.kinds != [2]:
                        raise Failure(f"the server offers {v.kinds} instead of VNC authentication")


def test_mistakes_are_sentences():
    for args, wanted in ((["-vnc", "nonsense"], "is not HOST:DISPLAY"),
                         (["-vnc", ":0,password-secret=none"], "there is no secret 'none'"),
                         (["-device", "VGA", "-device", "VGA"], "a machine has one VGA card"),
                         (["-device", "ramfb", "-device", "ramfb"], "a machine has one ramfb"),
                         (["-device", "VGA,vgamem_mb=3"], "a power of two")):
        with Guest(["-m", "64", "-nic", "none"] + args) as g:
            if g.wait() != 1 or wanted not in g.stderr.decode():
                raise Failure(f"{args}: expected {wanted!r}, got {g.stderr.decode()}")


def test_modules_path_is_named_when_the_module_is_missing():
    os.environ["HANOK_MODULES"] = "/nonexistent"
    try:
        with Guest(["-m", "64", "-nic", "none", "-vnc", "unix:/nonexistent/socket"]) as g:
            if g.wait() != 1 or "cannot listen at '/nonexistent/socket'" not in g.stderr.decode():
                raise Failure(g.stderr.decode())
    finally:
        del os.environ["HANOK_MODULES"]


if __name__ == "__main__":
    run_tests([
        ("a VNC viewer sees the screen and types; screendump writes it", test_viewer_sees_the_screen_and_types),
        ("the BIOS draws its text into RAM", test_bios_draws_into_ramfb),
        ("a password is asked for", test_password_is_asked_for),
        ("mistakes are sentences", test_mistakes_are_sentences),
        ("a socket that cannot be made is named", test_modules_path_is_named_when_the_module_is_missing),
    ])
