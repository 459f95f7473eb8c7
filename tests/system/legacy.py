#!/usr/bin/env python3
"""Transitional virtio devices under a stock Debian kernel that is told to use their legacy interface: it boots from
such a disk, and each of the others works; both spellings of the command line, and firmware that boots from them."""
import shutil
import tempfile

from firmware_parts import drive, flash, grub, grub_disk
from process import Process, Qmp, need
from vmtest import Guest, guest_files, run_tests

PROMPT = r"hanok:[^ ]*# "


def shell(guest, command, pattern, timeout=60):
    guest.send(f"{command}; echo done-$((1+1))\n")
    found = guest.expect(pattern, timeout)
    guest.expect("done-2", timeout)
    return found


def check_devices(guest, count):
    shell(guest, "echo count-$(ls /sys/bus/virtio/devices | wc -l)", rf"count-{count}\r")
    # VERSION_1: nowhere
    shell(guest, "echo version-$(for d in /sys/bus/virtio/devices/*; do cut -c33 $d/features; done | sort -u)", r"version-0\r")
    shell(guest, "wget -q -O - http://10.0.2.2:1/ 2>&1", "refused")  # an answer of the network's
    shell(guest, "dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c", r"\n64\r")
    shell(guest, "dd if=/dev/sda bs=512 count=1 2>/dev/null | cut -c1-6", "a-disk")
    shell(guest, "echo to-the-$((40+2))-disk >/root/f; sync; echo 3 >/proc/sys/vm/drop_caches; cat /root/f", "to-the-42-disk")
    shell(guest, "echo hello >/dev/hvc0; echo sent-$((40+2))", "sent-42")


def all_devices(suffix, options, append):
    directory = guest_files("cloud")
    with tempfile.TemporaryDirectory() as work:
        shutil.copyfile(directory / "root.img", f"{work}/root.img")
        with open(f"{work}/scsi.img", "wb") as image:
            image.write(b"a-disk")
            image.truncate(1 << 20)
        args = ["-accel", "jit", "-m", "256", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
                "-kernel", str(directory / "vmlinuz"), "-initrd", str(directory / "initrd.img"), "-append",
                f"console=ttyS0 quiet root=/dev/vda hanok.net {append}", "-qmp", f"unix:{work}/qmp,server=on,wait=off",
                "-drive", f"file={work}/root.img,format=raw,if=none,id=root",
                "-device", f"virtio-blk-pci{suffix},drive=root{options}",
                "-netdev", "user,id=n", "-device", f"virtio-net-pci{suffix},netdev=n{options}",
                "-device", f"virtio-serial-pci{suffix}{options}", "-chardev", f"file,id=c,path={work}/console",
                "-device", "virtconsole,chardev=c", "-device", f"virtio-rng-pci{suffix}{options}",
                "-device", f"virtio-balloon-pci{suffix},id=b{options}", "-device", f"virtio-scsi-pci{suffix}{options}",
                "-drive", f"file={work}/scsi.img,format=raw,if=none,id=s", "-device", "scsi-hd,drive=s"]
        with Guest(args, serial=False) as guest:
            guest.expect(PROMPT, 120)
            check_devices(guest, 6)
            qmp = Qmp(f"{work}/qmp")
            qmp.ask("qmp_capabilities")
            qmp.get("balloon", value=200 << 20)
            qmp.wait_event("BALLOON_CHANGE")
            guest.send("poweroff\n")
            need(guest.wait(60) == 0, f"it ended with {guest.process.returncode}")
            with open(f"{work}/console", "rb") as text:
                need(b"hello" in text.read(), "nothing came through the console")
            need(not guest.stderr.strip(), guest.stderr.decode())


def forced():
    all_devices("-transitional", "", "virtio_pci.force_legacy=1")


def legacy_only():
    all_devices("", ",disable-modern=on,disable-legacy=off", "")


def legacy_only_without_msix():
    all_devices("", ",disable-modern=on,vectors=0", "")


def firmware():
    for board in ("q35", "pc"):
        with Guest(["-m", "256", "-nic", "none", "-machine", board, "-device",
                    "virtio-blk-pci,drive=disk,disable-modern=on"] + drive(grub_disk(), id="disk", **{"if": "none"})) as g:
            g.expect("Debian kernel on a GRUB disk", 120)
            g.expect("hanok guest: up after", 120)
    with tempfile.TemporaryDirectory() as work:
        args, _ = flash(work)
        with Guest(args + ["-drive", f"file={grub('efi.img')},if=none,id=disk,format=raw,readonly=on", "-device",
                           "virtio-blk-pci-transitional,drive=disk,bootindex=1"]) as g:
            g.expect("Debian kernel on a GRUB disk", 180)
            g.expect("hanok guest: up after", 180)


def names():
    """What is where: the spellings, and the default on the root bus and behind a port."""
    ids = {}
    with Process("-nodefaults", "-display", "none", "-accel", "jit", "-S", "-device", "pcie-root-port,id=rp,chassis=1",
                 "-device", "virtio-rng-pci,id=plain", "-device", "virtio-rng-pci-transitional,id=old",
                 "-device", "virtio-rng-pci-non-transitional,id=new", "-device", "virtio-rng-pci,id=behind,bus=rp",
                 "-device", "virtio-rng-pci,id=off,disable-legacy=on") as p:
        qmp = Qmp(p.qmp)
        qmp.ask("qmp_capabilities")
        for bus in qmp.get("query-pci"):
            devices = list(bus["devices"])
            for d in devices:
                devices.extend(d.get("pci_bridge", {}).get("devices", []))
                ids[d["qdev_id"]] = d["id"]["device"]
    need((ids["plain"], ids["old"], ids["new"], ids["behind"], ids["off"]) == (0x1005, 0x1005, 0x1044, 0x1044, 0x1044),
         str({k: hex(v) for k, v in ids.items()}))


run_tests([("names and defaults", names), ("a modern kernel, forced", forced), ("no modern interface", legacy_only),
           ("nor MSI-X", legacy_only_without_msix), ("firmware", firmware)])
