#!/usr/bin/env python3
"""Random sequences of operations, hanok-img on one copy and qemu-img on the other: after every few steps a guest sees the
same on both sides, and each tool finds the other's image whole.

    img_random.py [--sequences N] [--steps N] [--seed S] [--jobs N]    one line a sequence: its seed, and what failed

Without --seed the seeds are random; with it they are S, S+1, ... (one sequence, unless --sequences says more).  A sequence
that fails is run once more with a look after each step, so that the step to blame is the last one shown.

A sequence is a chain of qcow2 images on a raw one; its steps write, zero, discard, compress, snapshot, resize, convert,
rebase, commit and amend.  Writes alternate between the tools' own (bench -w) and qemu-io, so that each works on what
the other has left."""
import argparse
import concurrent.futures
import json
import os
import random
import sys

from imgtest import IMG, QEMU_IMG, Failure, Pair, Skip, need, need_oracle, ok, qemu_io, run

SIZE = 6 << 20
LARGEST_CLUSTER = 65536
LOOK_EVERY = 6
MEMORY = "/dev/shm"  # nobody waits for a disk there


class Sequence:
    def __init__(self, pair, seed):
        self.pair, self.rand, self.judge_rand = pair, random.Random(seed), random.Random(seed + 1)
        self.commands = []  # for qemu-io, not run yet
        self.chain, self.made, self.log, self.size = [], 0, [], SIZE
        self.snapshots, self.older_snapshots = [], []  # (name, size); older: of another backing file
        (pair.ours / "base.raw").write_bytes(self.rand.randbytes(1 << 20) + bytes(1 << 20) + b"b" * (1 << 20))
        (pair.ours / "other.raw").write_bytes(b"o" * (1 << 20) + self.rand.randbytes(3 << 20))
        pair.split()
        self.overlay()

    # what a step needs

    def name(self):
        self.made += 1
        return f"i{self.made}.qcow2"

    @property
    def top(self):
        return self.chain[-1]

    def both(self, *argv):
        """The same words to both tools; they agree on whether it can be done."""
        self.settle()
        self.log.append(" ".join(map(str, argv)))
        a, b = self.pair.both(*argv)
        need(a.returncode == b.returncode, f"exit {a.returncode}, qemu-img {b.returncode}: {a.stderr}{b.stderr}")
        return a.returncode == 0

    def io(self, command):
        self.log.append(f"qemu-io {command}")
        self.commands.append(command)

    def settle(self):
        """What qemu-io shall do happens now, in one process for each side."""
        commands, self.commands = self.commands, []
        for folder in (self.pair.ours, self.pair.theirs) if commands else ():
            qemu_io(self.top, *commands, cwd=folder)

    def range(self, most=1 << 20):
        """Often at the borders of clusters, always in sectors."""
        unit = self.rand.choice((512, 512, 4096, 65536))
        start = self.rand.randrange(self.size // unit) * unit
        return start, min(self.rand.randrange(1, most // unit + 2) * unit, self.size - start)

    def options(self):
        r, o = self.rand, []
        cluster = r.choice((512, 4096, 16384, 65536, 65536))
        o.append(f"cluster_size={cluster}")
        if r.random() < 0.2:
            o.append("compat=0.10")
        else:
            if cluster >= 16384 and r.random() < 0.4:
                o.append("extended_l2=on")
            if r.random() < 0.3:
                o.append(f"refcount_bits={r.choice((1, 2, 8, 32, 64))}")
            if r.random() < 0.2:
                o.append("lazy_refcounts=on")
            if r.random() < 0.4:
                o.append("compression_type=zstd")
        return ",".join(o)

    # steps

    def write(self):
        start, length = self.range()
        if self.rand.random() < 0.5:
            self.both("bench", "-q", "-w", "-f", "qcow2", "-c", 1, "-d", 1, "-o", start, "-s", length,
                      f"--pattern={self.rand.randrange(1, 256)}", self.top)
        else:
            self.io(f"write -P {self.rand.randrange(1, 256)} {start} {length}")

    def write_many(self):
        length = self.rand.choice((512, 4096, 7 * 512))
        step = self.rand.choice((512, 4096, 12288, 65536))
        # one at a time: where they overlap, the last must win on both sides
        self.both("bench", "-q", "-w", "-f", "qcow2", "-c", 40, "-d", 1, "-s", length, "-S", step,
                  f"--pattern={self.rand.randrange(256)}", self.top)

    def zero(self):
        start, length = self.range()
        self.io(f"write -z {self.rand.choice(('', '-u'))} {start} {length}")

    def discard(self):
        start, length = self.range()
        self.io(f"discard {start} {length}")

    def mixed(self):
        for _ in range(self.rand.randrange(3, 9)):
            start, length = self.range(256 << 10)
            self.io(self.rand.choice((f"write -P {self.rand.randrange(1, 256)}", "write -z", "write -z -u", "discard")) +
                    f" {start} {length}")

    def snapshot(self):
        self.made += 1
        name = f"s{self.made}"
        self.settle()
        self.log.append(f"snapshot -c {name} {self.top}")
        a, b = self.pair.both("snapshot", "-c", name, self.top)
        if a.returncode == b.returncode == 0:
            self.snapshots.append((name, self.size))
            return
        if a.returncode == 0:
            # qemu-img's shrinking makes L2 tables where there were none, and counts of one bit have no room to share them
            need("refcount bits: 1\n" in self.pair_info(), f"only qemu-img cannot make a snapshot: {b.stderr}")
            ok(IMG, "snapshot", "-d", name, self.top, cwd=self.pair.ours)
        if b.returncode == 0:
            # compressed clusters that share one of the file are counted there, and how many do is each tool's own affair
            narrow = any(f"refcount bits: {bits}\n" in self.pair_info() for bits in (1, 2, 8))
            need(narrow and "too little" in a.stderr, f"only hanok-img cannot make a snapshot: {a.stderr}")
            ok(QEMU_IMG, "snapshot", "-d", name, self.top, cwd=self.pair.theirs)
        self.mend_theirs()

    def apply(self):
        if self.snapshots:
            name, size = self.rand.choice(self.snapshots)
            if self.both("snapshot", "-a", name, self.top):
                self.size = size
            else:
                self.mend_theirs()

    def mend_theirs(self):
        """What qemu-img 7.2 has begun to count when there was no room for a count stays: errors in its own eyes."""
        run(QEMU_IMG, "check", "-q", "-r", "all", self.top, cwd=self.pair.theirs)

    def delete(self):
        known = self.snapshots + self.older_snapshots
        if known:
            gone = self.rand.choice(known)
            if self.both("snapshot", "-d", gone[0], self.top):
                (self.snapshots if gone in self.snapshots else self.older_snapshots).remove(gone)

    def begin_chain(self, chain):
        self.chain, self.snapshots, self.older_snapshots = chain, [], []

    def resize(self):
        if not self.may_change_size(self.top):
            return
        size = max(1 << 20, self.size + self.rand.randrange(-2048, 3072) * 512)
        if self.both("resize", "-q", "-f", "qcow2", "--shrink", self.top, size):
            self.forget_what_shrinking_left(self.top, self.size)
            self.size = size

    def may_change_size(self, image):
        """Of version 2 with snapshots: that differs between the versions of qemu-img; 7.2 cannot hide a backing file."""
        info = ok(QEMU_IMG, "info", image, cwd=self.pair.ours)
        return "compat: 0.10" not in info or ("backing file:" not in info and "Snapshot list:" not in info)

    def forget_what_shrinking_left(self, image, old):
        """What a shrink cuts off in the middle of a cluster shows again in qemu-img 7.2 when the image grows, unless
        it has a longer backing file; with hanok-img zeroes appear (img_verbs has a test).  So qemu-img's copy gets them here."""
        end = min(-(-old // LARGEST_CLUSTER) * LARGEST_CLUSTER, self.disk_bytes(image))
        if end > old:
            qemu_io(image, f"write -z {old} {end - old}", cwd=self.pair.theirs)

    def disk_bytes(self, image):
        return json.loads(ok(QEMU_IMG, "info", "--output=json", image, cwd=self.pair.theirs))["virtual-size"]

    def pair_info(self):
        return ok(QEMU_IMG, "info", self.top, cwd=self.pair.ours)

    def overlay(self):
        below, fmt = (self.top, "qcow2") if self.chain else ("base.raw", "raw")
        name = self.name()
        if self.both("create", "-q", "-f", "qcow2", "-o", self.options(), "-b", below, "-F", fmt, name, self.size):
            self.begin_chain([*self.chain, name])

    def convert(self):
        name = self.name()
        flags = self.rand.choice(([], ["-c"], ["-S", "0"], ["-W", "-m", "4"], ["-c", "-W"]))
        if self.both("convert", *flags, "-O", "qcow2", "-o", self.options(), self.top, name):
            self.begin_chain([name])

    def through_raw(self):
        name = self.name()
        self.both("convert", "-O", "raw", self.top, "flat.raw")
        self.both("convert", "-f", "raw", "-O", "qcow2", "-o", self.options(), "flat.raw", name)
        self.begin_chain([name])

    def shown_snapshot(self):
        if self.snapshots:
            name, size = self.rand.choice(self.snapshots)
            if self.both("convert", "-l", name, "-O", "raw", self.top, "flat.raw"):
                a, b = self.pair.ours / "flat.raw", self.pair.theirs / "flat.raw"
                need(a.stat().st_size == size, f"snapshot {name} of {size} bytes: {a.stat().st_size}")
                os.truncate(a, b.stat().st_size)  # qemu-img makes it as long as the image is now
                ok(QEMU_IMG, "compare", a, b)

    def rebase(self):
        info = self.pair_info()
        if "backing file:" not in info and "compat: 0.10" in info:
            return  # qemu-img 7.2 lets the new backing file show through
        below = self.rand.choice(["", "base.raw", "other.raw", *self.chain[:-1]])
        fmt = [] if not below else ["-F", "raw" if below.endswith("raw") else "qcow2"]
        if self.both("rebase", "-b", below, *fmt, self.top):
            keep = self.chain.index(below) + 1 if below in self.chain else 0
            self.chain = self.chain[:keep] + [self.top]
            # what such a snapshot leaves open shows the new backing file, and where that is differs
            self.older_snapshots += self.snapshots
            self.snapshots = []

    def commit(self):
        if len(self.chain) < 2:
            return
        below = self.disk_bytes(self.chain[-2])
        if below < self.size and not self.may_change_size(self.chain[-2]):
            return
        if self.both("commit", "-q", self.top):
            self.forget_what_shrinking_left(self.chain[-2], below)
            if self.rand.random() < 0.5:
                self.begin_chain(self.chain[:-1])

    def amend(self):
        self.both("amend", "-f", "qcow2", "-o", self.rand.choice(("lazy_refcounts=on", "lazy_refcounts=off", "compat=1.1")),
                  self.top)

    STEPS = (("write", 9), ("write_many", 4), ("zero", 4), ("discard", 4), ("mixed", 4), ("snapshot", 3), ("apply", 2), ("delete", 2),
             ("resize", 2), ("overlay", 2), ("convert", 2), ("through_raw", 1), ("shown_snapshot", 1), ("rebase", 2),
             ("commit", 2), ("amend", 1))

    def step(self):
        names, weights = zip(*self.STEPS)
        getattr(self, self.rand.choices(names, weights)[0])()

    def judge(self):
        self.settle()
        p = self.pair
        ok(QEMU_IMG, "check", self.top, cwd=p.ours)
        done = run(IMG, "check", self.top, cwd=p.theirs)
        if done.returncode:  # what qemu-img has left may be leaky: then it says so too
            same = run(QEMU_IMG, "check", self.top, cwd=p.theirs).returncode
            need(done.returncode == same == 3, f"check of qemu-img's {self.top}: {done.returncode}, its own {same}\n{done.stdout}")
            ok(QEMU_IMG, "check", "-q", "-r", "leaks", self.top, cwd=p.theirs)
        done = run(self.judge_rand.choice((IMG, QEMU_IMG)), "compare", p.ours / self.top, p.theirs / self.top)
        need(done.returncode == 0, f"the two differ: {done.stdout}{done.stderr}")


def one(seed, steps, look_every):
    with Pair(MEMORY if os.access(MEMORY, os.W_OK) else None) as pair:
        sequence = Sequence(pair, seed)
        try:
            for number in range(1, steps + 1):
                before = len(sequence.log)
                sequence.step()
                if len(sequence.log) > before and number % look_every == 0:
                    sequence.judge()
            sequence.judge()
            pair.clean(*sequence.chain)
            pair.contents(*sequence.chain)
        except Failure as problem:
            steps_so_far = "\n".join(sequence.log)
            raise Failure(f"{problem}\nafter the steps of --seed {seed} --steps {steps}:\n{steps_so_far}") from None


def judged(seed, steps):
    """(what went wrong or None, why it was skipped or None)"""
    try:
        need_oracle()
        one(seed, steps, LOOK_EVERY)
    except Skip as why:
        return None, why
    except Failure as problem:
        try:
            one(seed, steps, 1)
        except Failure as closer:
            return closer, None
        return f"{problem}\n(not so with a look after each step)", None
    return None, None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sequences", type=int, default=1, metavar="N")
    parser.add_argument("--steps", type=int, default=25, metavar="N")
    parser.add_argument("--seed", type=int, metavar="S")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count()), metavar="N")
    options = parser.parse_args()
    first = options.seed
    seeds = [random.randrange(1 << 32) if first is None else first + i for i in range(options.sequences)]
    print(f"1..{len(seeds)}", flush=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(lambda seed: judged(seed, options.steps), seeds)
        for number, (seed, (problem, skipped)) in enumerate(zip(seeds, results), 1):
            failed += problem is not None
            print(f"{'not ' if problem else ''}ok {number} - seed {seed}{f' # SKIP {skipped}' if skipped else ''}", flush=True)
            for text in str(problem or "").splitlines():
                print(f"# {text}", flush=True)
    sys.exit(1 if failed else 0)


main()
