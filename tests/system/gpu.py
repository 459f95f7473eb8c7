#!/usr/bin/env python3
"""Graphics cards as a person sees them. virtio-vga: the firmware's text through VGA, then the driver's console, resized by a viewer;
bochs-display: black until its driver has set a mode, then the kernel's console.

  gpu.py              judges
  gpu.py --save PNG   also leaves the console's picture there
"""
import sys
import tempfile
import time
from pathlib import Path

from boot_parts import tftp_folder
from firmware_parts import Qmp
from vmtest import SLOWNESS, Failure, Guest, guest_files, run_tests
from vnc_client import Viewer


def lit(viewer):
    return sum(1 for i in range(0, len(viewer.pixels), 4) if any(viewer.pixels[i:i + 3]))


def wait_for(viewer, condition, what, seconds=120):
    if not viewer.until(condition, seconds):
        raise Failure(f"{what}: the viewer sees {viewer.width} x {viewer.height} dots, {lit(viewer)} of them lit")


def viewer(guest, path):
    """A viewer, as soon as the socket is there."""
    end = time.monotonic() + 60 * SLOWNESS
    while guest.process.poll() is None and time.monotonic() < end:
        try:
            return Viewer(path, timeout=60)
        except (FileNotFoundError, ConnectionRefusedError):
            guest.drain(0.1)
    raise Failure(f"no VNC server at {path}: {guest.stderr.decode()}")


def vga_then_driver(save):
    directory = guest_files("generic")
    with tempfile.TemporaryDirectory() as work:
        sock = f"{work}/vnc"
        tftp_folder(work, directory, "console=tty0 console=ttyS0")
        args = ["-accel", "jit", "-m", "384", "-nodefaults", "-serial", "stdio", "-no-reboot", "-device", "virtio-vga",
                "-netdev", f"user,id=n0,tftp={work}/tftp,bootfile=boot.ipxe",
                "-device", "virtio-net-pci,netdev=n0,bootindex=1", "-vnc", f"unix:{sock}",
                "-qmp", f"unix:{work}/qmp,server=on,wait=off"]
        with Guest(args, serial=False) as g:
            with viewer(g, sock) as v:
                wait_for(v, lambda s: (s.width, s.height) == (720, 400) and lit(s) > 500, "the firmware's text")
                v.wish_size(1024, 768)
                wait_for(v, lambda s: s.size_answer == 0, "the answer to a wish for another size")
            # the driver starts with the size that was wished for (a viewer that does not read is dropped)
            g.expect("virtio_gpudrmfb frame buffer device", 240)
            g.expect("hanok:~#", 120)
            with viewer(g, sock) as v:
                wait_for(v, lambda s: (s.width, s.height) == (1024, 768) and lit(s) > 5000, "the driver's console")
                if save:
                    with Qmp(f"{work}/qmp") as q:
                        q.run("screendump", filename=str(Path(save).resolve()), format="png")
                # and goes to a smaller one while it runs
                v.wish_size(800, 600)
                wait_for(v, lambda s: (s.width, s.height) == (800, 600), "the console in another size")
            g.send("poweroff\n")
            if g.wait(60):
                raise Failure(f"hanok-vm ended with {g.process.returncode}")


def bochs_display():
    directory = guest_files("generic")
    with tempfile.TemporaryDirectory() as work:
        sock = f"{work}/vnc"
        with Guest(["-accel", "jit", "-m", "384", "-nodefaults", "-serial", "stdio", "-no-reboot", "-device",
                    "bochs-display,xres=800,yres=600", "-vnc", f"unix:{sock}", "-kernel", str(directory / "vmlinuz"),
                    "-initrd", str(directory / "initrd.img"), "-append", "console=tty0 console=ttyS0"],
                   serial=False) as g:
            g.expect("bochs-drmdrmfb frame buffer device", 240)
            g.expect("hanok:~#", 120)
            with viewer(g, sock) as v:
                wait_for(v, lambda s: (s.width, s.height) == (800, 600) and lit(s) > 3000, "the driver's console")
                g.send("dd if=/dev/zero bs=4096 count=1000 of=/dev/fb0 2>/dev/null; echo dark-$((1+1))\n")
                g.expect("dark-2")
                wait_for(v, lambda s: lit(s) < 3000, "a screen that was cleared")
            g.send("poweroff\n")
            if g.wait(60):
                raise Failure(f"hanok-vm ended with {g.process.returncode}")


save_to = sys.argv[2] if sys.argv[1:2] == ["--save"] else None
run_tests([("text by VGA, the console by the driver, sizes by the viewer", lambda: vga_then_driver(save_to)),
           ("bochs-display: the console by its driver", bochs_display)])
