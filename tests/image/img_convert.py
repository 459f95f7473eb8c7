#!/usr/bin/env python3
"""hanok-img convert: what comes out holds what went in and is whole in qemu-img's eyes, for every kind of source and
target; the same bytes whatever the number of threads; and what is left behind when it does not get to its end."""
import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import time

from imgtest import IMG, QEMU_IMG, Pair, SLOWNESS, need, ok, qemu_io, run, run_tests

MIB = 1 << 20


def disk(path, size, seed, density=0.5):
    """Runs of data, of zeroes, and holes; the ends fall anywhere."""
    rand = random.Random(seed)
    with open(path, "wb") as f:
        f.truncate(size)
        at = 0
        while at < size:
            length = min(size - at, rand.choice((512, 4096, 65536, 300000)) * rand.randrange(1, 4))
            kind = rand.random()
            f.seek(at)
            if kind < density:
                f.write(rand.randbytes(length // 2) + bytes([rand.randrange(256)]) * (length - length // 2))
            elif kind < density + 0.2:
                f.write(bytes(length))
            at += length


def sources(p):
    disk(p.ours / "base.raw", 9 * MIB + 512 * 3, 1)
    ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "top.qcow2", "11M", cwd=p.ours)
    qemu_io("top.qcow2", "write -P 1 64k 200k", "write -z 1M 512k", "write -P 2 5M 4k", "discard 6M 1M", cwd=p.ours)
    ok(QEMU_IMG, "convert", "-c", "-O", "qcow2", "top.qcow2", "deflate.qcow2", cwd=p.ours)
    ok(QEMU_IMG, "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd,cluster_size=4k", "top.qcow2", "zstd.qcow2", cwd=p.ours)
    ok(QEMU_IMG, "convert", "-O", "qcow2", "-o", "extended_l2=on", "top.qcow2", "subclusters.qcow2", cwd=p.ours)
    ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "-b", "zstd.qcow2", "-F", "qcow2", "onzstd.qcow2", cwd=p.ours)
    qemu_io("onzstd.qcow2", "write -P 7 100k 300k", cwd=p.ours)
    return ("base.raw", "top.qcow2", "deflate.qcow2", "zstd.qcow2", "subclusters.qcow2", "onzstd.qcow2")


TARGETS = [
    ["-O", "raw"], ["-O", "raw", "-S", "0"], ["-O", "raw", "-S", "64k"], ["-O", "raw", "-o", "preallocation=full"],
    ["-O", "raw", "-t", "none", "-T", "none"], ["-O", "raw", "-t", "writethrough"], ["-O", "raw", "-t", "writeback"],
    ["-O", "qcow2"], ["-O", "qcow2", "-S", "0"], ["-O", "qcow2", "-m", "1"], ["-O", "qcow2", "-m", "4", "-W"],
    ["-O", "qcow2", "-o", "cluster_size=512"], ["-O", "qcow2", "-o", "cluster_size=4k"], ["-O", "qcow2", "-o", "cluster_size=2M"],
    ["-O", "qcow2", "-o", "compat=0.10"], ["-O", "qcow2", "-o", "lazy_refcounts=on"], ["-O", "qcow2", "-t", "none"],
    ["-O", "qcow2", "-o", "preallocation=metadata"], ["-O", "qcow2", "-o", "preallocation=full"],
    ["-O", "qcow2", "-o", "extended_l2=on"], ["-O", "qcow2", "-o", "extended_l2=on", "-c"],
    ["-O", "qcow2", "-c"], ["-O", "qcow2", "-c", "-m", "4", "-W"], ["-O", "qcow2", "-c", "-o", "compression_type=zstd"],
    ["-O", "qcow2", "-c", "-o", "cluster_size=512"], ["-O", "qcow2", "-c", "-o", "cluster_size=2M"],
    ["-O", "qcow2", "-c", "-S", "0"], ["-O", "qcow2", "-c", "-o", "compat=0.10"], ["-O", "qcow2", "-C"],
] + [["-O", "qcow2", *c, "-o", f"refcount_bits={bits},cluster_size=4k"] for bits in (1, 2, 8, 32, 64) for c in ([], ["-c"])]


def test_every_target_from_every_source():
    with Pair() as p:
        names = sources(p)
        for source, argv in itertools.product(names, TARGETS):
            if source != names[1] and argv not in TARGETS[:3] + TARGETS[7:9] + TARGETS[21:24]:
                continue  # all targets once, the usual ones from everywhere
            ok(IMG, "convert", *argv, source, "out", cwd=p.ours)
            ok(QEMU_IMG, "compare", source, "out", cwd=p.ours)
            ok(IMG, "compare", source, "out", cwd=p.ours)
            if argv[1] == "qcow2":
                ok(QEMU_IMG, "check", "out", cwd=p.ours)
                ok(IMG, "check", "out", cwd=p.ours)
            (p.ours / "out").unlink()


def test_not_larger_than_from_qemu_img():
    with Pair() as p:
        sources(p)
        for argv in (["-O", "raw"], ["-O", "qcow2"], ["-O", "qcow2", "-c"]):
            ok(IMG, "convert", *argv, "top.qcow2", "a", cwd=p.ours)
            ok(QEMU_IMG, "convert", *argv, "top.qcow2", "b", cwd=p.ours)
            a, b = (os.stat(p.ours / name).st_blocks for name in "ab")
            need(a <= b * 1.02 + 256, f"{argv}: {a} sectors, qemu-img {b}")
            a, b = (os.stat(p.ours / name).st_size for name in "ab")
            need(a <= b * 1.02 + 3 * 65536, f"{argv}: {a} bytes long, qemu-img {b}")


def test_threads_do_not_change_the_file():
    with Pair() as p:
        disk(p.ours / "in", 23 * MIB, 5)
        for argv in (["-O", "qcow2"], ["-O", "qcow2", "-c"], ["-O", "qcow2", "-c", "-o", "cluster_size=4k"]):
            files = []
            for threads in (1, 4, 16):
                ok(IMG, "convert", "-m", threads, *argv, "in", "out", cwd=p.ours)
                files.append((p.ours / "out").read_bytes())
            need(files[0] == files[1] == files[2], f"{argv}: the file depends on the number of threads")


def test_many_tables():
    """More than one L2 table, and more than one refcount block, in tiny clusters and far apart."""
    with Pair() as p:
        with open(p.ours / "in", "wb") as f:
            f.truncate(3 << 30)
            for at in range(0, 3 << 30, 90 * MIB):
                f.seek(at + 12345)
                f.write(random.Random(at).randbytes(70000))
        for argv in ([], ["-c"], ["-o", "cluster_size=512"], ["-o", "cluster_size=512,refcount_bits=64"],
                     ["-c", "-o", "cluster_size=512"]):
            ok(IMG, "convert", "-O", "qcow2", *argv, "in", "out", cwd=p.ours)
            ok(QEMU_IMG, "check", "out", cwd=p.ours)
            ok(QEMU_IMG, "compare", "in", "out", cwd=p.ours)


def test_backing_file():
    """-B: only what the source holds itself, over a backing image that is there already."""
    with Pair() as p:
        sources(p)
        for argv in ([], ["-c"], ["-o", "compat=0.10"], ["-o", "cluster_size=512"], ["-o", "extended_l2=on"], ["-W", "-m", "4"]):
            ok(IMG, "convert", *argv, "-O", "qcow2", "-B", "base.raw", "-F", "raw", "top.qcow2", "a", cwd=p.ours)
            ok(QEMU_IMG, "convert", *argv, "-O", "qcow2", "-B", "base.raw", "-F", "raw", "top.qcow2", "b", cwd=p.ours)
            for program in (IMG, QEMU_IMG):
                ok(program, "compare", "a", "top.qcow2", cwd=p.ours)
                ok(program, "check", "a", cwd=p.ours)
            need("base.raw" in ok(IMG, "info", "a", cwd=p.ours), "the backing file is not named")
            a, b = (os.stat(p.ours / name).st_size for name in "ab")
            need(a <= b + 4 * 65536, f"{argv}: {a} bytes long, qemu-img {b}")


def test_into_an_image_that_is_there():
    with Pair() as p:
        sources(p)
        for fmt, argv in (("raw", []), ("qcow2", []), ("qcow2", ["-c"]), ("qcow2", ["-m", "4", "-W"])):
            ok(QEMU_IMG, "create", "-q", "-f", fmt, "out", "12M", cwd=p.ours)
            qemu_io("out", "write -P 99 0 12M", fmt=fmt, cwd=p.ours)
            ok(IMG, "convert", "-n", *argv, "-O", fmt, "top.qcow2", "out", cwd=p.ours)
            need("Images are identical" in ok(QEMU_IMG, "dd", "-f", fmt, "-O", "raw", "bs=1M", "count=11", "if=out", "of=part", cwd=p.ours)
                 + ok(QEMU_IMG, "compare", "part", "top.qcow2", cwd=p.ours), "the part that was written")
            ok(QEMU_IMG, "check" if fmt == "qcow2" else "info", "out", cwd=p.ours)
        ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "out", "12M", cwd=p.ours)
        ok(IMG, "convert", "-n", "--target-is-zero", "-O", "qcow2", "base.raw", "out", cwd=p.ours)
        ok(QEMU_IMG, "compare", "base.raw", "out", cwd=p.ours)
        ok(QEMU_IMG, "create", "-q", "-f", "raw", "small", "1M", cwd=p.ours)
        done = run(IMG, "convert", "-n", "-O", "raw", "base.raw", "small", cwd=p.ours)
        need(done.returncode == 1 and "smaller" in done.stderr, done.stderr)
        need(os.path.getsize(p.ours / "small") == MIB, "the target that was too small was changed")


def test_one_behind_the_other():
    with Pair() as p:
        names = sources(p)
        for argv in (["-O", "raw"], ["-O", "qcow2"], ["-O", "qcow2", "-c"]):
            for folder, program in ((p.ours, IMG), (p.top, QEMU_IMG)):
                ok(program, "convert", *argv, *(p.ours / n for n in names[:3]), folder / "out")
            ok(QEMU_IMG, "compare", p.ours / "out", p.top / "out")
            ok(QEMU_IMG, "check" if "qcow2" in argv else "info", p.ours / "out")


def test_refusals():
    with Pair() as p:
        sources(p)
        p.split()
        for argv in (["-O", "nothing", "base.raw", "out"], ["-c", "-O", "raw", "base.raw", "out"], ["-S", "5", "base.raw", "out"],
                     ["-m", "100", "base.raw", "out"], ["-m", "0", "base.raw", "out"], ["--target-is-zero", "base.raw", "out"],
                     ["-t", "foo", "base.raw", "out"], ["-n", "base.raw", "out"], ["-O", "qcow2", "-B", "base.raw", "base.raw", "out"],
                     ["-l", "x", "base.raw", "out"], ["-l", "x", "-O", "raw", "top.qcow2", "out"], ["missing", "out"], ["base.raw"],
                     ["-C", "-c", "-O", "qcow2", "base.raw", "out"], ["-O", "qcow2", "-o", "foo=1", "base.raw", "out"]):
            p.same("convert", *argv)
            need(not (p.ours / "out").exists(), f"convert {argv} left a file behind")
            (p.theirs / "out").unlink(missing_ok=True)


def start_slowly(p, *argv):
    """A copy that would take an hour, once it has begun to write."""
    process = subprocess.Popen([IMG, "convert", "-r", "4k", *argv], cwd=p.ours, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30 * SLOWNESS
    while not (p.ours / argv[-1]).exists() or os.stat(p.ours / argv[-1]).st_blocks < 2048:
        need(process.poll() is None and time.monotonic() < deadline, f"convert {argv} does not write: {process.poll()}")
        time.sleep(0.01)
    return process


def test_interrupted():
    with Pair() as p:
        (p.ours / "in").write_bytes(random.Random(3).randbytes(24 * MIB))
        for fmt in ("raw", "qcow2"):
            for number in (signal.SIGINT, signal.SIGTERM):
                process = start_slowly(p, "-O", fmt, "in", "out")
                process.send_signal(number)
                _, errors = process.communicate(timeout=30 * SLOWNESS)
                need(process.returncode == 1 and "removed" in errors, f"{fmt}: {process.returncode} {errors}")
                need(not (p.ours / "out").exists(), "the new target is still there")
            (p.ours / "out").write_bytes(b"old")
            process = start_slowly(p, "-O", fmt, "in", "out")
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30 * SLOWNESS)
            need(process.returncode == 1 and "'out' is incomplete" in errors, f"{fmt}: {process.returncode} {errors}")
            (p.ours / "out").unlink()


def test_killed_is_no_image():
    with Pair() as p:
        (p.ours / "in").write_bytes(random.Random(3).randbytes(24 * MIB))
        for argv in ([], ["-c"]):
            process = start_slowly(p, *argv, "-O", "qcow2", "in", "out")
            process.kill()
            process.communicate()
            for program in (IMG, QEMU_IMG):
                done = run(program, "info", "-f", "qcow2", "out", cwd=p.ours)
                need(done.returncode == 1, f"{program} takes half a copy for an image: {done.stdout}")
            (p.ours / "out").unlink()


def test_no_space():
    """The host refuses to make the file longer, at any point: exit 1, and nothing is left."""
    def limited(limit):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with Pair() as p:
        (p.ours / "in").write_bytes(random.Random(3).randbytes(3 * MIB))
        for argv in (["-O", "qcow2"], ["-O", "qcow2", "-c"], ["-O", "qcow2", "-o", "extended_l2=on"], ["-O", "raw"]):
            for limit in (0, 4096, 100000, 270000, MIB, 2 * MIB + 1, 3 * MIB - 1):
                done = subprocess.run([IMG, "convert", *argv, "in", "out"], cwd=p.ours, capture_output=True, text=True,
                                      preexec_fn=lambda limit=limit: limited(limit), timeout=60 * SLOWNESS)
                need(done.returncode == 1 and done.stderr, f"{argv} {limit}: {done.returncode} {done.stderr}")
                need(not (p.ours / "out").exists(), f"{argv} {limit}: something is left: {done.stderr}")


def test_damaged_source():
    with Pair() as p:
        (p.ours / "in").write_bytes(bytes(range(256)) * 4096 * 4)
        ok(QEMU_IMG, "convert", "-c", "-O", "qcow2", "in", "packed", cwd=p.ours)
        with open(p.ours / "packed", "r+b") as f:
            f.seek(5 * 65536)  # where the data begins
            f.write(b"\xff" * 4096)
        done = run(IMG, "convert", "-O", "raw", "packed", "out", cwd=p.ours)
        need(done.returncode == 1 and "reading" in done.stderr and not (p.ours / "out").exists(), f"{done.returncode} {done.stderr}")
        done = run(IMG, "convert", "--salvage", "-O", "raw", "packed", "out", cwd=p.ours)
        need(done.returncode == 0 and "error while reading offset" in done.stderr, f"{done.returncode} {done.stderr}")
        need(os.path.getsize(p.ours / "out") == 4 * MIB, "the salvaged copy is not as long as its source")


if __name__ == "__main__":
    run_tests([(name[5:].replace("_", " "), function) for name, function in list(globals().items()) if name.startswith("test_")])
