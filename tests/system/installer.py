#!/usr/bin/env python3
"""Debian's installer and memtest86+ from CD-ROM and by PXE, driven by a VNC viewer's keys, their screens read.

  installer.py               all
  installer.py WORD...       those with a word in their name
  installer.py --save DIR    also leaves each screen that was waited for as DIR/NAME-N.png
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import screen_text
from firmware_parts import Qmp, drive, flash
from vmtest import CACHE, Failure, Guest, Skip, run_tests
from vnc_client import Viewer

IMAGES = Path("/usr/lib/debian-installer/images/12")
MEMTEST = Path("/usr/lib/memtest86+/memtest86+x64.iso")
# set 1 scan codes, 0x80 | code for those with a prefix
KEYS = {"return": 0x1c, "down": 0xd0, "up": 0xc8, "esc": 0x01, "tab": 0x0f} | {
    c: 0x10 + i for i, c in enumerate("qwertyuiop")} | {c: 0x1e + i for i, c in enumerate("asdfghjkl")} | {
    c: 0x2c + i for i, c in enumerate("zxcvbnm")}
# what a screen says -> what is typed there (what is chosen stands in other colours, which tesseract does not always see)
FIRST = [
    (["Select a language", "Choose the language to be used for the installation process"], ["return"]),
    (["Select your location", "Country, territory or area"], ["return"]),
    (["Configure the keyboard", "Keymap to use"], ["return"]),
    (["Configure the network", "Please enter the hostname for this system"], list("hanok") + ["return"]),
    (["Configure the network", "Domain name"], ["return"]),
    (["Choose a mirror of the Debian archive"], []),
]


def installer(arch, kind):
    tree = IMAGES / arch / kind / "debian-installer" / arch
    if not (tree / "linux").exists():
        raise Skip(f"no Debian installer for {arch}: scripts/packages.sh long")
    return tree


def installer_iso():
    """A CD-ROM with both installers and GRUB for BIOS and UEFI."""
    iso = CACHE / "installer.iso"
    trees = {kind: installer("amd64", kind) for kind in ("text", "gtk")}
    newest = max((tree / "initrd.gz").stat().st_mtime for tree in trees.values())
    if iso.exists() and iso.stat().st_mtime > newest:
        return iso
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        menu = "set timeout=-1\ninsmod all_video\nset gfxmode=800x600\nset gfxpayload=keep\n"
        for kind, title in (("text", "Install"), ("gtk", "Graphical install")):
            place = Path(work) / "tree" / kind
            place.mkdir(parents=True)
            for name in ("linux", "initrd.gz"):
                shutil.copyfile(trees[kind] / name, place / name)
            menu += f"menuentry '{title}' {{\n linux /{kind}/linux vga=788 --- quiet\n initrd /{kind}/initrd.gz\n}}\n"
        config = Path(work) / "tree/boot/grub/grub.cfg"
        config.parent.mkdir(parents=True)
        config.write_text(menu)
        made = subprocess.run(["grub-mkrescue", "-o", f"{work}/installer.iso", f"{work}/tree"],
                              capture_output=True, text=True)
        if made.returncode:
            raise Failure(made.stderr[-2000:])
        os.replace(f"{work}/installer.iso", iso)
    return iso


class Screen:
    """A machine with a screen; pictures of what was waited for go to the folder save."""

    def __init__(self, name, work, firmware, args, memory="768"):
        self.name, self.shown = name, 0
        self.sock = f"{work}/qmp"
        base = flash(work)[0] if firmware == "ovmf" else ["-machine", "q35", "-nic", "none"]
        if "-netdev" in args:
            base = [a for a in base if a not in ("-nic", "none")]
        self.guest = Guest([*base, "-m", memory, "-serial", "none", "-monitor", "none", "-vnc", "127.0.0.1:20,to=9999",
                            "-qmp", f"unix:{self.sock},server=on,wait=off", *args], serial=False)

    def __enter__(self):
        while not os.path.exists(self.sock):
            if self.guest.process.poll() is not None:
                self.guest.wait()
                raise Failure(f"hanok-vm does not start: {self.guest.stderr.decode()}")
            self.guest.drain(0.1)
        self.qmp = Qmp(self.sock).__enter__()
        self.display = int(self.qmp.run("query-vnc")["service"]) - 5900
        return self

    def __exit__(self, *unused):
        self.qmp.__exit__()
        self.guest.__exit__()

    def wait(self, words, seconds=300):
        text = screen_text.wait_for(self.guest, self.display, words, seconds)
        if save:
            self.shown += 1
            place = save / f"{re.sub('[^a-z0-9]+', '-', self.name.lower())}-{self.shown}.png"
            self.qmp.run("screendump", filename=str(place.resolve()), format="png")
        return text

    def press(self, *keys):
        with Viewer(("127.0.0.1", 5900 + self.display)) as v:
            if not v.until(lambda s: s.extended, 60):
                raise Failure("scan codes are not offered")
            for key in keys:
                v.press(KEYS[key])

    def drive(self, steps):
        for words, keys in steps:
            self.wait(words)
            if keys:
                self.press(*keys)


def from_cdrom(firmware, kind):
    name = f"{kind} installer from CD-ROM under {firmware}"

    def test():
        screen_text.need_tools()
        iso = installer_iso()
        with tempfile.TemporaryDirectory() as work:
            args = drive(iso, media="cdrom") + ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile="]
            with Screen(name, work, firmware, args, "1024") as screen:
                screen.wait(["GNU GRUB", "Install", "Graphical install"])
                screen.press(*(["down"] if kind == "graphical" else []), "return")
                screen.drive(FIRST)
    return name, test


PXE = {  # firmware -> what it asks the network for, what the menu says
    "seabios": ("pxelinux.0", ["Debian GNU Linux installer menu", "Advanced options"]),
    "ovmf": ("debian-installer/amd64/bootnetx64.efi", ["GNU GRUB", "Advanced options"]),
}


def by_pxe(arch, kind, firmware="seabios"):
    name = f"{kind} installer for {arch} by PXE under {firmware}"
    start, menu = PXE[firmware]

    def test():
        screen_text.need_tools()
        tree = installer(arch, "gtk" if kind == "graphical" else "text").parent.parent
        with tempfile.TemporaryDirectory() as work:
            args = ["-netdev", f"user,id=n0,tftp={tree},bootfile={start}", "-device",
                    "virtio-net-pci,netdev=n0,bootindex=1"]
            with Screen(name, work, firmware, args, "1024") as screen:
                screen.wait(menu)
                screen.press("return")
                screen.drive(FIRST)
    return name, test


def memtest(firmware):
    name = f"memtest86+ under {firmware}"

    def test():
        screen_text.need_tools()
        if not MEMTEST.exists():
            raise Skip("memtest86+ is not installed: scripts/packages.sh long")
        with tempfile.TemporaryDirectory() as work:
            with Screen(name, work, firmware, drive(MEMTEST, media="cdrom"), "64" if firmware == "seabios" else "128") as screen:
                screen.wait(["Memtest86+ v6.10", "Enter to start testing"])
                screen.press("return")
                screen.wait(["Testing: ", "Pattern", "Errors: 0"])
                if firmware == "seabios":  # a whole pass
                    screen.wait(["Press any key to remove this banner", "Pass: 1 Errors: 0"], 1500)
    return name, test


TESTS = [memtest("seabios"), memtest("ovmf"), from_cdrom("seabios", "text"), from_cdrom("seabios", "graphical"),
         from_cdrom("ovmf", "text"), from_cdrom("ovmf", "graphical"), by_pxe("amd64", "text"), by_pxe("amd64", "graphical"),
         by_pxe("i386", "text"), by_pxe("amd64", "text", "ovmf")]
save = None
words = sys.argv[1:]
if words[:1] == ["--save"]:
    save = Path(words[1])
    words = words[2:]
run_tests([t for t in TESTS if not words or any(w in t[0] for w in words)])
