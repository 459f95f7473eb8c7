#!/usr/bin/env python3
"""Guests under load for minutes or hours: every answer must be the host's, and the kernel must not complain.

In each guest, at once: the compiler over the benchmark's sources (one a vcpu), unpacking a tree of files and
summing them, a stream through SHA-256, and tracers, trace events and a static key switched on and off, which
patches the kernel's text under the others.

  soak.py                      2 and 4 vcpus, 120 s each
  soak.py --seconds 7200 --cpus 4 --hanok-args "-accel jit,cosim=on"
"""
import argparse
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from vmtest import CACHE, TOP, Failure, Guest, Skip, guest_files, run_tests

BENCH = CACHE / "bench"
SOURCES = ["cold", "coremark", "dhrystone", "fib", "main"]
TREE = "usr/lib/python3.11"  # what is unpacked
LOADS = ["compile", "unpack", "memory", "toggle"]


def tree_tar():
    """The tree as .tar.gz, and the sum of its files' sums."""
    data, lines = io.BytesIO(), []
    root = BENCH / "root" / TREE
    with tarfile.open(fileobj=data, mode="w:gz", compresslevel=6) as tar:
        for path in sorted(root.rglob("*"), key=lambda p: str(p.relative_to(root)).encode()):
            if path.is_file() and not path.is_symlink():
                name = f"./{path.relative_to(root)}"
                tar.add(path, arcname=name, recursive=False)
                lines.append((name.encode(), hashlib.sha256(path.read_bytes()).hexdigest()))
    text = "".join(f"{digest}  {name.decode()}\n" for name, digest in sorted(lines))
    return data.getvalue(), sum_line(text.encode())


def sum_line(data):
    return f"{hashlib.sha256(data).hexdigest()}  -\n"


def compiled_here():
    """What the tree's own compiler, run by its own loader on this host, makes of the sources."""
    root = BENCH / "root"
    answer = ""
    for name in SOURCES:
        done = subprocess.run([root / "lib64/ld-linux-x86-64.so.2", "--library-path",
                               f"{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu",
                               root / "usr/lib/gcc/x86_64-linux-gnu/12/cc1", "-quiet", "-O2", "-fpreprocessed",
                               root / f"bench/{name}.i", "-o", "-"], capture_output=True)
        if done.returncode:
            raise Skip(f"the tree's compiler does not run here: {done.stderr.decode()[-300:]}")
        answer += sum_line(done.stdout)
    return answer


def work_disk(path):
    """A tar with the guest's part, its inputs and the expected answers, as a disk."""
    tree, tree_sum = tree_tar()
    line = ("hanok " + " ".join(str(n) for n in range(1, 51)) + " \n").encode()
    stream = (line * (30000000 // len(line) + 1))[:30000000]
    expected = {"compile": compiled_here(), "unpack": tree_sum, "memory": sum_line(stream), "toggle": "nop\n"}
    files = {"tree.tar.gz": tree, "soak_guest.sh": (TOP / "tests/system/soak_guest.sh").read_bytes()}
    files |= {f"expected/{name}": text.encode() for name, text in expected.items()}
    files |= {f"{name}.i": (BENCH / f"root/bench/{name}.i").read_bytes() for name in SOURCES}
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def soak(options, cpus):
    directory = guest_files("cloud")
    if not (BENCH / "root.img").exists():
        raise Skip("the benchmark's guest is not made yet: run make bench-cpu ARGS='--tests integer/fib --rounds 1'")
    with tempfile.TemporaryDirectory(prefix="hanok-soak.") as work:
        disk = Path(work) / "work.tar"
        work_disk(disk)
        argv = options.hanok_args.split()
        with Guest((argv if "-accel" in argv else argv + ["-accel", "jit"])
                   + ["-cpu", "max", "-m", "1536", "-smp", str(cpus), "-nodefaults", "-display", "none", "-serial",
                      "stdio", "-kernel", str(directory / "vmlinuz"), "-initrd", str(directory / "initrd.img"),
                      "-append", "console=ttyS0", "-drive",
                      f"file={BENCH}/root.img,format=raw,if=virtio,readonly=on", "-drive",
                      f"file={disk},format=raw,if=virtio,readonly=on"], serial=False) as guest:
            guest.expect("hanok:~# ", 300)
            guest.send("mount -t ext4 -o ro /dev/vda /mnt && mount -t tmpfs tmp /mnt/tmp && mkdir /work && "
                       "mount -t tmpfs -o size=1g work /work && tar -xf /dev/vdb -C /work && "
                       f"sh /work/soak_guest.sh {options.seconds}; echo so''ak-ended\n")
            guest.expect("soak-ended", options.seconds * 3 + 900)
            text = guest.text()
    results = re.findall(r"^soak: (\w+) (\d+) (\d+)$", text, re.M)
    complaints = [line for line in text.splitlines() if "soak: kernel:" in line or " answered: " in line]
    if "soak-over" not in text or {name for name, _, _ in results} != set(LOADS):
        raise Failure(f"the guest's loads did not all end:\n{text[-2000:]}")
    if complaints or any(int(wrong) for _, _, wrong in results):
        raise Failure("\n".join(complaints) or f"wrong answers: {results}")
    for name in LOADS:
        rounds = [int(r) for n, r, _ in results if n == name]
        print(f"# {cpus} vcpus: {name}: {sum(rounds)} rounds, none wrong", flush=True)
        if not all(rounds):
            raise Failure(f"{name} never finished a round")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120, help="of each guest's load")
    parser.add_argument("--cpus", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--hanok-args", default="", help="further options of hanok-vm")
    options = parser.parse_args()
    run_tests([(f"soak-{cpus}-cpus", lambda cpus=cpus: soak(options, cpus)) for cpus in options.cpus])


if __name__ == "__main__":
    sys.exit(main())
