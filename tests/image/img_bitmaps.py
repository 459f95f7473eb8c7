#!/usr/bin/env python3
"""Dirty bitmaps that track changes: hanok-img sets the bits that qemu-img sets, and whatever interrupts it leaves a bitmap
that says it is void, or one that is right."""
import os
import struct

from bitmaps import IN_USE, bitmaps
from imgtest import IMG, QEMU_IMG, Pair, need, ok, run, run_tests

KIB, MIB = 1 << 10, 1 << 20


def same_bits(p, image):
    ours, theirs = bitmaps(p.ours / image), bitmaps(p.theirs / image)
    need(ours.keys() == theirs.keys(), f"{ours.keys()}, qemu-img {theirs.keys()}")
    for name, b in ours.items():
        other = theirs[name]
        need(b.flags == other.flags, f"{name}: flags {b.flags}, qemu-img {other.flags}")
        need(b.dirty == other.dirty, f"{name}: not the same bits: {sorted(b.dirty ^ other.dirty)[:20]}")
    return ours


def written(p, *argv):
    """qemu-img 7.2 ignores bench's -q."""
    p.same("bench", "-q", "-w", "-f", "qcow2", *argv, edit=lambda text: "")


def make(p, size="8M", options="cluster_size=4k"):
    ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "-o", options, "a", size, cwd=p.ours)
    for name, grain, *off in (("fine", 512), ("coarse", 65536), ("off", 65536, "--disable")):
        ok(QEMU_IMG, "bitmap", "--add", *off, "-g", grain, "a", name, cwd=p.ours)


def test_bits_are_those_of_qemu_img():
    for options in ("cluster_size=4k", "cluster_size=64k,extended_l2=on", "cluster_size=4k,lazy_refcounts=on"):
        with Pair() as p:
            make(p, options=options)
            p.split()
            for start, length, step in ((0, 512, 70000 & ~511), (3 * MIB + 512, 4096, 4096), (5 * MIB, 7 * 512, 9 * 512)):
                written(p, "-c", 20, "-d", 1, "-o", start, "-s", length, "-S", step, "a")
            need(len(same_bits(p, "a")["fine"].dirty) > 200, "nothing was tracked")
            written(p, "-c", 30, "-d", 8, "-t", "none", "-o", 2 * MIB, "-s", 8192, "a")
            same_bits(p, "a")
            p.clean("a")
            p.contents("a")


def test_bits_of_converting_into_an_image():
    for flags in ([], ["-c"]):
        with Pair() as p:
            make(p)
            (p.ours / "in.raw").write_bytes(os.urandom(MIB) + bytes(MIB) + os.urandom(6 * MIB))
            p.split()
            p.same("convert", "-n", *flags, "-f", "raw", "-O", "qcow2", "in.raw", "a")
            ours = bitmaps(p.ours / "a")
            need(len(ours["coarse"].dirty) == 128 and not ours["off"].dirty, f"{sorted(ours['coarse'].dirty)}")
            p.clean("a")
            p.contents("a")


def test_commit_marks_the_backing_image():
    with Pair() as p:
        make(p)
        ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "-b", "a", "-F", "qcow2", "top", cwd=p.ours)
        p.split()
        written(p, "-c", 6, "-d", 1, "-s", 65536, "-S", MIB, "top")
        p.same("commit", "-q", "top")
        need(same_bits(p, "a")["coarse"].dirty == set(range(0, 96, 16)), "what was committed")
        p.clean("a", "top")


def test_only_a_write_touches_them():
    with Pair() as p:
        make(p)
        before = (p.ours / "a").read_bytes()
        ok(IMG, "info", "a", cwd=p.ours)
        ok(IMG, "check", "a", cwd=p.ours)
        ok(IMG, "bench", "-q", "-c", 10, "a", cwd=p.ours)
        need((p.ours / "a").read_bytes() == before, "an image that was read has changed")


def test_killed_or_failing_at_any_io():
    with Pair() as p:
        make(p)
        fresh = (p.ours / "a").read_bytes()
        argv = ("bench", "-q", "-w", "-f", "qcow2", "-c", 12, "-d", 1, "-s", 4096, "-S", 200 * KIB, "a")
        ok(IMG, *argv, cwd=p.ours)
        right = bitmaps(p.ours / "a")
        for then in ("error", "exit"):
            nth, over = 0, False
            while not over:
                nth += 1
                (p.ours / "a").write_bytes(fresh)
                os.environ["HANOK_IO_FAULT"] = f"nth={nth},op=write,errno=28,then={then},once=on"
                try:
                    done = run(IMG, *argv, cwd=p.ours)
                finally:
                    del os.environ["HANOK_IO_FAULT"]
                over = done.returncode == 0 and not done.stderr
                check = run(QEMU_IMG, "check", "a", cwd=p.ours)
                need(check.returncode in (0, 3), f"{then} {nth}: check says {check.returncode} {check.stdout}{check.stderr}")
                for name, b in bitmaps(p.ours / "a").items():
                    # a request that failed may have left its bit
                    fits = b.dirty == right[name].dirty or (done.returncode and b.dirty <= right[name].dirty and b.dirty)
                    untouched = not b.dirty and run(QEMU_IMG, "map", "a", cwd=p.ours).stdout.count("\n") == 1
                    need(b.flags & IN_USE or name == "off" or fits or untouched, f"{then} {nth}: {name} is not void, and wrong")
            need(nth > 8, f"only {nth} writes")


def test_unusable_ones_keep_the_image_from_being_written():
    """Hostile directories: read-only works, writing is refused by name, nothing is touched."""
    def entry(b, field, form, value):
        return lambda data: struct.pack_into(form, data, b.at + field, value)
    with Pair() as p:
        make(p)
        b = bitmaps(p.ours / "a")["coarse"]
        good = (p.ours / "a").read_bytes()
        for what, change in (("an unknown type", entry(b, 16, ">B", 7)),
                             ("a table that is too short", entry(b, 8, ">I", 0)),
                             ("a table that is too long", entry(b, 8, ">I", 9)),
                             ("a table over the header", entry(b, 0, ">Q", 0)),
                             ("bits over the refcount table", lambda data: struct.pack_into(">Q", data, b.table, 4096)),
                             ("bits far outside", lambda data: struct.pack_into(">Q", data, b.table, 1 << 40)),
                             ("reserved bits", lambda data: struct.pack_into(">Q", data, b.table, 2)),
                             ("no granularity", entry(b, 17, ">B", 0))):
            data = bytearray(good)
            change(data)
            (p.ours / "a").write_bytes(data)
            done = run(IMG, "bench", "-q", "-w", "-c", 1, "-f", "qcow2", "a", cwd=p.ours)
            need(done.returncode == 1 and "dirty bitmap" in done.stderr and "Traceback" not in done.stderr,
                 f"{what}: {done.returncode} {done.stderr}")
            need((p.ours / "a").read_bytes() == data, f"{what}: the image has changed")
            ok(IMG, "bench", "-q", "-c", 1, "-f", "qcow2", "a", cwd=p.ours)


if __name__ == "__main__":
    run_tests([(name[5:].replace("_", " "), function) for name, function in list(globals().items()) if name.startswith("test_")])
