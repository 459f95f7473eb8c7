#!/usr/bin/env python3
"""Disk I/O inside a guest, hanok-vm (jit) beside QEMU (tcg) where installed: each with the same kernel, the same disks
and the same command line, in short turns, the other machine idle meanwhile; and the same load on the host, on such a
file, without a machine between.

Disks: raw and qcow2, fully allocated, in every cache mode, virtio-blk with aio=io_uring.  Workloads (io_uring and
O_DIRECT in the guest): random 4 KiB reads at depth 1 and 32, random 4 KiB writes at depth 32, sequential 256 KiB reads
and writes at depth 4.  A row is printed when its rounds are over:

  hanok, qemu, host   requests per second, medians of the rounds
  ratio               hanok / qemu, the median of the rounds' ratios, and their quartiles
  most                host / qemu: what a machine that costs nothing would reach
  cpu us              processor time of the whole process per request, medians (says more on a busy machine)
  of raw              of qcow2: its requests per second / raw's, the median of the rounds' ratios, and of its cpu us
  exits, irqs         how many times the guest notified hanok-vm, and was interrupted, per request

and at the end, for each mode and each load, the geometric means of all its rows: what noise leaves to be said.

--csv FILE writes the rows too.
"""
import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests/system"))
import vmtest  # noqa: E402  (needs the path above)

MODES = ("writeback", "none", "writethrough", "directsync", "unsafe")
HOST_FLAGS = {"writeback": "cached", "none": "", "writethrough": "cached,dsync", "directsync": "dsync", "unsafe": "cached"}
FORMATS = ("raw", "qcow2")
LOADS = (("randread", 4096, 1), ("randread", 4096, 32), ("randwrite", 4096, 32), ("read", 262144, 4), ("write", 262144, 4))
PROMPT = r"hanok:[^ ]*# "
MIB = 1 << 20
OURS, THEIRS = "hanok-vm", "qemu"


def load_name(load):
    kind, block, depth = load
    return f"{kind} {block // 1024}k qd{depth}"


def make_load_program(work):
    program = work / "load"
    subprocess.run(["cc", "-D_GNU_SOURCE", "-O2", "-static", "-o", program, TOP / "bench/guest_disk_load.c", "-luring"], check=True)
    return program


def initrd_with(program, work, initrd):
    """The guest's initramfs and, behind it, one with the load program: the kernel unpacks both."""
    packed = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=f"{program.name}\n".encode(), cwd=program.parent,
                            check=True, capture_output=True).stdout
    both = work / "initrd.img"
    whole = initrd.read_bytes()
    both.write_bytes(whole + b"\0" * (-len(whole) % 4) + packed)
    return both


def make_disks(work, label, filled, modes, formats):
    """[(mode, format, path)]: every byte allocated."""
    disks = []
    for mode in modes:
        for kind in formats:
            path = work / f"{label}-{mode}.{kind}"
            subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", kind, "-S", "0", filled, path], check=True)
            disks.append((mode, kind, path))
    return disks


class Qmp:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("r")
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, name):
        self.socket.sendall(json.dumps({"execute": name}).encode())
        while True:
            reply = json.loads(self.file.readline())
            if "return" in reply:
                return reply["return"]

    def counts(self, disk):
        """Of the disk of that number; QEMU has no such counters."""
        return self.ask("query-blockstats")[disk]["stats"]


class Turn:
    """What one load said in one turn."""

    def __init__(self, requests, seconds, cpu_seconds=0.0, kicks=None, interrupts=None):
        each = max(requests, 1)
        self.rate, self.cpu_us = requests / seconds, cpu_seconds * 1e6 / each
        self.kicks = None if kicks is None else kicks / each
        self.interrupts = None if interrupts is None else interrupts / each


class Machine:
    def __init__(self, label, argv, work, initrd, kernel, disks, cpus):
        self.label, self.disks = label, disks
        qmp = work / f"{label}.qmp"
        args = argv[1:] + ["-machine", "q35", "-m", "256", "-smp", str(cpus), "-nodefaults", "-display", "none", "-serial",
                           "stdio", "-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyS0 quiet",
                           "-qmp", f"unix:{qmp},server=on,wait=off"]
        for mode, kind, path in disks:
            args += ["-drive", f"file={path},format={kind},if=virtio,cache={mode},aio=io_uring"]
        vmtest.VM = argv[0]
        self.guest = vmtest.Guest(args, serial=False)
        self.guest.expect(PROMPT, 300)
        self.qmp = Qmp(qmp)

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.guest.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def run(self, disk, load, seconds):
        kind, block, depth = load
        before, cpu = self.qmp.counts(disk), self.cpu_seconds()
        self.guest.send(f"/load /dev/vd{chr(ord('a') + disk)} {kind} {block} {depth} {seconds}\n")
        found = self.guest.expect(r"(result|error) (\S+)( \S+)?\r*\n", 120 + 20 * seconds)
        if found[1] != b"result":
            raise RuntimeError(f"{self.label}: {load_name(load)} on disk {disk}: {found[0].decode()}")
        self.guest.expect(PROMPT, 60)
        after, cpu = self.qmp.counts(disk), self.cpu_seconds() - cpu
        counted = [after[c] - before[c] if c in after else None for c in ("x-kicks", "x-interrupts")]
        return Turn(int(found[2]), float(found[3]), cpu, *counted)

    def end(self):
        self.guest.process.kill()
        self.guest.__exit__()


def run_on_host(program, path, mode, load, seconds):
    argv = [program, path, *map(str, load), str(seconds), *filter(None, [HOST_FLAGS[mode]])]
    words = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    return Turn(int(words[1]), float(words[2]))


def candidates():
    found = [(OURS, [os.environ.get("HANOK_VM", str(TOP / "build/hanok-vm")), "-accel", "jit"])]
    qemu = shutil.which("qemu-system-x86_64")
    if qemu:
        found.append((THEIRS, [qemu, "-accel", "tcg", "-cpu", "max"]))
    return found


class Bench:
    def __init__(self, options, work):
        self.options, self.machines = options, []
        self.modes, self.formats = options.modes.split(","), options.formats.split(",")
        directory = vmtest.guest_files("cloud")
        self.program = make_load_program(work)
        initrd = initrd_with(self.program, work, directory / "initrd.img")
        self.host_disk = work / "host.raw"
        self.host_disk.write_bytes(os.urandom(options.mib * MIB))
        for label, argv in candidates():
            disks = make_disks(work, label, self.host_disk, self.modes, self.formats)
            self.machines.append(Machine(label, argv, work, initrd, directory / "vmlinuz", disks, options.cpus))

    def end(self):
        for machine in self.machines:
            machine.end()

    def round(self, number, mode, load):
        """{(format, label): Turn}; every second round goes the other way round."""
        def on_host():
            return run_on_host(self.program, self.host_disk, mode, load, self.options.seconds)
        turns = [((kind, m.label), lambda m=m, kind=kind: m.run(self.disk(mode, kind), load, self.options.seconds))
                 for kind in self.formats for m in self.machines] + [(("raw", "host"), on_host)]
        return {key: run() for key, run in (turns if number % 2 == 0 else turns[::-1])}

    def disk(self, mode, kind):
        return self.modes.index(mode) * len(self.formats) + self.formats.index(kind)

    def measure(self, mode, load):
        """[round()]; what a machine has translated for this load is not counted."""
        for machine in self.machines:
            machine.run(self.disk(mode, self.formats[0]), load, 0.1)
        return [self.round(number, mode, load) for number in range(self.options.rounds)]


# Of the rounds of one mode and load.

def median_of(rounds, key, what):
    values = [getattr(r[key], what) for r in rounds if key in r and getattr(r[key], what) is not None]
    return statistics.median(values) if values else None


def ratios(rounds, key, other, what="rate"):
    return [getattr(r[key], what) / getattr(r[other], what) for r in rounds if key in r and other in r and getattr(r[other], what)]


def quartiles(values):
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def shown(value, form="{:.0f}"):
    return "-" if value is None else form.format(value)


HEAD = (("cache=", -12), ("", -5), ("", -18), ("hanok", 7), ("qemu", 6), ("host", 7), ("ratio", 5), ("(quartiles)", 11), ("most", 5),
        ("cpu us", 6), ("qemu", 6), ("of raw", 6), ("cpu", 5), ("exits", 6), ("irqs", 6))


def line(cells):
    return "  ".join(c.ljust(-w) if w < 0 else c.rjust(w) for c, (_, w) in zip(cells, HEAD))


def row(mode, kind, load, rounds):
    ours, theirs, raw, host = (kind, OURS), (kind, THEIRS), ("raw", OURS), ("raw", "host")
    faster = ratios(rounds, ours, theirs)
    low, middle, high = quartiles(faster) if faster else (None, None, None)
    of_raw = [ratios(rounds, ours, raw, what) if kind != "raw" else [] for what in ("rate", "cpu_us")]
    return [mode, kind, load_name(load), *(shown(median_of(rounds, key, "rate")) for key in (ours, theirs, host)),
            shown(middle, "{:.2f}"), f"({low:.2f}, {high:.2f})" if faster else "-",
            shown(statistics.median(ratios(rounds, host, theirs)) if faster else None, "{:.1f}"),
            *(shown(median_of(rounds, key, "cpu_us"), "{:.1f}") for key in (ours, theirs)),
            *(shown(statistics.median(v) if v else None, "{:.2f}") for v in of_raw),
            *(shown(median_of(rounds, ours, what), "{:.3f}") for what in ("kicks", "interrupts"))]


def mean_of(values):
    values = [float(v) for v in values if v != "-"]
    return shown(statistics.geometric_mean(values) if values else None, "{:.2f}")


def summary(rows):
    if not any(r[6] != "-" for r in rows):
        return
    print("\ngeometric means         ratio  of processor time  of raw  its cpu")
    for column in (0, 2):
        for name in dict.fromkeys(r[column] for r in rows):
            of = [r for r in rows if r[column] == name]
            cpu = [float(r[10]) / float(r[9]) for r in of if "-" not in (r[9], r[10])]
            print(f"{name:22}  {mean_of(r[6] for r in of):>5}  {mean_of(cpu):>17}  {mean_of(r[11] for r in of):>6}  "
                  f"{mean_of(r[12] for r in of):>7}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=0.25, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=64, help="size of each disk")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--directory", help="where the images are made")
    parser.add_argument("--csv")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        bench = Bench(options, Path(name))
        try:
            print(line([title for title, _ in HEAD]), flush=True)
            for mode in bench.modes:
                for load in LOADS:
                    rounds = bench.measure(mode, load)
                    for kind in bench.formats:
                        rows.append(row(mode, kind, load, rounds))
                        print(line(rows[-1]), flush=True)
        finally:
            bench.end()
    summary(rows)
    if options.csv:
        Path(options.csv).write_text("\n".join(",".join(f'"{c}"' for c in r) for r in [[t for t, _ in HEAD], *rows]) + "\n")


main()
