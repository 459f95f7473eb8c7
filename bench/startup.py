#!/usr/bin/env python3
"""Start-up, memory and idle cost of a VM process, hanok-vm beside QEMU (when installed), alternating in one run.

  first instruction   process start until the guest's first instruction has ended the process through
                      isa-debug-exit (a multiboot kernel of two instructions): median of ROUNDS
  resident halted     the same (MiB beyond guest RAM) for a kernel that says it runs and halts: what the process itself needs
  resident beyond RAM resident memory of the process minus the resident part of guest RAM, after the stock
                      cloud kernel has come to its shell
  all of these of hanok-vm's machine microvm (no PCI), too, and of that without a PC's clock, timer and 8259 pair; the boot is
  the median of five
  idle CPU            CPU time of the process over 20 s at the shell prompt, in % of one core
Prints one table; --csv FILE writes it too.
"""
import argparse
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests/system"))
import procs  # noqa: E402  (this folder's)
import vmtest  # noqa: E402  (needs the path above)

RAM_MIB = 256


# mov $0x10,%al; out %al,$0xf4; hlt
EXIT_AT_ONCE = b"\xb0\x10\xe6\xf4\xf4"
# mov $'R',%al; mov $0x3f8,%dx; out %al,%dx; cli; 1: hlt; jmp 1b
SAY_AND_HALT = b"\xb0R\x66\xba\xf8\x03\xee\xfa\xf4\xeb\xfd"


def tiny_kernel(path, code):
    """An ELF32 multiboot image of these instructions."""
    header = struct.pack("<III", 0x1BADB002, 0, (-0x1BADB002) & 0xFFFFFFFF)
    body = header + code
    offset, base = 0x1000, 0x100000
    ehdr = b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + 12, 52, 0, 0, 52, 32, 1,
                                                            0, 0, 0)
    phdr = struct.pack("<IIIIIIII", 1, offset, base, base, len(body), len(body), 5, 4096)
    path.write_bytes((ehdr + phdr).ljust(offset, b"\0") + body)


def candidates():
    """(label, argv prefix) of everything that can run here."""
    vm = os.environ.get("HANOK_VM", str(TOP / "build/hanok-vm"))
    bare = "microvm,rtc=off,pit=off,pic=off"
    found = [("hanok-vm jit", [vm, "-accel", "jit", "-machine", "q35"]),
             ("hanok-vm jit microvm", [vm, "-accel", "jit", "-machine", "microvm"]),
             ("hanok-vm jit microvm, bare", [vm, "-accel", "jit", "-machine", bare])]
    qemu = shutil.which("qemu-system-x86_64")
    if qemu:
        found.append(("qemu tcg", [qemu, "-accel", "tcg", "-cpu", "max", "-machine", "q35"]))
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        found.append(("hanok-vm kvm", [vm, "-accel", "kvm", "-machine", "q35"]))
        if qemu:
            found.append(("qemu kvm", [qemu, "-accel", "kvm", "-machine", "q35"]))
    return found


def first_instruction(argv, kernel):
    start = time.perf_counter()
    done = subprocess.run(argv + ["-m", str(RAM_MIB), "-nodefaults", "-display", "none", "-kernel",
                                  str(kernel), "-device", "isa-debug-exit,iobase=0xf4,iosize=0x4"],
                          capture_output=True, timeout=60)
    took = time.perf_counter() - start
    if done.returncode != 0x21:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {done.stderr.decode()[-300:]}")
    return took * 1000


def at_the_shell(argv, seconds):
    """(boot s, idle %, MiB beyond RAM) of the stock cloud kernel at its prompt."""
    directory = vmtest.guest_files("cloud")
    vmtest.VM = argv[0]
    args = argv[1:] + ["-m", str(RAM_MIB), "-nodefaults", "-display", "none", "-serial", "stdio",
                       "-kernel", str(directory / "vmlinuz"), "-initrd", str(directory / "initrd.img"), "-append",
                       "console=ttyS0 quiet"]
    with vmtest.Guest(args, serial=False) as guest:
        start = time.monotonic()
        guest.expect("hanok:[^ ]*# ", 120)
        boot = time.monotonic() - start
        if not seconds:
            return boot, None, None
        guest.drain(3)
        before = procs.cpu_seconds(guest.process.pid)
        guest.drain(seconds)
        idle = (procs.cpu_seconds(guest.process.pid) - before) / seconds * 100
        total, ram = procs.resident_kib(guest.process.pid, RAM_MIB)
        return boot, idle, (total - ram) / 1024


def resident_halted(argv, kernel):
    vmtest.VM = argv[0]
    args = argv[1:] + ["-m", str(RAM_MIB), "-nodefaults", "-display", "none", "-serial", "stdio",
                       "-kernel", str(kernel)]
    with vmtest.Guest(args, serial=False) as guest:
        guest.expect("R", 60)
        total, ram = procs.resident_kib(guest.process.pid, RAM_MIB)
        return (total - ram) / 1024


def measure(runners, options):
    rows = {}
    with tempfile.TemporaryDirectory() as work:
        kernel, halting = Path(work) / "tiny.elf", Path(work) / "halting.elf"
        tiny_kernel(kernel, EXIT_AT_ONCE)
        tiny_kernel(halting, SAY_AND_HALT)
        times = {label: [] for label, _ in runners}
        for _ in range(options.rounds):
            for label, argv in list(runners):
                try:
                    times[label].append(first_instruction(argv, kernel))
                except (RuntimeError, subprocess.TimeoutExpired) as why:
                    runners.remove((label, argv))
                    print(f"# {label} left out: {str(why).splitlines()[0]}", file=sys.stderr)
        for label, argv in runners:
            rows[label] = [statistics.median(times[label]), resident_halted(argv, halting)]
            try:
                runs = [at_the_shell(argv, 0) for _ in range(4)] + [at_the_shell(argv, options.idle_seconds)]
                rows[label] += [statistics.median(r[0] for r in runs), *runs[-1][1:]]
            except (vmtest.Failure, vmtest.Skip) as why:
                rows[label] += [None, None, None]
                print(f"# {label}: no shell: {str(why).splitlines()[0]}", file=sys.stderr)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--idle-seconds", type=int, default=20)
    parser.add_argument("--csv")
    parser.add_argument("--match", default="", help="only what has this in its name")
    options = parser.parse_args()
    rows = measure([c for c in candidates() if options.match in c[0]], options)
    head = ["", "first instruction ms", "resident halted MiB", "boot to shell s", "idle CPU %", "resident beyond RAM MiB"]
    text = [[label] + ["-" if v is None else f"{v:.2f}" for v in values] for label, values in rows.items()]
    widths = [max(len(r[i]) for r in [head] + text) for i in range(len(head))]
    for row in [head] + text:
        print("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))))
    if options.csv:
        Path(options.csv).write_text("\n".join(",".join(r) for r in [head] + text) + "\n")


main()
