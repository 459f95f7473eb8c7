#!/usr/bin/env python3
"""Disk I/O inside a guest, hanok-vm (jit) beside QEMU (tcg) where installed: each with the same kernel, the same disks
and the same command line, workload by workload in turn, the other machine idle meanwhile.

Disks: raw and qcow2, fully allocated, in every cache mode, virtio-blk with aio=io_uring.  Workloads (io_uring and
O_DIRECT in the guest): random 4 KiB reads at depth 1 and 32, random 4 KiB writes at depth 32, sequential 256 KiB reads
and writes at depth 4.  Prints requests per second and their ratio, the processor time of the whole process per request
(which says more on a busy machine), what qcow2 reaches of raw, and how many times the guest notified (an exit each) and
was interrupted per request.  --csv FILE writes the rows too.
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
FORMATS = ("raw", "qcow2")
LOADS = (("randread", 4096, 1), ("randread", 4096, 32), ("randwrite", 4096, 32), ("read", 262144, 4), ("write", 262144, 4))
PROMPT = r"hanok:[^ ]*# "
MIB = 1 << 20


def load_name(load):
    kind, block, depth = load
    return f"{kind} {block // 1024}k qd{depth}"


def initrd_with_program(work, initrd):
    """The guest's initramfs and, behind it, one with the load program: the kernel unpacks both."""
    root = work / "root"
    root.mkdir()
    subprocess.run(["cc", "-D_GNU_SOURCE", "-O2", "-static", "-o", root / "load", TOP / "bench/guest_disk_load.c", "-luring"], check=True)
    packed = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=b"load\n", cwd=root, check=True,
                            capture_output=True).stdout
    both = work / "initrd.img"
    whole = initrd.read_bytes()
    both.write_bytes(whole + b"\0" * (-len(whole) % 4) + packed)
    return both


def make_disks(work, label, size, modes, formats):
    """[(mode, format, path)]: every byte allocated."""
    filled = work / "filled"
    if not filled.exists():
        filled.write_bytes(os.urandom(size))
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


class Machine:
    def __init__(self, label, argv, work, initrd, kernel, disks, cpus):
        self.label, self.disks = label, disks
        qmp = work / f"{label.split()[0]}.qmp"
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
        """(requests per second, kicks per request, interrupts per request, microseconds of processor time per request)."""
        kind, block, depth = load
        before, cpu = self.qmp.counts(disk), self.cpu_seconds()
        self.guest.send(f"/load /dev/vd{chr(ord('a') + disk)} {kind} {block} {depth} {seconds}\n")
        found = self.guest.expect(r"(result|error) (\S+)( \S+)?\r*\n", 120 + 20 * seconds)
        if found[1] != b"result":
            raise RuntimeError(f"{self.label}: {load_name(load)} on disk {disk}: {found[0].decode()}")
        self.guest.expect(PROMPT, 60)
        after, cpu = self.qmp.counts(disk), self.cpu_seconds() - cpu
        requests, took = int(found[2]), float(found[3])

        def each(counter):
            return (after[counter] - before[counter]) / max(requests, 1) if counter in after else None
        return requests / took, each("x-kicks"), each("x-interrupts"), cpu * 1e6 / max(requests, 1)

    def end(self):
        self.guest.process.kill()
        self.guest.__exit__()


def candidates():
    found = [("hanok-vm jit", [os.environ.get("HANOK_VM", str(TOP / "build/hanok-vm")), "-accel", "jit"])]
    qemu = shutil.which("qemu-system-x86_64")
    if qemu:
        found.append(("qemu tcg", [qemu, "-accel", "tcg", "-cpu", "max"]))
    return found


def measure(options, modes, formats):
    """{(mode, format, load): {label: [what Machine.run() says, of each round]}}"""
    directory = vmtest.guest_files("cloud")
    results = {}
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        work = Path(name)
        initrd = initrd_with_program(work, directory / "initrd.img")
        machines = []
        try:
            for label, argv in candidates():
                disks = make_disks(work, label.split()[0], options.mib * MIB, modes, formats)
                machines.append(Machine(label, argv, work, initrd, directory / "vmlinuz", disks, options.cpus))
            for _ in range(options.rounds):
                for number, (mode, kind, _path) in enumerate(machines[0].disks):
                    for load in LOADS:
                        row = results.setdefault((mode, kind, load), {})
                        for m in machines:
                            row.setdefault(m.label, []).append(m.run(number, load, options.seconds))
        finally:
            for m in machines:
                m.end()
    return results


def table(head, rows):
    widths = [max(len(r[i]) for r in [head] + rows) for i in range(len(head))]
    for row in [head] + rows:
        print("  ".join(cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))))


def report(results):
    def median(row, label, index=0):
        values = [v[index] for v in row.get(label, []) if v[index] is not None]
        return statistics.median(values) if values else None

    def shown(value, form="{:.0f}"):
        return "-" if value is None else form.format(value)
    rows = []
    for (mode, kind, load), row in results.items():
        ours, theirs = median(row, "hanok-vm jit"), median(row, "qemu tcg")
        raw = median(results.get((mode, "raw", load), {}), "hanok-vm jit")
        rows.append([f"cache={mode}", kind, load_name(load), shown(ours), shown(theirs),
                     shown(ours / theirs if theirs else None, "{:.2f}"),
                     shown(median(row, "hanok-vm jit", 3), "{:.1f}"), shown(median(row, "qemu tcg", 3), "{:.1f}"),
                     shown(ours / raw if raw and kind != "raw" else None, "{:.2f}"),
                     shown(median(row, "hanok-vm jit", 1), "{:.3f}"), shown(median(row, "hanok-vm jit", 2), "{:.3f}")])
    head = ["", "", "requests/s", "hanok-vm", "qemu", "ratio", "cpu us", "cpu us", "of raw", "exits/request", "irqs/request"]
    table(head, rows)
    return head, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--mib", type=int, default=64, help="size of each disk")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--directory", help="where the images are made")
    parser.add_argument("--csv")
    options = parser.parse_args()
    head, rows = report(measure(options, options.modes.split(","), options.formats.split(",")))
    if options.csv:
        Path(options.csv).write_text("\n".join(",".join(r) for r in [head] + rows) + "\n")


main()
