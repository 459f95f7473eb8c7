#!/usr/bin/env python3
"""hanok-img convert beside qemu-img's, in one run: every case runs the two in turn, ROUNDS times, on the same files.

  sparse   a 16 GiB raw disk with 1024 pieces of 128 KiB of data (128 MiB) at random places
  dense    192 MiB of files as they lie under /usr, without a hole
  to raw, to qcow2, qcow2 -c (deflate), qcow2 -c zstd (both in half as many rounds, three at least), and back from each

A row is printed when its rounds are over.

Columns: the medians in ms and of the processor time used, how many times faster the median is (qemu / hanok), the size
of what came out as a share of qemu-img's, and for dense data the floor: dd, 1 MiB a read, of the same bytes.  Both tools run with their default cache
mode (unsafe: nobody waits for the disk), so the figures are those of the tools and the page cache.  --sync adds the
time until the disk has it all, for both.  Every result is compared with its source once.  --csv FILE writes the table too.
"""
import argparse
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
IMG = os.environ.get("HANOK_IMG", str(TOP / "build/hanok-img"))
QEMU_IMG = shutil.which("qemu-img")
PIECE, PIECES, SPARSE_BYTES = 128 << 10, 1024, 16 << 30
HEAD = (("convert", -24), ("hanok ms", 8), ("cpu", 6), ("qemu ms", 7), ("cpu", 6), ("times faster", 12), ("size / qemu's", 13), ("dd ms", 5))


def fill_dense(path, size):
    """Real data, so that what is compressed is neither text alone nor noise."""
    left = size
    with open(path, "wb") as out:
        for folder, _, names in sorted(os.walk("/usr")):
            for name in sorted(names):
                file = Path(folder, name)
                if left and file.is_file() and not file.is_symlink() and os.access(file, os.R_OK):
                    data = file.read_bytes()[:left]
                    out.write(data)
                    left -= len(data)
        pool = random.Random(1)
        while left:  # a small system: the rest is noise
            data = pool.randbytes(min(left, 1 << 20))
            out.write(data)
            left -= len(data)


def fill_sparse(path, dense):
    places = random.Random(2)
    with open(path, "wb") as out, open(dense, "rb") as data:
        out.truncate(SPARSE_BYTES)
        for _ in range(PIECES):
            out.seek(places.randrange(SPARSE_BYTES - PIECE) & ~4095)
            out.write(data.read(PIECE))


def timed(argv, out, sync):
    """(ms that passed, ms of processor time)."""
    def spent():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime
    Path(out).unlink(missing_ok=True)
    start, before = time.perf_counter(), spent()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if sync:
        fd = os.open(out, os.O_RDWR)
        os.fsync(fd)
        os.close(fd)
    return (time.perf_counter() - start) * 1000, (spent() - before) * 1000


def disk_bytes(path):
    return os.stat(path).st_blocks * 512


def measure(case, source, target, options):
    """One row: the tools in turn, so that what else the machine does hits both."""
    name, argv = case
    tools = {"hanok": IMG, "qemu": QEMU_IMG} if QEMU_IMG else {"hanok": IMG}
    times, sizes = {tool: [] for tool in tools}, {}
    rounds = options.rounds if " -c" not in name else max(3, options.rounds // 2)
    for round_ in range(rounds):
        # what the one before has left in the host's memory must not always meet the same tool
        for tool, program in sorted(tools.items(), reverse=round_ % 2 == 1):
            times[tool].append(timed([program, "convert", *argv, source, target], target, options.sync))
            sizes[tool] = disk_bytes(target)
            if round_ == 0:
                subprocess.run([program, "compare", "-q", source, target], check=True)
        os.unlink(target)
    wall, cpu = ({tool: statistics.median(t[which] for t in values) for tool, values in times.items()} for which in (0, 1))
    row = [name, f"{wall['hanok']:.0f}", f"{cpu['hanok']:.0f}"]
    if QEMU_IMG:
        row += [f"{wall['qemu']:.0f}", f"{cpu['qemu']:.0f}", f"{wall['qemu'] / wall['hanok']:.2f}",
                f"{sizes['hanok'] / max(1, sizes['qemu']):.3f}"]
    else:
        row += ["-"] * 4
    return row + [floor(name, source, target, options)]


def floor(name, source, target, options):
    if not name.startswith(("dense raw -> raw", "dense raw -> qcow2, plain")):
        return "-"
    dd = ["dd", f"if={source}", f"of={target}", "bs=1M"]
    median = statistics.median(timed(dd, target, options.sync)[0] for _ in range(options.rounds))
    os.unlink(target)
    return f"{median:.0f}"


def cases(work):
    """(name and arguments, source, what to keep as the next source)."""
    for kind in ("sparse", "dense"):
        raw = str(work / f"{kind}.raw")
        made = {"plain": str(work / f"{kind}.qcow2"), "deflate": str(work / f"{kind}.deflate.qcow2"),
                "zstd": str(work / f"{kind}.zstd.qcow2")}
        yield (f"{kind} raw -> raw", ["-f", "raw", "-O", "raw"]), raw
        yield (f"{kind} raw -> qcow2, plain", ["-f", "raw", "-O", "qcow2"]), raw
        yield (f"{kind} qcow2 -> raw", ["-f", "qcow2", "-O", "raw"]), made["plain"]
        yield (f"{kind} raw -> qcow2 -c", ["-f", "raw", "-O", "qcow2", "-c"]), raw
        yield (f"{kind} qcow2 -c -> raw", ["-f", "qcow2", "-O", "raw"]), made["deflate"]
        yield (f"{kind} raw -> qcow2 -c -W", ["-f", "raw", "-O", "qcow2", "-c", "-W"]), raw
        yield (f"{kind} raw -> qcow2 -c zstd", ["-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd"]), raw
        yield (f"{kind} qcow2 -c zstd -> raw", ["-f", "qcow2", "-O", "raw"]), made["zstd"]


def make_source(path):
    """By qemu-img where it is installed, from the raw image beside it; once."""
    if path.exists():
        return
    how = {"qcow2": [], "deflate.qcow2": ["-c"], "zstd.qcow2": ["-c", "-o", "compression_type=zstd"]}
    kind, suffix = path.name.split(".", 1)
    subprocess.run([QEMU_IMG or IMG, "convert", "-f", "raw", "-O", "qcow2", *how[suffix], str(path.with_name(f"{kind}.raw")),
                    str(path)], check=True)


def line(cells):
    return "  ".join(c.ljust(-w) if w < 0 else c.rjust(w) for c, (_, w) in zip(cells, HEAD))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--dense-mib", type=int, default=192)
    parser.add_argument("--sync", action="store_true")
    parser.add_argument("--only", default="", help="a word that the case's name must contain")
    parser.add_argument("--dir", help="where the images are made (default: the temporary directory)")
    parser.add_argument("--csv")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        work = Path(folder)
        fill_dense(work / "dense.raw", options.dense_mib << 20)
        fill_sparse(work / "sparse.raw", work / "dense.raw")
        print(line([title for title, _ in HEAD]), flush=True)
        for case, source in cases(work):
            if options.only in case[0]:
                make_source(Path(source))
                os.sync()  # what was just made is not written back during a measurement
                rows.append(measure(case, source, str(work / "target"), options))
                print(line(rows[-1]), flush=True)
    if options.csv:
        Path(options.csv).write_text("\n".join(",".join(f'"{c}"' if "," in c else c for c in r) for r in [[t for t, _ in HEAD], *rows]) + "\n")


main()
