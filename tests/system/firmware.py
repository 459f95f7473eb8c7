#!/usr/bin/env python3
"""From the reset vector: SeaBIOS, GRUB from a disk's boot sector, a stock Debian kernel; nothing is loaded from the host."""
import subprocess

from vmtest import CACHE, TOP, Failure, Guest, Skip, run_tests


def grub_disk():
    try:
        done = subprocess.run([TOP / "scripts/guest/make-grub-disk.sh", "cloud"], capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as e:
        raise Skip(e.stderr.strip()) from e
    return f"{done.stdout.strip()}/disk.img"


def drive(disk, **more):
    return ["-drive", ",".join([f"file={disk}", "format=raw", "readonly=on"] + [f"{k}={v}" for k, v in more.items()])]


def to_the_shell(guest):
    guest.expect("SeaBIOS")
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


def mistakes_are_sentences():
    for args, wanted in ((["-bios", "no-such.bin"], "there is no firmware file 'no-such.bin'"),
                         (["-bios", __file__], "not a multiple of 64 KiB"),
                         (["-boot", "splash=/no/picture"], "-boot splash=/no/picture"),
                         (["-device", "virtio-rng-pci,bootindex=1", "-device", "virtio-rng-pci,bootindex=1"], "given to two devices")):
        with Guest(["-m", "64", "-nic", "none"] + args) as g:
            if g.wait() != 1 or wanted not in g.stderr.decode():
                raise Failure(f"{args}: expected {wanted!r}, got {g.stderr.decode()}")


run_tests([
    ("SeaBIOS, GRUB and Debian's kernel from virtio-blk, twice", boots_from_virtio_blk),
    ("the firmware finds four processors", four_cpus_are_found_by_the_firmware),
    ("bootindex= and strict=on decide", bootindex_decides),
    ("mistakes are sentences", mistakes_are_sentences),
])
