#!/usr/bin/env python3
"""From the reset vector: SeaBIOS, GRUB from a disk's boot sector, a stock Debian kernel; nothing is loaded from the host."""
import tempfile

from firmware_parts import Qmp, drive, grub, grub_disk
from vmtest import CACHE, Failure, Guest, run_tests


def to_the_shell(guest):
    guest.expect("SeaBIOS")
    from_grub_to_the_shell(guest)


def from_grub_to_the_shell(guest):
    guest.expect("Debian kernel on a GRUB disk")
    guest.expect(r"Linux version 6\.1")
    guest.expect("hanok guest: up after")


def boots_from_virtio_blk():
    with Guest(["-m", "256", "-nic", "none"] + drive(grub_disk(), **{"if": "virtio"})) as g:
        to_the_shell(g)
        # the guest starts again through the firmware
        g.send("reboot -f\n")
        to_the_shell(g)
        g.send("poweroff -f\n")
        if g.wait() != 0:
            raise Failure("poweroff did not end the process well")


def serial_port_without_graphics():
    """-machine graphics=off: SeaBIOS speaks on the serial port, beside a card that nobody sees."""
    with Guest(["-machine", "graphics=off", "-m", "64", "-nic", "none", "-display", "none", "-serial", "stdio", "-monitor",
                "none"], serial=False) as g:
        g.expect("SeaBIOS")
        g.expect("No bootable device")


def four_cpus_are_found_by_the_firmware():
    with Guest(["-m", "256", "-smp", "4", "-nic", "none"] + drive(grub_disk(), **{"if": "virtio"})) as g:
        to_the_shell(g)
        g.send("nproc\n")
        g.expect(r"\n4\r*\n")


def bootindex_decides():
    empty = CACHE / "empty.img"
    with open(empty, "wb") as f:
        f.truncate(1 << 20)
    devices = drive(empty, id="a", **{"if": "none"}) + drive(grub_disk(), id="b", **{"if": "none"})
    with Guest(["-m", "256", "-nic", "none"] + devices +
               ["-device", "virtio-blk-pci,drive=a,bootindex=2", "-device", "pcie-root-port,id=rp1",
                "-device", "virtio-blk-pci,drive=b,bootindex=1,bus=rp1"]) as g:
        g.expect("Booting from Hard Disk")
        g.expect("Debian kernel on a GRUB disk")
        if "not a bootable disk" in g.text():
            raise Failure("the empty disk was tried first")
    with Guest(["-m", "64", "-nic", "none", "-boot", "strict=on"] + devices +
               ["-device", "virtio-blk-pci,drive=b", "-device", "virtio-blk-pci,drive=a,bootindex=1"]) as g:
        g.expect("not a bootable disk")
        g.expect("No bootable device")


def boots_from_virtio_scsi():
    scsi = ["-device", "virtio-scsi-pci,id=scsi0"]
    with Guest(["-m", "256", "-nic", "none"] + scsi + drive(grub_disk(), id="d", **{"if": "none"}) +
               ["-device", "scsi-hd,drive=d,bus=scsi0.0,scsi-id=2,bootindex=1"]) as g:
        to_the_shell(g)
    with tempfile.TemporaryDirectory() as work:
        sock = f"{work}/qmp"
        with Guest(["-m", "256", "-nic", "none", "-qmp", f"unix:{sock},server=on,wait=off"] + scsi +
                   drive(grub("cd.iso"), id="disc", **{"if": "none"}) +
                   ["-device", "scsi-cd,drive=disc,id=cd0,bootindex=1"]) as g:
            g.expect("Booting from DVD/CD")
            g.expect("Debian kernel on a GRUB disk")
            with Qmp(sock) as q:
                q.run("eject", id="cd0", force=True)
                if "inserted" in q.run("query-block")[0] or not q.run("query-block")[0]["tray_open"]:
                    raise Failure("the disc is still in the drive")
                q.run("blockdev-insert-medium", **{"id": "cd0", "node-name": "disc"})
                if q.run("query-block")[0]["tray_open"]:
                    raise Failure("the tray is still open")


def boots_from_cdrom_and_ejects():
    with tempfile.TemporaryDirectory() as work:
        sock = f"{work}/qmp"
        with Guest(["-m", "256", "-nic", "none", "-boot", "d", "-qmp", f"unix:{sock},server=on,wait=off",
                    "-drive", f"file={grub('cd.iso')},if=none,id=disc,format=raw,readonly=on",
                    "-device", "ide-cd,drive=disc,id=cd0,bus=ide.1"]) as g:
            g.expect("Booting from DVD/CD")
            from_grub_to_the_shell(g)
            with Qmp(sock) as q:
                block = q.run("query-block")
                if [b for b in block if b["qdev"].endswith("cd0") and b["removable"] and "inserted" in b] == []:
                    raise Failure(f"query-block does not tell of the disc: {block}")
                q.run("eject", id="cd0", force=True)
                if "inserted" in q.run("query-block")[0] or not q.run("query-block")[0]["tray_open"]:
                    raise Failure("the disc is still in the drive")
                q.run("blockdev-insert-medium", **{"id": "cd0", "node-name": "disc"})
                if q.run("query-block")[0]["tray_open"]:
                    raise Failure("the tray is still open")


def once_and_menu():
    both = drive(grub_disk(), id="a", **{"if": "none"}) + drive(grub("cd.iso"), id="b", **{"if": "none"})
    devices = ["-device", "virtio-blk-pci,drive=a,bootindex=2", "-device", "ide-cd,drive=b,bus=ide.1"]
    with tempfile.TemporaryDirectory() as work:
        sock = f"{work}/qmp"
        with Guest(["-m", "64", "-nic", "none", "-boot", "order=c,once=d", "-qmp", f"unix:{sock},server=on,wait=off"] +
                   drive(grub_disk()) + ["-cdrom", grub("cd.iso")]) as g:
            g.expect("Booting from DVD/CD")
            with Qmp(sock) as q:
                q.run("system_reset")
            g.expect("Booting from Hard Disk")
    with Guest(["-m", "64", "-nic", "none", "-boot", "menu=on,splash-time=20000"] + both + devices) as g:
        g.expect("Press ESC for boot menu")
        g.send("\x1b")
        choice = g.expect(r"(\d)\. DVD/CD").group(1).decode()
        g.send(choice)
        g.expect("Booting from DVD/CD")


def mistakes_are_sentences():
    for args, wanted in ((["-bios", "no-such.bin"], "there is no firmware file 'no-such.bin'"),
                         (["-bios", __file__], "not a multiple of 64 KiB"),
                         (["-device", "e1000,romfile=no-such.rom"], "there is no firmware file 'no-such.rom'"),
                         (["-boot", "splash=/no/picture"], "-boot splash=/no/picture"),
                         (["-device", "virtio-rng-pci,bootindex=1", "-device", "virtio-rng-pci,bootindex=1"], "given to two devices")):
        with Guest(["-m", "64", "-nic", "none"] + args) as g:
            if g.wait() != 1 or wanted not in g.stderr.decode():
                raise Failure(f"{args}: expected {wanted!r}, got {g.stderr.decode()}")


run_tests([
    ("SeaBIOS, GRUB and Debian's kernel from virtio-blk, twice", boots_from_virtio_blk),
    ("the firmware finds four processors", four_cpus_are_found_by_the_firmware),
    ("SeaBIOS, GRUB and Debian's kernel from disk and CD-ROM on virtio-scsi", boots_from_virtio_scsi),
    ("the same from a CD-ROM, which is then ejected", boots_from_cdrom_and_ejects),
    ("bootindex= and strict=on decide", bootindex_decides),
    ("once= counts for one start, and the menu lets choose", once_and_menu),
    ("-machine graphics=off has the firmware speak on the serial port", serial_port_without_graphics),
    ("mistakes are sentences", mistakes_are_sentences),
])
