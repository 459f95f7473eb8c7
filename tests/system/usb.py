#!/usr/bin/env python3
"""USB as a stock Debian kernel sees it: pointer, keyboard, disk, hub; plugged in and out while it runs.

The kernel is the generic one (the cloud kernel has no USB); it runs from its initramfs, with a shell on the serial port.
  usb.py [--fast]   --fast: only what needs no guest
"""
import sys
import tempfile
from pathlib import Path

from firmware_parts import drive, grub_disk
from input_parts import event, machine, move, names, shell, wait_for, watch, watch_input
from process import Process, Qmp, need, run
from vmtest import Guest, run_tests

def check_disk(guest, path, size):
    """The guest reads what is in the image, and writes a megabyte that is there after a sync."""
    wait_for(guest, "[ -b /dev/sda ]")
    shell(guest, "cat /sys/block/sda/size", str(size // 512))
    with open(path, "rb") as image:
        words = image.read(8).decode()
    shell(guest, "dd if=/dev/sda bs=8 count=1 2>/dev/null; echo", words)
    shell(guest, "dd if=/dev/urandom of=/tmp/r bs=1024 count=1024 2>/dev/null; "
                 "dd if=/tmp/r of=/dev/sda bs=65536 seek=4 conv=fsync 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches; "
                 "dd if=/dev/sda bs=65536 skip=4 count=16 2>/dev/null | cmp - /tmp/r && echo same-$((2+2))", "same-4")
    sums = shell(guest, "md5sum /tmp/r", "([0-9a-f]{32})")
    import hashlib
    with open(path, "rb") as image:
        image.seek(4 * 65536)
        need(hashlib.md5(image.read(1 << 20)).hexdigest() == sums.group(1).decode(), "the image has other bytes")


def make_disk(work, size=4 << 20):
    path = Path(work) / "stick.img"
    with open(path, "wb") as image:
        image.write(b"a-stick!")
        image.truncate(size)
    return path, size


def input_and_disk(*controllers, speed):
    with tempfile.TemporaryDirectory() as work:
        path, size = make_disk(work)
        with machine(*controllers, "-drive", f"file={path},format=raw,if=none,id=stick", "-device", "usb-tablet,id=t",
                     "-device", "usb-kbd,id=k", "-device", "usb-storage,drive=stick,id=s,serial=HK42") as (guest, qmp):
            names(guest, "Hanok Tablet")
            names(guest, "Hanok Keyboard")
            watch_input(guest, qmp)
            check_disk(guest, path, size)
            shell(guest, "cat /sys/bus/usb/devices/*/speed | sort -n | tail -1", rf"\n{speed}\r")
            shell(guest, "cat /sys/bus/usb/devices/*/serial", "HK42")


def test_xhci():
    input_and_disk("-device", "qemu-xhci,id=usb", speed=5000)


def test_nec_xhci_without_msix():
    input_and_disk("-device", "nec-usb-xhci,id=usb,msix=off", speed=5000)


def test_xhci_without_messages():
    input_and_disk("-device", "qemu-xhci,id=usb,msix=off,msi=off", speed=5000)


ICH9 = [word for number, place in enumerate(("1d,multifunction=on", "1d.1", "1d.2"), 1)
        for word in ("-device", f"ich9-usb-uhci{number},masterbus=usb.0,firstport={2 * number - 2},addr={place}")]
EHCI = ["-device", "ich9-usb-ehci1,id=usb,addr=1d.7", *ICH9]
UHCI = ["-device", "piix3-usb-uhci,id=usb"]


def test_ehci():
    input_and_disk(*EHCI, speed=480)


def test_uhci_with_a_hub():
    input_and_disk(*UHCI, "-device", "usb-hub", speed=12)


def test_usb_option():
    """-usb is the chip set's controller; what can only be slow goes to a companion."""
    with machine("-usbdevice", "tablet", "-device", "usb-hub,port=3", "-device", "usb-kbd,port=3.1") as (guest, qmp):
        names(guest, "Hanok Tablet")
        names(guest, "Hanok Keyboard")
        watch_input(guest, qmp)
        shell(guest, "ls -l /sys/bus/usb/devices", r"1d\.1/usb\d/\d-1/\d-1\.1")


def test_firmware_boots_from_each_controller():
    for controller in (EHCI, UHCI, ["-device", "nec-usb-xhci"]):
        with Guest(["-m", "256", "-nic", "none", "-boot", "strict=on", *controller, "-device",
                    "usb-storage,drive=stick,bootindex=1"] + drive(grub_disk(), id="stick", **{"if": "none"})) as guest:
            guest.expect("Debian kernel on a GRUB disk", 240)
            guest.expect("hanok guest: up after", 240)


def test_hub_and_mouse():
    with machine("-device", "qemu-xhci,id=usb", "-device", "usb-hub,port=1,bus=usb.0",
                 "-device", "usb-mouse,port=1.2,bus=usb.0") as (guest, qmp):
        names(guest, "Hanok Mouse")
        watch(guest, lambda knock: move(qmp, "rel", 1, 1))
        move(qmp, "rel", 300, -7)
        guest.expect(event(2, 0, 127), 60)
        guest.expect(event(2, 0, 46), 60)
        qmp.get("device_add", driver="usb-kbd", id="late", bus="usb.0", port="1.4")
        names(guest, "Hanok Keyboard")
        qmp.get("device_del", id="late")
        wait_for(guest, "! grep -q 'Hanok Keyboard' /proc/bus/input/devices")


def test_plugged_in_and_out():
    with tempfile.TemporaryDirectory() as work:
        path, size = make_disk(work)
        with machine("-device", "pcie-root-port,id=rp,chassis=1", "-device", "qemu-xhci,id=usb,bus=rp",
                     "-drive", f"file={path},format=raw,if=none,id=stick") as (guest, qmp):
            for round_ in range(3):
                qmp.get("device_add", driver="usb-tablet", id=f"t{round_}", bus="usb.0")
                names(guest, "Hanok Tablet")
                qmp.get("device_del", id=f"t{round_}")
                qmp.wait_event("DEVICE_DELETED")
                wait_for(guest, "! grep -q 'Hanok Tablet' /proc/bus/input/devices")
            qmp.get("device_add", driver="usb-storage", id="s", drive="stick", bus="usb.0")
            check_disk(guest, path, size)
            qmp.get("device_del", id="s")
            wait_for(guest, "[ ! -b /dev/sda ]")
            need("Call Trace" not in guest.text(), guest.text()[-3000:])


def test_mistakes_are_sentences():
    board = ["-nodefaults", "-display", "none", "-accel", "jit", "-S"]
    for args, words in ((["-device", "usb-tablet"], "give -device qemu-xhci first"),
                        (["-device", "qemu-xhci,id=x", "-device", "usb-kbd,bus=y.0"], "there is no USB bus 'y.0'"),
                        (["-device", "qemu-xhci,id=x", "-device", "usb-kbd,port=9"], "has no port 9"),
                        (["-device", "qemu-xhci", "-device", "usb-kbd,port=1", "-device", "usb-kbd,port=1"], "is taken"),
                        (["-device", "qemu-xhci,p2=16"], "at most 15"),
                        (["-device", "ich9-usb-uhci1,masterbus=usb.0"], "there is no USB bus 'usb.0'"),
                        (["-device", "qemu-xhci,id=x", "-device", "ich9-usb-uhci1,masterbus=x.0"], "not the bus of a USB 2"),
                        ([*EHCI, "-device", "ich9-usb-uhci4,masterbus=usb.0"], "each with one companion"),
                        (["-device", "qemu-xhci", "-device", "usb-host"], "it needs vendorid="),
                        (["-device", "qemu-xhci", "-device", "usb-host,vendorid=1,productid=1"], "USB device"),
                        (["-usbdevice", "radio"], "give tablet, mouse or keyboard"),
                        (["-device", "qemu-xhci,p2=0,p3=1", "-device", "usb-kbd"], "no port of USB bus"),
                        (["-device", "qemu-xhci", "-device", "usb-storage"], "it needs drive="),
                        (["-device", "qemu-xhci", "-device", "usb-storage,drive=x"], "no drive or block node 'x'")):
        done = run(*board, *args)
        need(done.returncode == 1 and words in done.stderr and len(done.stderr.splitlines()) == 1,
             f"{args}: {done.returncode} {done.stderr!r}")


def test_query_block_lists_usb_disks():
    with tempfile.TemporaryDirectory() as work:
        path, _ = make_disk(work)
        with Process("-nodefaults", "-display", "none", "-accel", "jit", "-S", "-device", "qemu-xhci", "-drive",
                     f"file={path},format=raw,if=none,id=stick", "-device", "usb-storage,drive=stick,id=s") as p:
            qmp = Qmp(p.qmp)
            qmp.ask("qmp_capabilities")
            need([b["qdev"] for b in qmp.get("query-block")] == ["/machine/peripheral/s"], str(qmp.get("query-block")))


FAST = [test_mistakes_are_sentences, test_query_block_lists_usb_disks]
SLOW = [test_xhci, test_nec_xhci_without_msix, test_xhci_without_messages, test_ehci, test_uhci_with_a_hub, test_usb_option,
        test_firmware_boots_from_each_controller, test_hub_and_mouse, test_plugged_in_and_out]
run_tests([(f.__name__.removeprefix("test_").replace("_", " "), f)
           for f in (FAST if sys.argv[1:] == ["--fast"] else FAST + SLOW)])
