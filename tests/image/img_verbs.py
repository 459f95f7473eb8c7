#!/usr/bin/env python3
"""hanok-img's verbs against qemu-img's: the same words on the same images, compared in exit status, in what is printed,
and in what the images hold afterwards."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

from imgtest import IMG, QEMU_IMG, Failure, Pair, need, ok, qemu_io, run, run_tests


def without_disk_size(text):
    """How much a file takes on disk depends on who wrote it."""
    return re.sub(r"disk size: .*", "disk size: -", text)


def as_json(text, drop=("actual-size",)):
    """Objects compare without regard to the order of their keys."""
    def strip(x):
        if isinstance(x, dict):
            return {k: strip(v) for k, v in x.items() if k not in drop}
        return [strip(v) for v in x] if isinstance(x, list) else x
    return strip(json.loads(text)) if text.strip() else None


CREATE = [
    ["-f", "raw", "a", "10M"], ["a", "1k"], ["-f", "raw", "-o", "preallocation=full", "a", "1M"],
    ["-f", "raw", "-o", "preallocation=falloc", "a", "1M"], ["-f", "raw", "-o", "size=3M", "a"],
    ["-f", "raw", "-o", "nocow=off,preallocation=falloc", "a", "1M"], ["-f", "qcow2", "-o", "nocow=on", "a", "1M"],
    ["-f", "qcow2", "a", "10M"], ["-f", "qcow2", "a", "1000"], ["-f", "qcow2", "a", "0"],
    ["-f", "qcow2", "-o", "cluster_size=512", "a", "1M"], ["-f", "qcow2", "-o", "cluster_size=2M", "a", "1T"],
    ["-f", "qcow2", "-o", "compat=0.10", "a", "1M"], ["-f", "qcow2", "-o", "compat=v3,lazy_refcounts=on", "a", "1M"],
    ["-f", "qcow2", "-o", "refcount_bits=1", "a", "1M"], ["-f", "qcow2", "-o", "refcount_bits=64", "a", "1M"],
    ["-f", "qcow2", "-o", "extended_l2=on", "a", "1M"], ["-f", "qcow2", "-o", "compression_type=zstd", "a", "1M"],
    ["-f", "qcow2", "-o", "preallocation=metadata", "a", "9M"], ["-f", "qcow2", "-o", "preallocation=full", "a", "3M"],
    ["-f", "qcow2", "-o", "preallocation=falloc,cluster_size=128k", "a", "3M"],
    ["-f", "qcow2", "-b", "base.raw", "-F", "raw", "a"], ["-f", "qcow2", "-b", "base.raw", "-F", "raw", "a", "20M"],
    ["-f", "qcow2", "-o", "backing_file=base.raw,backing_fmt=raw", "a"], ["-q", "-f", "qcow2", "a", "1M"],
    ["-f", "qcow2", "-u", "-b", "missing", "-F", "qcow2", "a", "1M"],
    ["-f", "qcow2", "-o", "data_file=data,data_file_raw=on", "a", "1M"],
    ["-f", "qcow2", "-o", "size=5M", "-o", "cluster_size=4k", "a"],
]
CREATE_WRONG = [
    ["-f", "raw", "-o", "nocow=3", "a", "1M"],
    ["-f", "qcow2", "a"], ["-f", "raw", "a"], ["a", "1Z"], ["-f", "nothing", "a", "1M"], ["-f", "qcow2", "-o", "foo=1", "a", "1M"],
    ["-f", "qcow2", "-o", "cluster_size=1000", "a", "1M"], ["-f", "qcow2", "-o", "cluster_size=4M", "a", "1M"],
    ["-f", "qcow2", "-o", "refcount_bits=3", "a", "1M"], ["-f", "qcow2", "-o", "compat=0.10,lazy_refcounts=on", "a", "1M"],
    ["-f", "qcow2", "-b", "base.raw", "a", "1M"], ["-f", "qcow2", "-b", "missing", "-F", "raw", "a"],
    ["-f", "raw", "-b", "base.raw", "-F", "raw", "a", "1M"], ["-f", "qcow2", "-o", "data_file_raw=on", "a", "1M"],
    ["-f", "qcow2", "-o", "cluster_size=512", "a", "1P"], ["a", "-1M"], [], ["a", "1M", "more"],
    ["-f", "qcow2", "-o", "extended_l2=on,cluster_size=4k", "a", "1M"],
]


def test_create_and_info():
    for argv in CREATE:
        with Pair() as p:
            ok(QEMU_IMG, "create", "-q", "-f", "raw", "base.raw", "7M", cwd=p.ours)
            p.split()
            p.same("create", *argv)
            p.same("info", "a", edit=without_disk_size)
            p.same("info", "--output=json", "a", edit=as_json)
            if "-u" not in argv:  # its backing file is not there
                p.clean("a")
            if "-u" not in argv and "data_file" not in " ".join(argv):  # qemu-img looks for that where it is started
                p.contents("a")


def test_create_refusals_leave_no_file():
    for argv in CREATE_WRONG:
        with Pair() as p:
            ok(QEMU_IMG, "create", "-q", "-f", "raw", "base.raw", "7M", cwd=p.ours)
            p.split()
            done, _ = p.both("create", *argv)
            need(done.returncode == 1 and done.stderr, f"create {argv}: {done.returncode} {done.stderr!r}")
            need(not (p.ours / "a").exists(), f"create {argv} left a file behind: {done.stderr}")


def chain(p):
    """base.raw <- mid.qcow2 <- top.qcow2, each with something of its own; top is longer."""
    (p.ours / "base.raw").write_bytes(bytes(range(256)) * 4096 * 8)
    ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "mid.qcow2", cwd=p.ours)
    qemu_io("mid.qcow2", "write -P 1 64k 200k", "write -z 1M 512k", "write -P 2 5M 4k", cwd=p.ours)
    ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "-b", "mid.qcow2", "-F", "qcow2", "top.qcow2",
       "12M", cwd=p.ours)
    qemu_io("top.qcow2", "write -P 3 0 4k", "write -P 4 6M 1M", "write -P 5 11M 4k", cwd=p.ours)


def test_info_of_a_chain():
    with Pair() as p:
        chain(p)
        os.mkdir(p.ours / "sub")
        ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "-b", "../mid.qcow2", "-F", "qcow2", "sub/x.qcow2", cwd=p.ours)
        p.split()
        for image in ("base.raw", "mid.qcow2", "top.qcow2", "sub/x.qcow2"):
            for argv in ([image], ["--backing-chain", image]):
                p.same("info", *argv, edit=without_disk_size)
                p.same("info", "--output", "json", *argv, edit=as_json)
        p.same("info", "missing")
        p.same("info")
        os.unlink(p.ours / "base.raw")
        os.unlink(p.theirs / "base.raw")
        p.same("info", "mid.qcow2", edit=without_disk_size)
        done = run(IMG, "info", "--backing-chain", "top.qcow2", cwd=p.ours)
        need(done.returncode == 1 and "base.raw" in done.stderr, done.stderr)


def test_info_of_a_loop_ends():
    with Pair() as p:
        for a, b in (("a", "b"), ("b", "a")):
            ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "-u", "-b", b, "-F", "qcow2", a, "1M", cwd=p.ours)
        done = run(IMG, "info", "--backing-chain", "a", cwd=p.ours)
        need(done.returncode == 1 and "loop" in done.stderr, f"{done.returncode} {done.stderr}")
        for verb in (["map"], ["convert", "-O", "raw"], ["commit"], ["check"]):
            done = run(IMG, *verb, "a", *(["out"] if verb[0] == "convert" else []), cwd=p.ours)
            need(done.returncode in ((1,) if verb[0] != "check" else (0, 1)), f"{verb}: {done.returncode} {done.stderr}")


def test_map():
    with Pair() as p:
        chain(p)
        with open(p.ours / "holes.raw", "wb") as f:
            f.truncate(4 << 20)
            f.seek(1 << 20)
            f.write(b"x" * 65536)
        ok(QEMU_IMG, "convert", "-c", "-O", "qcow2", "base.raw", "packed.qcow2", cwd=p.ours)
        ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "empty.qcow2", "1G", cwd=p.ours)
        p.split()
        for image in ("base.raw", "holes.raw", "mid.qcow2", "top.qcow2", "packed.qcow2", "empty.qcow2"):
            p.same("map", image)
            p.same("map", "--output=json", image)
            p.same("map", "--output=json", "--start-offset=1M", "--max-length", "512k", image)
            p.same("map", "--output=json", "-s", "100M", image)


def test_compare():
    with Pair() as p:
        chain(p)
        ok(QEMU_IMG, "convert", "-O", "raw", "top.qcow2", "flat.raw", cwd=p.ours)
        ok(QEMU_IMG, "create", "-q", "-f", "raw", "zero.raw", "12M", cwd=p.ours)
        ok(QEMU_IMG, "create", "-q", "-f", "raw", "longer.raw", "13M", cwd=p.ours)
        shutil.copy(p.ours / "flat.raw", p.ours / "late.raw")
        with open(p.ours / "late.raw", "r+b") as f:
            f.seek(7654321)
            f.write(b"?")
        p.split()
        for argv in (["flat.raw", "top.qcow2"], ["top.qcow2", "mid.qcow2"], ["zero.raw", "flat.raw"], ["zero.raw", "longer.raw"],
                     ["-s", "zero.raw", "longer.raw"], ["flat.raw", "late.raw"], ["late.raw", "top.qcow2"],
                     ["-f", "raw", "-F", "qcow2", "flat.raw", "top.qcow2"], ["-q", "flat.raw", "late.raw"],
                     ["flat.raw", "missing"], ["flat.raw"], ["-s", "flat.raw", "flat.raw"], ["longer.raw", "flat.raw"]):
            p.same("compare", *argv)


def test_measure():
    with Pair() as p:
        chain(p)
        p.split()
        for argv in (["--size", "10G"], ["-O", "qcow2", "--size", "10G"], ["-O", "qcow2", "--size", "1"],
                     ["-O", "qcow2", "-o", "cluster_size=2M", "--size", "7T"], ["-O", "qcow2", "-o", "cluster_size=512", "--size", "1G"],
                     ["-O", "qcow2", "-o", "refcount_bits=64", "--size", "5G"],
                     ["-O", "qcow2", "-o", "extended_l2=on", "--size", "5G"],
                     ["-O", "qcow2", "-o", "preallocation=full", "--size", "5G"], ["-O", "raw", "base.raw"],
                     ["-O", "qcow2", "base.raw"], ["-O", "qcow2", "mid.qcow2"], ["-O", "qcow2", "top.qcow2"],
                     ["-O", "qcow2", "-o", "cluster_size=512", "top.qcow2"], ["-O", "raw", "top.qcow2"], ["-O", "qcow2"],
                     ["-O", "qcow2", "--size", "1G", "top.qcow2"]):
            p.same("measure", *argv)
            p.same("measure", "--output=json", *argv, edit=as_json)


def test_resize():
    with Pair() as p:
        chain(p)
        ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "plain.qcow2", "12M", cwd=p.ours)
        qemu_io("plain.qcow2", "write -P 7 2M 8M", cwd=p.ours)
        p.split()
        for image, fmt in (("base.raw", "raw"), ("top.qcow2", "qcow2"), ("plain.qcow2", "qcow2")):
            for argv in ([image, "16M"], [image, "+1M"], [image, "+512"], [image, "3M"], ["--shrink", image, "9M"],
                         ["--shrink", image, "-3M"], ["-q", image, "+8M"], ["--preallocation=full", image, "+2M"],
                         ["--preallocation", "falloc", image, "+1M"], [image, "-100M"], [image, "0x"], [image, "+0"]):
                if image != "top.qcow2" or "preallocation" not in argv[0]:
                    p.same("resize", "-f", fmt, *argv)
            p.contents(image)
            p.clean(image)
            p.same("info", image, edit=without_disk_size)
        p.same("resize", "-f", "qcow2", "--preallocation=metadata", "plain.qcow2", "+4M")
        p.contents("plain.qcow2")
        p.clean("plain.qcow2")


def test_what_shrinking_cut_off_does_not_come_back():
    """Zeroes appear when an image grows, in the rest of the last cluster too, where qemu-img 7.2 shows the old data."""
    with Pair() as p:
        (p.ours / "a.raw").write_bytes(b"a" * (1 << 20))
        p.split()
        kept, cut = 150016, (1 << 20) - 150016  # the third of the clusters of 64 KiB is cut in two
        for number, options in enumerate(([], ["-c"], ["-c", "-o", "compression_type=zstd"], ["-o", "extended_l2=on"],
                                          ["-o", "compat=0.10"], ["-c", "-B", "a.raw", "-F", "raw"])):
            name = f"{number}.qcow2"
            ok(QEMU_IMG, "convert", "-O", "qcow2", *options, "a.raw", name, cwd=p.ours)
            for step in (["--shrink", name, kept], [name, 1 << 20]):
                ok(IMG, "resize", "-q", *step, cwd=p.ours)
            qemu_io(name, f"read -P 97 0 {kept}", f"read -P 0 {kept} {cut}", cwd=p.ours)
            ok(IMG, "check", name, cwd=p.ours)
            ok(QEMU_IMG, "check", name, cwd=p.ours)


def test_snapshots():
    def undated(text):  # nor with an instruction count, which qemu-img 7.2 gives as 0 and hanok-img as none
        return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d 00:00:00.000 *0?", "-", text)
    with Pair() as p:
        ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "a", "8M", cwd=p.ours)
        qemu_io("a", "write -P 1 0 3M", cwd=p.ours)
        p.split()
        for round_ in range(3):
            p.same("snapshot", "-c", f"s{round_}", "a")
            for folder in (p.ours, p.theirs):
                qemu_io("a", f"write -P {round_ + 2} {round_}M 1M", f"write -z {round_ + 3}M 64k", cwd=folder)
        p.same("snapshot", "-l", "a", edit=undated)
        p.same("info", "a", edit=lambda t: undated(without_disk_size(t)))
        p.same("info", "--output=json", "a", edit=lambda t: as_json(t, ("actual-size", "date-sec", "date-nsec", "icount")))
        p.contents("a")
        p.clean("a")
        for which in ("s1", "2", "s0"):
            for folder, program in ((p.ours, IMG), (p.theirs, QEMU_IMG)):
                ok(program, "convert", "-l", which, "-O", "raw", "a", "flat", cwd=folder)
            p.contents("flat")
            p.same("snapshot", "-a", which, "a")
            p.contents("a")
            p.clean("a")
        p.same("snapshot", "-d", "s1", "a")
        p.same("snapshot", "-d", "s1", "a")
        p.same("snapshot", "-a", "nothing", "a")
        p.same("snapshot", "-l", "a", edit=undated)
        p.clean("a")
        p.contents("a")
        p.same("snapshot", "-l", "-c", "x", "a")


def test_a_snapshot_that_cannot_be_counted_changes_nothing():
    """Clusters that hold many compressed ones: each has room for one more count, not for as many as it would get."""
    with Pair() as p:
        (p.ours / "a.raw").write_bytes(b"a" * (1 << 20))
        for bits, snapshots in ((8, 0), (2, 0), (1, 0), (16, 2)):
            ok(IMG, "convert", "-c", "-O", "qcow2", "-o", f"cluster_size=4096,refcount_bits={bits}", "a.raw", "a", cwd=p.ours)
            for number in range(snapshots):
                ok(IMG, "snapshot", "-c", f"s{number}", "a", cwd=p.ours)
            before = (p.ours / "a").read_bytes()
            done = run(IMG, "snapshot", "-c", "one more", "a", cwd=p.ours)
            if bits == 16:
                need(done.returncode == 0, f"16 bits: {done.stderr}")
            else:
                need(done.returncode == 1 and "amend -o refcount_bits=16" in done.stderr, f"{bits} bits: {done.stderr!r}")
                need((p.ours / "a").read_bytes() == before, f"{bits} bits: the image has changed")
            ok(QEMU_IMG, "check", "a", cwd=p.ours)


def test_rebase():
    with Pair() as p:
        chain(p)
        (p.ours / "other.raw").write_bytes(bytes(range(256)) * 4096 * 4 + b"\0" * (4 << 20))
        ok(QEMU_IMG, "convert", "-O", "raw", "top.qcow2", "before.raw", cwd=p.ours)
        p.split()
        for argv in (["-b", "base.raw", "-F", "raw"], ["-b", "other.raw", "-F", "raw"], ["-b", ""],
                     ["-b", "other.raw", "-F", "raw"], ["-b", "mid.qcow2", "-F", "qcow2"]):
            p.same("rebase", *argv, "top.qcow2")
            for folder in (p.ours, p.theirs):
                ok(QEMU_IMG, "compare", "top.qcow2", "before.raw", cwd=folder)
            p.contents("top.qcow2")
            p.clean("top.qcow2")
            p.same("info", "top.qcow2", edit=without_disk_size)
        p.same("rebase", "-u", "-b", "base.raw", "-F", "raw", "top.qcow2")
        p.contents("top.qcow2")
        p.same("rebase", "-u", "-b", "", "top.qcow2")
        p.contents("top.qcow2")
        p.clean("top.qcow2")
        for argv in (["-b", "missing", "-F", "raw", "top.qcow2"], ["-b", "base.raw", "-F", "raw", "base.raw"], ["top.qcow2"],
                     ["-u", "-b", "base.raw", "top.qcow2"]):
            a, b = p.both("rebase", *argv)
            need(a.returncode == b.returncode == 1 and a.stderr, f"rebase {argv}: {a.returncode} {b.returncode} {a.stderr}")


def test_rebase_onto_a_first_backing_file():
    """What was nowhere, and read as zeroes, must not show the new backing file (qemu-img 7.2 fails with version 2)."""
    with Pair() as p:
        (p.ours / "other.raw").write_bytes(b"y" * (3 << 20))
        for options in ("cluster_size=512,compat=0.10", "cluster_size=64k,extended_l2=on", "cluster_size=4k", "cluster_size=2M"):
            ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "-o", options, "a", "4M", cwd=p.ours)
            qemu_io("a", "write -P 1 5k 2k", "write -P 3 1M 3k", "write -z 2M 64k", cwd=p.ours)
            ok(QEMU_IMG, "convert", "-O", "raw", "a", "before", cwd=p.ours)
            ok(IMG, "rebase", "-b", "other.raw", "-F", "raw", "a", cwd=p.ours)
            ok(QEMU_IMG, "compare", "before", "a", cwd=p.ours)
            ok(QEMU_IMG, "check", "a", cwd=p.ours)


def test_commit():
    with Pair() as p:
        chain(p)
        p.split()
        p.same("commit", "top.qcow2")
        p.contents("top.qcow2", "mid.qcow2")
        p.clean("top.qcow2", "mid.qcow2")
        p.same("info", "top.qcow2", edit=without_disk_size)
        for folder in (p.ours, p.theirs):
            qemu_io("top.qcow2", "write -P 9 3M 2M", "write -z 7M 1M", cwd=folder)
        p.same("commit", "-b", "base.raw", "top.qcow2")
        p.contents("top.qcow2", "base.raw")
        p.same("map", "--output=json", "top.qcow2", edit=lambda t: re.sub(r', "offset": \d+', "", t))
        p.same("commit", "-d", "-q", "mid.qcow2")
        p.contents("mid.qcow2", "base.raw")
        p.clean("top.qcow2", "mid.qcow2")
        p.same("commit", "base.raw")
        p.same("commit", "-b", "nowhere.raw", "top.qcow2")
        p.same("commit")


def test_amend():
    with Pair() as p:
        ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "a", "8M", cwd=p.ours)
        qemu_io("a", "write -P 1 0 3M", "write -z 5M 1M", cwd=p.ours)
        p.split()
        for o in ("compat=0.10", "compat=1.1", "lazy_refcounts=on", "lazy_refcounts=off", "size=9M", "refcount_bits=64",
                  "refcount_bits=16", "compat=0.10", "compat=v3,refcount_bits=1"):
            p.same("amend", "-f", "qcow2", "-o", o, "a")
            p.same("info", "a", edit=without_disk_size)
            p.contents("a")
            p.clean("a")
        for argv in (["-o", "cluster_size=4k", "a"], ["-o", "foo=on", "a"], ["a"], ["-o", "compat=0.10,lazy_refcounts=on", "a"]):
            a, b = p.both("amend", *argv)
            need(a.returncode == b.returncode == 1 and a.stderr, f"amend {argv}: {a.returncode} {b.returncode} {a.stderr}")


def test_check_and_repair():
    with Pair() as p:
        ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "good", "8M", cwd=p.ours)
        qemu_io("good", "write -P 1 0 3M", "write -P 2 5M 128k", cwd=p.ours)
        shutil.copy(p.ours / "good", p.ours / "leaky")
        with open(p.ours / "leaky", "r+b") as f:  # one cluster more, counted, that nothing points to
            clusters = -(-f.seek(0, 2) // 65536)
            f.truncate((clusters + 1) * 65536)
            f.seek(2 * 65536 + 2 * clusters)
            f.write(b"\0\1")
        shutil.copy(p.ours / "good", p.ours / "undercounted")
        with open(p.ours / "undercounted", "r+b") as f:  # and one too few for one in use
            f.seek(2 * 65536 + 2 * 7)
            f.write(b"\0\0")
        ok(QEMU_IMG, "create", "-q", "-f", "raw", "raw", "1M", cwd=p.ours)
        p.split()
        for image, status in (("good", 0), ("leaky", 3), ("undercounted", 2), ("raw", 63), ("missing", 1)):
            # how many errors one wrong count makes is a matter of taste
            done = p.same("check", image, edit=lambda t: re.sub(r"\d+ errors", "- errors", t))
            need(done.returncode == status, f"check {image}: {done.returncode}")
            p.same("check", "--output=json", image, edit=lambda t: as_json(t, ("corruptions",)))
            p.same("check", "-q", image)
        p.same("check", "-r", "leaks", "leaky")
        p.same("check", "-r", "all", "undercounted", edit=lambda t: re.sub(r"\d+ corruptions", "- corruptions", t))
        p.clean("leaky", "undercounted", "good")
        p.contents("leaky", "undercounted")
        p.same("check", "-r", "some", "good")


def test_dd():
    with Pair() as p:
        chain(p)
        p.split()
        for argv in (["if=base.raw", "of=out"], ["bs=1M", "count=2", "if=top.qcow2", "of=out"], ["bs=3k", "if=top.qcow2", "of=out"],
                     ["-O", "qcow2", "bs=64k", "if=top.qcow2", "of=out"], ["-f", "qcow2", "-O", "raw", "bs=1M", "skip=5", "if=mid.qcow2", "of=out"]):
            p.same("dd", *argv)
            p.contents("out")
            for folder in (p.ours, p.theirs):
                (folder / "out").unlink()
        for argv in (["if=base.raw"], ["if=missing", "of=out"], ["bs=0", "if=base.raw", "of=out"], ["wrong", "if=base.raw", "of=out"]):
            p.same("dd", *argv)
            need(not (p.ours / "out").exists(), f"dd {argv} left a file")
    with Pair() as p:  # what the manual page says of count= with skip=
        (p.ours / "in").write_bytes(os.urandom(4 << 20))
        ok(IMG, "dd", "-f", "raw", "bs=1M", "skip=1", "count=2", "if=in", "of=out", cwd=p.ours)
        need((p.ours / "out").read_bytes() == (p.ours / "in").read_bytes()[1 << 20:3 << 20], "dd skip=1 count=2")


def test_bench():
    with Pair() as p:
        ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "a", "8M", cwd=p.ours)
        p.split()
        quiet = {"edit": lambda text: re.sub(r"in [\d.]+ seconds", "in - seconds", text)}
        p.same("bench", "-f", "qcow2", "-c", "300", "-d", "8", "a", **quiet)
        p.same("bench", "-f", "qcow2", "-w", "-c", "500", "-d", "16", "-s", "8k", "-S", "12k", "-o", "4k", "--pattern=66", "a", **quiet)
        p.contents("a")
        p.same("bench", "-f", "qcow2", "-w", "-c", "64", "-d", "4", "--flush-interval=8", "--pattern=7", "a", **quiet)
        p.same("bench", "-f", "qcow2", "-w", "-c", "64", "-d", "4", "--flush-interval=8", "--no-drain", "--pattern=8", "a", **quiet)
        p.contents("a")
        p.clean("a")
        p.same("bench", "-w", "--flush-interval=2", "-d", "4", "a")
        p.same("bench", "--flush-interval=200", "a")


def test_bench_writes_through_where_the_cache_mode_says_so():
    for mode, waits in (("writeback", False), ("writethrough", True), ("directsync", True)):
        with Pair() as p:
            ok(QEMU_IMG, "create", "-q", "-f", "qcow2", "a", "8M", cwd=p.ours)
            os.environ["HANOK_IO_FAULT"] = "nth=1,op=flush,errno=5"
            try:
                done = run(IMG, "bench", "-w", "-f", "qcow2", "-c", 4, "-d", 1, "-t", mode, "a", cwd=p.ours)
            finally:
                del os.environ["HANOK_IO_FAULT"]
            failed = "Failed request" in done.stderr
            need(failed == waits, f"-t {mode}, the host's first flush fails: {done.returncode} {done.stdout}{done.stderr}")


def test_nothing_is_written_over_what_is_read():
    with Pair() as p:
        chain(p)
        os.symlink("base.raw", p.ours / "link")
        before = {name: (p.ours / name).read_bytes() for name in ("base.raw", "mid.qcow2", "top.qcow2")}
        for argv in (["convert", "-O", "raw", "top.qcow2", "top.qcow2"], ["convert", "-O", "qcow2", "top.qcow2", "mid.qcow2"],
                     ["convert", "-U", "-O", "raw", "top.qcow2", "link"], ["convert", "-n", "-O", "raw", "mid.qcow2", "base.raw"],
                     ["dd", "if=mid.qcow2", "of=base.raw"], ["dd", "-U", "if=mid.qcow2", "of=./mid.qcow2"],
                     ["create", "-f", "qcow2", "-b", "top.qcow2", "-F", "qcow2", "mid.qcow2"],
                     ["create", "-f", "qcow2", "-b", "link", "-F", "raw", "base.raw"],
                     ["rebase", "-b", "top.qcow2", "-F", "qcow2", "top.qcow2"],
                     ["rebase", "-b", "top.qcow2", "-F", "qcow2", "mid.qcow2"]):
            done = run(IMG, *argv, cwd=p.ours)
            need(done.returncode == 1 and done.stderr, f"{argv}: {done.returncode} {done.stderr}")
            for name, data in before.items():
                need((p.ours / name).read_bytes() == data, f"{argv} changed {name}")


def test_usage():
    for argv in ([], ["nothing"], ["info", "--foo", "a"], ["info", "-x", "a"], ["convert", "a"], ["convert"], ["create", "-f"],
                 ["rebase", "a"], ["snapshot"], ["compare", "a"], ["map", "a", "b"], ["resize"], ["resize", "a"]):
        done = run(IMG, *argv)
        need(done.returncode in (1, 2) and done.stderr and not done.stdout, f"{argv}: {done.returncode} {done.stderr!r}")
        need(len(done.stderr.splitlines()) <= 3, f"{argv}: {done.stderr}")
    need("snapshot" in ok(IMG, "--help") and "convert" in ok(IMG, "convert", "--help"), "help")
    need("cluster_size" in ok(IMG, "create", "-f", "qcow2", "-o", "help", "x"), "-o help")


def test_image_options():
    with Pair() as p:
        chain(p)
        p.split()
        for argv in (["info", "--image-opts", "driver=qcow2,file.filename=mid.qcow2"],
                     ["info", "--image-opts", "driver=raw,file.driver=file,file.filename=mid.qcow2"]):
            done = p.both(*argv)
            need(all(d.returncode == 0 for d in done), f"{argv}: {done[0].stderr}{done[1].stderr}")
            need(done[0].stdout.splitlines()[1:3] == done[1].stdout.splitlines()[1:3], f"{argv}: {done[0].stdout}")
        p.same("compare", "--image-opts", "driver=qcow2,file.filename=top.qcow2", "driver=qcow2,file.filename=top.qcow2")
        p.same("map", "--output=json", "--image-opts", "driver=qcow2,file.filename=top.qcow2")
        for folder, program in ((p.ours, IMG), (p.theirs, QEMU_IMG)):
            ok(program, "convert", "--image-opts", "driver=qcow2,file.filename=top.qcow2", "-O", "raw", "flat", cwd=folder)
            ok(program, "convert", "-n", "--target-image-opts", "-f", "raw", "flat", "driver=qcow2,file.filename=top.qcow2", cwd=folder)
        p.contents("flat", "top.qcow2")
        p.clean("top.qcow2")


if __name__ == "__main__":
    run_tests([(name[5:].replace("_", " "), function) for name, function in list(globals().items()) if name.startswith("test_")])
