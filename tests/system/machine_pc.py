#!/usr/bin/env python3
"""Machine pc from the reset vector: SeaBIOS, GRUB, a stock Debian kernel, by the drives of an i440FX board.

  machine_pc.py          from an IDE disk
  machine_pc.py --slow   from a CD-ROM on an IDE cable and from virtio-blk, too
"""
import hashlib
import shutil
import struct
import sys
import tempfile
from pathlib import Path

from firmware_parts import Qmp, drive, flash, grub, grub_disk
from vmtest import Failure, Guest, guest_files, run_tests

# multiboot 1 header at 0: flags 0x10000 (addresses), loaded at 1 MiB
def multiboot_kernel():
    flags, base = 0x10000, 0x100000
    return struct.pack("<8I", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF, base, base, 0, 0, base + 32) + bytes(32)


PC = ["-machine", "pc", "-m", "256", "-nic", "none"]


def to_the_shell(guest, by="Booting from Hard Disk"):
    guest.expect(by, 120)
    guest.expect("Debian kernel on a GRUB disk", 120)
    guest.expect(r"Linux version 6\.1", 120)
    guest.expect("hanok guest: up after", 180)


def power_off(guest):
    guest.send("poweroff\n")
    if guest.wait(120) != 0:
        raise Failure(f"ACPI power-off did not end the process well: {guest.stderr.decode()}")


def boots_from_ide():
    with tempfile.TemporaryDirectory() as work:
        disk = Path(work) / "disk.img"
        shutil.copyfile(grub_disk(), disk)
        with Guest(PC + ["-drive", f"file={disk},format=raw", "-cdrom", grub("cd.iso")]) as g:
            to_the_shell(g)
            # both through the guest's driver, by DMA; then a write that must be on the host
            for device, image in (("sda", disk), ("sr0", Path(grub("cd.iso")))):
                with open(image, "rb") as f:
                    digest = hashlib.sha256(f.read(16 << 20)).hexdigest()
                g.send(f"head -c {16 << 20} /dev/{device} | sha256sum\n")
                g.expect(digest, 120)
            g.send("echo written by the guest | dd of=/dev/sda bs=512 seek=1000 conv=fsync 2>/dev/null\n"
                   "grep ata_piix /proc/interrupts\n")
            g.expect(r"14: +[0-9]{2,} .*ata_piix", 60)
            power_off(g)
        with open(disk, "rb") as f:
            f.seek(512 * 1000)
            if f.read(20) != b"written by the guest":
                raise Failure("what the guest wrote is not in the image")
        for bad in ("exception Emask", "failed command", "irq 14: nobody cared"):
            if bad in g.text():
                raise Failure(f"the IDE driver complained: {bad}\n{g.text()[-3000:]}")


def kernel(more):
    files = guest_files("cloud")
    return ["-kernel", str(files / "vmlinuz"), "-initrd", str(files / "initrd.img"), "-append", f"console=ttyS0 {more}"]


def kernel_under_seabios():
    with Guest(PC + ["-bios", "bios-256k.bin"] + kernel("quiet hanok.word")) as g:
        g.expect("SeaBIOS")
        g.expect("Booting from ROM")
        g.expect("hanok guest: up after", 180)
        g.send("cat /proc/cmdline\n")
        g.expect(r"\nconsole=ttyS0 quiet hanok\.word")
        power_off(g)


def kernel_under_ovmf():
    for machine in ("pc", "q35"):
        with tempfile.TemporaryDirectory() as work:
            args, _ = flash(work)
            with Guest(args + ["-machine", machine] + kernel("loglevel=5 hanok.word")) as g:
                g.expect("hanok guest: up after", 300)
                g.send("cat /proc/cmdline\n")
                g.expect("hanok.word")
                power_off(g)
                if "ACPI Error" in g.text() or "ACPI BIOS Error" in g.text():
                    raise Failure("the kernel found fault with the ACPI tables\n" + g.text()[-3000:])


def mistakes_are_sentences():
    text = "firmware does not start: leave out -bios"
    with tempfile.NamedTemporaryFile(suffix=".elf") as f:
        f.write(multiboot_kernel())
        f.flush()
        with Guest(PC + ["-bios", "bios-256k.bin", "-kernel", f.name]) as g:
            if g.wait() != 1 or text not in g.stderr.decode():
                raise Failure(f"expected {text!r}, got {g.stderr.decode()}")


def boots_from_cdrom_and_changes_it():
    with tempfile.TemporaryDirectory() as work:
        sock = f"{work}/qmp"
        with Guest(PC + ["-boot", "d", "-qmp", f"unix:{sock},server=on,wait=off",
                         "-drive", f"file={grub('cd.iso')},if=none,id=disc,format=raw,readonly=on",
                         "-device", "ide-cd,drive=disc,id=cd0,bus=ide.1,unit=1"]) as g:
            to_the_shell(g, "Booting from DVD/CD")
            with Qmp(sock) as q:
                q.run("eject", id="cd0", force=True)
                g.send("dd if=/dev/sr0 of=/dev/null bs=2048 count=1; echo status $?\n")
                g.expect("status 1", 60)
                q.run("blockdev-insert-medium", **{"id": "cd0", "node-name": "disc"})
                g.send("dd if=/dev/sr0 bs=2048 skip=16 count=1 2>/dev/null | cut -c 2-6 | head -n 1; echo done\n")
                g.expect("CD001", 60)
            power_off(g)


def boots_from_virtio_blk():
    with Guest(PC + ["-smp", "2"] + drive(grub_disk(), **{"if": "virtio"})) as g:
        to_the_shell(g)
        g.send("reboot -f\n")
        to_the_shell(g)
        g.send("nproc\n")
        g.expect(r"\n2\r*\n")
        power_off(g)


TESTS = [
    ("SeaBIOS, GRUB and Debian's kernel from an IDE disk, which is read and written", boots_from_ide),
    ("a kernel given by -kernel starts under SeaBIOS", kernel_under_seabios),
    ("mistakes are sentences", mistakes_are_sentences),
]
SLOW = [
    ("the same from a CD-ROM on an IDE cable, which is then changed", boots_from_cdrom_and_changes_it),
    ("the same from virtio-blk, twice", boots_from_virtio_blk),
    ("a kernel given by -kernel starts under OVMF, on both boards", kernel_under_ovmf),
]
run_tests(TESTS + (SLOW if sys.argv[1:] == ["--slow"] else []))
