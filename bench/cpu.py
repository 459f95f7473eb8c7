#!/usr/bin/env python3
"""CPU benchmark: the same binaries on the host, under hanok-vm -accel jit, and under QEMU's TCG where installed.

Each round runs each test once on each side, one after the other.  What counts is host CPU time: of the
process on the host, of the whole VMM process for guests.  Ratios are medians over rounds.

  bench/cpu.py                                                     all of it (about 20 minutes)
  bench/cpu.py --tests integer/fib --no-qemu --rounds 1            one test
  bench/cpu.py --tests 'fp/*' apps --quick --csv build/fp.csv      patterns and groups, a fifth of the work
"""
import argparse
import fnmatch
import os
import shutil
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
        sys.exit(f"bench/cpu.py: {' '.join(argv[:2])} failed:\n{(done.stdout + done.stderr)[-2000:]}")
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
        hits = [t for t in tests if fnmatch.fnmatch(t[0], pattern) or t[0].split("/")[0] == pattern]
        if not hits and pattern != "boot":
            sys.exit(f"bench/cpu.py: no test matches '{pattern}' (groups: boot "
                     + " ".join(dict.fromkeys(name.split('/')[0] for name, _ in tests)) + "; --list shows all)")
        wanted += hits
    return [t for t in tests if t in wanted] if patterns else tests


class Side:
    """hanok or QEMU: a machine for each number of processors, booted when needed."""

    def __init__(self, label, argv, files):
        self.label, self.argv, self.files, self.machines = label, argv, files, {}

    def machine(self, cpus):
        if cpus not in self.machines:
            self.machines[cpus] = runners.Machine(self.label, self.argv, self.files, cpus)
        return self.machines[cpus]

    def close(self):
        for machine in self.machines.values():
            machine.close()


def sides_of(options):
    files = CACHE / "bench"
    hanok = os.environ.get("HANOK_VM", str(TOP / "build/hanok-vm"))
    sides = [Side("jit", [hanok, "-accel", "jit"] + options.hanok_args.split(), files)]
    qemu = shutil.which("qemu-system-x86_64")
    if options.no_hanok:
        sides = []
    if not options.no_qemu and qemu:
        sides.append(Side("tcg", [qemu, "-accel", "tcg"], files))
    elif not options.no_qemu:
        say("qemu-system-x86_64 is not installed (scripts/packages.sh bench): no comparison with TCG")
    return sides


def run_one(results, where, name, scale, function):
    say(f"    {name:24} {where:7} ...")
    try:
        run = function(name, scale, LIMIT)
    except runners.Broken as why:
        say(f"    {name:24} {where:7} FAILED: {why}")
        results.failed(name, where, str(why).splitlines()[0])
        return
    say(f"    {name:24} {where:7} {run.cpu:8.3f} s CPU {run.wall:8.3f} s wall")
    results.add(name, where, run)


def boots(results, sides):
    for side in sides:
        try:
            boot = side.machine(1).boot()
        except runners.Broken as why:
            say(f"    boot {side.label} FAILED: {why}")
            results.failed("boot/init", side.label, str(why).splitlines()[0])
            continue
        say(f"    {'boot/init':24} {side.label:7} {boot.cpu:8.3f} s CPU {boot.wall:8.3f} s wall, "
            f"{boot.beyond_ram:.1f} MiB beyond guest RAM")
        results.add_boot(side.label, boot)


def measure(options, tests, boot):
    results = report.Results()
    native = runners.Native(CACHE / "bench/root")
    sides = sides_of(options)
    try:
        for number in range(1, options.rounds + 1):
            say(f"round {number} of {options.rounds}, {time.strftime('%H:%M:%S')}")
            if boot:
                boots(results, sides)
            for name, cpus in tests:
                run_one(results, "native", name, options.scale, native.run)
                for side in sides:
                    run_one(results, side.label, name, options.scale, side.machine(cpus).run)
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
    parser.add_argument("--hanok-args", default="", help="more arguments for hanok-vm, in one word")
    parser.add_argument("--csv", help="write every run to this file too")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.scale = 1, options.scale / 5
    tests = prepare()
    if options.list:
        print("\n".join(name for name, _ in tests))
        return 0
    results = measure(options, chosen(tests, options.tests), not options.tests or "boot" in options.tests)
    report.show(results, [name for name, _ in tests])
    if options.csv:
        results.write_csv(options.csv)
    return 1 if results.failures else 0


sys.exit(main())
