#!/usr/bin/env python3
"""CPU benchmark: the same binaries on the host, under hanok-vm -accel jit, and under QEMU's TCG where installed.

Each round runs each test once on each side, one after the other.  What counts is host CPU time: of the
process on the host, of the whole VMM process for guests.  Ratios are medians over rounds.
Exit status: 1 when a test failed or computed something else than the host, 77 when the guest cannot be made.

  bench/cpu.py                                                     all of it (about 20 minutes)
  bench/cpu.py --tests integer/fib --no-qemu --rounds 1            one test
  bench/cpu.py --tests 'fp/*' apps --quick                        patterns and groups, a fifth of the work
"""
import argparse
import fnmatch
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "bench/cpu"))
import report  # noqa: E402
import runners  # noqa: E402  (need the path above)

CACHE = Path(os.environ.get("HANOK_CACHE", TOP / ".cache/guest"))
BUILD = TOP / "build/bench-cpu"
LIMIT = 300  # seconds one run may take


def say(text):
    print(text, file=sys.stderr, flush=True)


def command(*argv):
    done = subprocess.run(argv, cwd=TOP, capture_output=True, text=True)
    if done.returncode:
        say(f"bench/cpu.py: {' '.join(argv[:2])} failed:\n{(done.stdout + done.stderr)[-2000:]}")
        sys.exit(77)
    return done.stdout


def prepare():
    """Builds cpubench and the guest; returns [(test, cpus)] in the table's order."""
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / "cpubench"
    sources = sorted(str(p) for p in (TOP / "bench/cpu").glob("*.c"))
    headers = [str(p) for p in (TOP / "bench/cpu").glob("*.h")]
    newest = max(os.path.getmtime(p) for p in sources + headers)
    if not program.exists() or program.stat().st_mtime < newest:
        say("building cpubench")
        command(os.environ.get("CC", "cc"), "-std=gnu17", "-O2", "-Wall", "-Wextra", "-static", "-no-pie", "-pthread",
                "-o", str(program), *sources)
    command("sh", "scripts/guest/prepare.sh", "cloud")
    command("sh", "bench/cpu/make-guest.sh", str(program))
    return [(name, int(cpus)) for name, cpus in (line.split() for line in command(str(program), "list").splitlines())]


def chosen(tests, patterns):
    """The tests that match a pattern, or are in a group, of the list; all without a list."""
    wanted = []
    for pattern in patterns:
        hits = [t for t in tests if fnmatch.fnmatch(t[0], pattern) or pattern in t[0].split("/")]
        if not hits and pattern != "boot":
            sys.exit(f"bench/cpu.py: no test matches '{pattern}' (groups: boot "
                     + " ".join(dict.fromkeys(name.split('/')[0] for name, _ in tests)) + "; --list shows all)")
        wanted += hits
    return [t for t in tests if t in wanted] if patterns else tests


class Side:
    """hanok or QEMU: a machine for each number of processors, booted when needed; given up when it does not boot."""

    def __init__(self, label, argv, files):
        self.label, self.argv, self.files, self.machines, self.dead = label, argv, files, {}, {}

    def machine(self, cpus):
        if cpus not in self.machines:
            self.machines[cpus] = runners.Machine(self.label, self.argv, self.files, cpus)
        return self.machines[cpus]

    def boot(self, cpus):
        if cpus in self.dead:
            raise runners.Broken(self.dead[cpus])
        try:
            return self.machine(cpus).boot()
        except runners.Broken as why:
            self.dead[cpus] = str(why)
            raise

    def run(self, name, cpus, scale, limit):
        if self.machine(cpus).process is None:
            self.boot(cpus)
        return self.machine(cpus).run(name, scale, limit)

    def close(self):
        for machine in self.machines.values():
            machine.close()


def sides_of(options):
    files = CACHE / "bench"
    sides = []
    if not options.no_hanok:
        argv = [os.environ.get("HANOK_VM", str(TOP / "build/hanok-vm"))] + options.hanok_args.split()
        sides.append(Side("jit", argv if "-accel" in argv else argv + ["-accel", "jit"], files))
    qemu = shutil.which("qemu-system-x86_64")
    if not options.no_qemu and qemu:
        sides.append(Side("tcg", [qemu, "-accel", "tcg"], files))
    elif not options.no_qemu:
        say("qemu-system-x86_64 is not installed (scripts/packages.sh bench): no comparison with TCG")
    return sides


def attempt(results, name, where, function):
    """function() and a progress line; its result, or None after a failure, which is kept."""
    if sys.stderr.isatty():
        print(f"    {name:24} {where:7} ...", end="\r", file=sys.stderr, flush=True)
    try:
        result = function()
    except runners.Broken as why:
        say(f"    {name:24} {where:7} FAILED: {why}")
        results.failed(name, where, str(why).splitlines()[0])
        return None
    more = f", {result.beyond_ram:.1f} MiB beyond guest RAM" if name == report.BOOT else ""
    say(f"    {name:24} {where:7} {result.cpu:8.3f} s CPU {result.wall:8.3f} s wall{more}")
    return result


def one_round(results, turn, options, native, sides, tests, boot):
    for side in sides if boot else []:
        result = attempt(results, report.BOOT, side.label, lambda: side.boot(1))
        if result:
            results.add_boot(side.label, turn, result)
    limit = LIMIT * max(1, options.scale)
    for name, cpus in tests:
        run = attempt(results, name, "native", lambda: native.run(name, options.scale, limit))
        if run:
            results.add(name, "native", turn, run)
        for side in sides:
            run = attempt(results, name, side.label, lambda: side.run(name, cpus, options.scale, limit))
            if run:
                results.add(name, side.label, turn, run)


def measure(options, tests, boot):
    results = report.Results()
    native = runners.Native(CACHE / "bench/root")
    sides = sides_of(options)
    try:
        for turn in range(1, options.rounds + 1):
            say(f"round {turn} of {options.rounds}, {time.strftime('%H:%M:%S')}")
            one_round(results, turn, options, native, sides, tests, boot)
    except KeyboardInterrupt:
        say("interrupted: what was measured so far")
    finally:
        for side in sides:
            side.close()
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", nargs="+", default=[], metavar="PATTERN", help="names, patterns or groups")
    parser.add_argument("--list", action="store_true", help="show the tests")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="amount of work")
    parser.add_argument("--quick", action="store_true", help="one round, a fifth of the work")
    parser.add_argument("--no-qemu", action="store_true")
    parser.add_argument("--no-hanok", action="store_true")
    parser.add_argument("--hanok-args", default="", help="more arguments for hanok-vm, in one word; an -accel replaces -accel jit")
    parser.add_argument("--csv", default=str(BUILD / "results.csv"), help="where each run is written (%(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.scale = 1, options.scale / 5
    tests = prepare()
    if options.list:
        print("\n".join(name for name, _ in tests))
        return 0
    for ended in (signal.SIGTERM, signal.SIGHUP):  # no machine outlives this program
        signal.signal(ended, signal.default_int_handler)
    results = measure(options, chosen(tests, options.tests), not options.tests or "boot" in options.tests)
    report.show(results, [name for name, _ in tests])
    results.write_csv(options.csv)
    return 1 if results.failures else 0


sys.exit(main())
