#!/usr/bin/env python3
"""What a screen costs: an idle guest with a viewer attached, and a full-screen text scroll, beside QEMU's TCG.

  idle     CPU time of the process while nothing is done, in % of a core, with one VNC viewer that asks for changes
  scroll   lines of the guest's console in a row, as fast as it can: CPU seconds of the process, and by the clock

On the standard VGA's text mode ("text"), and on virtio-vga's console at 1024 x 768 ("gpu"); --desktop adds the idle
Wayland desktop of scripts/guest/make-desktop.sh.  Runners alternate; medians of --rounds.  Prints one table; --csv FILE
writes it too.
"""
import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests/system"))
import procs  # noqa: E402  (this folder's)
import vmtest  # noqa: E402  (needs the path above)
from vnc_client import Viewer  # noqa: E402

CARDS = {"text": ["-device", "VGA"], "gpu": ["-device", "virtio-vga,xres=1024,yres=768"]}
SCROLL = "seq 1 {lines} >/dev/tty1; echo scrolled-$((1+1))\n"


class Looker(threading.Thread):
    """A viewer that always asks for what has changed."""

    def __init__(self, path):
        super().__init__(daemon=True)
        end = time.monotonic() + 60
        while True:
            try:
                self.viewer = Viewer(path, timeout=600)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
        self.updates, self.ending = 0, False
        self.start()

    def run(self):
        try:
            self.viewer.update(False)
            while True:
                self.viewer.update()
                self.updates += 1
        except OSError:
            if not self.ending:
                raise

    def close(self):
        self.ending = True
        self.viewer.sock.shutdown(2)
        self.join(10)


def runners():
    vm = os.environ.get("HANOK_VM", str(TOP / "build/hanok-vm"))
    # as QEMU does without being told: SeaBIOS starts the kernel, and the card before it
    found = {"hanok-vm jit": [vm, "-accel", "jit", "-bios", "bios-256k.bin"]}
    qemu = shutil.which("qemu-system-x86_64")
    if qemu:
        found["qemu tcg"] = [qemu, "-accel", "tcg", "-cpu", "max"]
    return found


def boot(argv, card, work, desktop=None):
    directory = vmtest.guest_files("generic")
    args = argv[1:] + ["-machine", "q35", "-m", "768" if desktop else "256", "-nodefaults", "-serial", "stdio",
                       "-kernel", str(directory / "vmlinuz"), "-initrd", str(directory / "initrd.img"),
                       "-append", "console=ttyS0 quiet" + (" root=/dev/vda" if desktop else ""), "-vnc", f"unix:{work}/vnc"]
    if desktop:
        args += ["-drive", f"file={desktop},format=raw,if=virtio,snapshot=on"]
    vmtest.VM = argv[0]
    return vmtest.Guest(args + CARDS[card], serial=False)


def idle_percent(guest, seconds):
    guest.drain(3)
    before, start = procs.cpu_seconds(guest.process.pid), time.monotonic()
    guest.drain(seconds)
    return (procs.cpu_seconds(guest.process.pid) - before) / (time.monotonic() - start) * 100


def one(argv, card, options):
    """idle %, CPU seconds and seconds of the scroll, updates the viewer got meanwhile."""
    with tempfile.TemporaryDirectory() as work, boot(argv, card, work) as guest:
        looker = Looker(f"{work}/vnc")
        guest.expect("hanok:[^ ]*# ", 240)
        idle = idle_percent(guest, options.idle_seconds)
        updates, before, start = looker.updates, procs.cpu_seconds(guest.process.pid), time.monotonic()
        guest.send(SCROLL.format(lines=options.lines))
        guest.expect("scrolled-2", 600)
        result = [idle, procs.cpu_seconds(guest.process.pid) - before, time.monotonic() - start, looker.updates - updates]
        looker.close()
        return result


def desktop_idle(argv, options):
    disk = vmtest.CACHE / "desktop/root.img"
    with tempfile.TemporaryDirectory() as work, boot(argv, "gpu", work, disk) as guest:
        looker = Looker(f"{work}/vnc")
        guest.expect("desktop guest: up after", 600)
        guest.drain(20)
        result = [idle_percent(guest, options.idle_seconds), None, None, None]
        looker.close()
        return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle-seconds", type=int, default=15)
    parser.add_argument("--lines", type=int, default=20000)
    parser.add_argument("--cards", nargs="*", default=list(CARDS), choices=list(CARDS))
    parser.add_argument("--desktop", action="store_true")
    parser.add_argument("--no-qemu", action="store_true")
    parser.add_argument("--csv")
    options = parser.parse_args()
    found = {k: v for k, v in runners().items() if not (options.no_qemu and k.startswith("qemu"))}
    kinds = {card: one for card in options.cards}
    if options.desktop:
        kinds["desktop"] = None
    taken = {(kind, label): [] for kind in kinds for label in found}
    for _ in range(options.rounds):
        for kind in kinds:
            for label, argv in found.items():
                taken[kind, label].append(desktop_idle(argv, options) if kind == "desktop" else one(argv, kind, options))
    rows = [["", "idle CPU %", "scroll CPU s", "scroll s", "updates"]]
    for (kind, label), values in taken.items():
        columns = [statistics.median(c) if c[0] is not None else None for c in zip(*values)]
        rows.append([f"{kind}: {label}"] + ["-" if c is None else f"{c:.2f}" for c in columns])
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))))
    if options.csv:
        Path(options.csv).write_text("\n".join(",".join(r) for r in rows) + "\n")


main()
