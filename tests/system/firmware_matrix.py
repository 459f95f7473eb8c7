#!/usr/bin/env python3
"""From the reset vector by each firmware from each kind of drive, in cells FIRMWARE:DRIVE.

Each cell: the firmware (seabios, ovmf) finds GRUB on the drive; its menu is on the serial port, and on the picture that
a VNC client takes of the screen; the Return key pressed by a viewer starts a stock Debian kernel, which comes to its
shell.  Drives: ahci, ide (machine pc), nvme, virtio-blk, virtio-scsi, cdrom (AHCI), scsi-cdrom, usb (xHCI), pxe.

  firmware_matrix.py                        one cell (the fast suite's)
  firmware_matrix.py --all                  the whole matrix
  firmware_matrix.py seabios:ahci [...]
"""
import sys
import tempfile

import screen_text
from firmware_parts import Qmp, drive, flash, grub
from vmtest import Failure, Guest, run_tests
from vnc_client import Viewer

FAST = ["seabios:ahci"]
RETURN = 0x1c  # set 1
FIRMWARE = ("seabios", "ovmf")
DRIVES = {
    "ahci": ["-device", "ide-hd,drive=d,bus=ide.0,bootindex=1"],
    "ide": ["-device", "ide-hd,drive=d,bus=ide.0,bootindex=1"],
    "nvme": ["-device", "nvme,drive=d,serial=boot-1,bootindex=1"],
    "virtio-blk": ["-device", "virtio-blk-pci,drive=d,bootindex=1"],
    "virtio-scsi": ["-device", "virtio-scsi-pci,id=s", "-device", "scsi-hd,drive=d,bus=s.0,bootindex=1"],
    "cdrom": ["-device", "ide-cd,drive=d,bus=ide.1,bootindex=1"],
    "scsi-cdrom": ["-device", "virtio-scsi-pci,id=s", "-device", "scsi-cd,drive=d,bus=s.0,bootindex=1"],
    "usb": ["-device", "qemu-xhci,id=usb", "-device", "usb-storage,drive=d,bus=usb.0,bootindex=1"],
}
MENU = "Debian kernel on a GRUB disk"


def from_network(firmware):
    start = {"seabios": "core.0", "ovmf": "bootx64.efi"}[firmware]
    return ["-netdev", f"user,id=n0,tftp={grub('tftp', 'wait')},bootfile={start}",
            "-device", "virtio-net-pci,netdev=n0,bootindex=1"]


def from_drive(firmware, kind):
    image = "cd.iso" if "cdrom" in kind else {"seabios": "disk.img", "ovmf": "efi.img"}[firmware]
    more = {"snapshot": "on"} if "ide-hd" in DRIVES[kind][1] else {}
    return drive(grub(image, "wait"), readonly=not more, id="d", **{"if": "none"}, **more) + DRIVES[kind]


def boots(cell):
    firmware, kind = cell.split(":")
    screen_text.need_tools()
    with tempfile.TemporaryDirectory() as work:
        sock = f"{work}/qmp"
        args = flash(work)[0] if firmware == "ovmf" else ["-m", "256", "-nic", "none"]
        if kind == "pxe":
            args = [a for a in args if a not in ("-nic", "none")]
        args += ["-machine", "pc" if kind == "ide" else "q35", "-serial", "stdio", "-monitor", "none", "-boot", "strict=on",
                 "-vnc", "127.0.0.1:20,to=9999", "-qmp", f"unix:{sock},server=on,wait=off"]
        args += from_network(firmware) if kind == "pxe" else from_drive(firmware, kind)
        with Guest(args, serial=False) as g:
            g.expect(MENU, 240)
            with Qmp(sock) as q:
                display = int(q.run("query-vnc")["service"]) - 5900
            screen_text.wait_for(g, display, ["GNU GRUB version 2.06", MENU, "Press enter to boot the selected OS"])
            with Viewer(("127.0.0.1", 5900 + display)) as v:
                if not v.until(lambda s: s.extended, 60):
                    raise Failure("scan codes are not offered")
                v.press(RETURN)
                g.expect(r"Linux version 6\.1", 240)
            g.expect("hanok guest: up after", 240)
            g.send("poweroff\n")
            if g.wait(120) != 0:
                raise Failure(f"power-off did not end the process well: {g.stderr.decode()}")
            said = [line for line in g.stderr.decode().splitlines() if not line.startswith("hanok-vm: Using ")]
            if said:
                raise Failure(f"stderr is not empty: {said}")


def main():
    cells = sys.argv[1:] or FAST
    if cells == ["--all"]:
        cells = [f"{f}:{d}" for f in FIRMWARE for d in [*DRIVES, "pxe"]]
    run_tests([(cell, lambda c=cell: boots(c)) for cell in cells])


main()
