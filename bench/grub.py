#!/usr/bin/env python3
"""Time from the start of the process to GRUB's menu on the serial port, hanok-vm beside QEMU's TCG, alternating in one run.

Rows: SeaBIOS and OVMF, each from virtio-blk and from the SATA controller, on machine q35.  The same disk image, the same
firmware files; medians.  Prints one table; --csv FILE writes it too.
"""
import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests/system"))
import firmware_parts  # noqa: E402  (needs the path above)
import vmtest  # noqa: E402

DRIVES = {"virtio-blk": ["-device", "virtio-blk-pci,drive=d,bootindex=1"],
          "sata": ["-device", "ide-hd,drive=d,bus=ide.0,bootindex=1"]}


def to_menu(argv, firmware, kind):
    """Milliseconds to the menu's entry on the serial port."""
    with tempfile.TemporaryDirectory() as work:
        args = firmware_parts.flash(work)[0] if firmware == "ovmf" else ["-m", "256", "-nic", "none", "-machine", "q35"]
        image = firmware_parts.grub("efi.img" if firmware == "ovmf" else "disk.img", "wait")
        args += ["-drive", f"file={image},format=raw,if=none,id=d,snapshot=on", *DRIVES[kind],
                 "-display", "none", "-serial", "stdio", "-monitor", "none"]
        vmtest.VM = argv[0]
        start = time.perf_counter()
        with vmtest.Guest(argv[1:] + args, serial=False) as guest:
            guest.expect("Debian kernel on a GRUB disk", 300)
            return (time.perf_counter() - start) * 1000


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--csv")
    args = p.parse_args()
    sides = [("hanok-vm jit", [os.environ.get("HANOK_VM", str(TOP / "build/hanok-vm")), "-accel", "jit"])]
    qemu = shutil.which("qemu-system-x86_64")
    if qemu:
        sides.append(("qemu tcg", [qemu, "-accel", "tcg"]))
    lines = [["firmware", "drive", *[f"{name} ms" for name, _ in sides]] + (["ratio"] if qemu else [])]
    for firmware in ("seabios", "ovmf"):
        for kind in DRIVES:
            times = {name: [] for name, _ in sides}
            for _ in range(args.rounds):
                for name, argv in sides:
                    times[name].append(to_menu(argv, firmware, kind))
            medians = [statistics.median(times[name]) for name, _ in sides]
            lines.append([firmware, kind, *[f"{m:.0f}" for m in medians]] +
                         ([f"{medians[1] / medians[0]:.2f}"] if qemu else []))
    for line in lines:
        print("".join(f"{word:<16}" for word in line).rstrip())
    if args.csv:
        Path(args.csv).write_text("".join(",".join(line) + "\n" for line in lines))


main()
