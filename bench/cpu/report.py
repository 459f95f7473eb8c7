"""report - medians, tables and CSV of what was measured."""
import csv
import math
import statistics

BOOT = "boot/init"


class Results:
    def __init__(self):
        self.runs = {}  # (test, where) -> {round: runners.Run}
        self.boots = {}  # where -> {round: runners.Boot}
        self.failures = []  # (test, where, why)

    def add(self, name, where, turn, run):
        native = self.runs.get((name, "native"), {}).get(turn)
        if native and native.checksum != run.checksum:
            self.failed(name, where, f"wrong result: {run.checksum} instead of {native.checksum}")
        self.runs.setdefault((name, where), {})[turn] = run

    def add_boot(self, where, turn, boot):
        self.boots.setdefault(where, {})[turn] = boot

    def failed(self, name, where, why):
        self.failures.append((name, where, why))

    def of(self, name, where):
        """{round: Run or Boot}, empty when it never ran."""
        return self.boots.get(where, {}) if name == BOOT else self.runs.get((name, where), {})

    def median(self, name, where, field):
        return middle(getattr(r, field) for r in self.of(name, where).values())

    def ratio(self, name, above, below):
        """Median over rounds of one side's CPU time by the other's; None without both."""
        a, b = self.of(name, above), self.of(name, below)
        return middle(a[turn].cpu / b[turn].cpu for turn in a.keys() & b.keys() if b[turn].cpu > 0)

    def cost(self, name, where):
        """Microseconds of CPU time per unit of work beyond what the host needs."""
        a, b = self.of(name, where), self.of(name, "native")
        return middle((a[t].cpu - b[t].cpu) / a[t].units * 1e6 for t in a.keys() & b.keys())

    def scaling(self, where):
        """How much more two threads get done than one, in wall-clock time."""
        one, two = self.of("smp/one-thread", where), self.of("smp/two-threads", where)
        return middle(2 * one[t].wall / two[t].wall for t in one.keys() & two.keys())

    def efficiency(self, where):
        """CPU time of two separate threads by that of one, doubled: 1 when a second processor costs nothing."""
        one, two = self.of("smp/one-thread", where), self.of("smp/two-threads", where)
        return middle(2 * one[t].cpu / two[t].cpu for t in one.keys() & two.keys())

    def names(self):
        return {name for name, _ in self.runs}

    def write_csv(self, path):
        with open(path, "w", newline="") as f:
            out = csv.writer(f)
            out.writerow(["test", "where", "round", "cpu_s", "wall_s", "units", "beyond_ram_mib", "checksum", "failure"])
            for (name, where), runs in self.runs.items():
                for turn, r in runs.items():
                    out.writerow([name, where, turn, f"{r.cpu:.6f}", f"{r.wall:.6f}", r.units, "", r.checksum, ""])
            for where, boots in self.boots.items():
                for turn, b in boots.items():
                    out.writerow([BOOT, where, turn, f"{b.cpu:.6f}", f"{b.wall:.6f}", "", f"{b.beyond_ram:.1f}", "", ""])
            for name, where, why in self.failures:
                out.writerow([name, where, "", "", "", "", "", "", why])


def middle(values):
    values = list(values)
    return statistics.median(values) if values else None


def mean(values):
    """Geometric mean of what is there; None of nothing."""
    values = [v for v in values if v]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def number(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def table(head, rows, left=1):
    widths = [max(len(r[i]) for r in [head] + rows) for i in range(len(head))]
    for row in [head] + rows:
        cells = zip(row, widths)
        print("  ".join(c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(cells)).rstrip())


RATIOS = [("jit", "native"), ("tcg", "native"), ("tcg", "jit")]


def show_tests(results, names):
    rows = []
    for group in dict.fromkeys(n.split("/")[0] for n in names):
        members = [n for n in names if n.split("/")[0] == group]
        for name in members:
            rows.append([name] + [number(results.median(name, w, "cpu"), 3) for w in ("native", "jit", "tcg")]
                        + [number(results.ratio(name, a, b)) for a, b in RATIOS])
        if len(members) > 1:
            rows.append([f"  {group}, geometric mean", "", "", ""]
                        + [number(mean(results.ratio(n, a, b) for n in members)) for a, b in RATIOS])
    table(["host CPU time", "native s", "jit s", "tcg s", "jit/native", "tcg/native", "tcg/jit"], rows)


COMPUTE = ("integer", "strings", "memory", "fp", "crypto", "apps")
COMPRESSORS = ("crypto/gzip", "crypto/xz", "crypto/zstd")


def figures(results, names):
    """Rows of the summary: (text, at least or at most, must, aim, measured, remark)."""
    def over(members, a, b):
        return mean(results.ratio(n, a, b) for n in members)

    tests = [n for n in names if n != BOOT]
    compute = [n for n in tests if n.split("/")[0] in COMPUTE]
    applications = [n for n in tests if n.startswith("apps/") or n in COMPRESSORS]
    system = [n for n in tests if n.startswith("os/")]
    faster = {n: r for n in tests if (r := results.ratio(n, "tcg", "jit"))}
    heavy = {n: r for n, r in faster.items() if (results.ratio(n, "tcg", "native") or 0) >= 3}
    cold, scaling, efficiency = "stress/cold-code", results.scaling("native"), results.efficiency("jit")
    rows = [
        ("all tests but boot, tcg / jit", ">=", 5, 8, over(tests, "tcg", "jit"), ""),
        ("user-mode compute, jit / native", "<=", 2.2, 1.5, over(compute, "jit", "native"), ""),
        ("operating system, tcg / jit", ">=", 3, 6, over(system, "tcg", "jit"), ""),
        ("applications, jit / native", "<=", 3, 2, over(applications, "jit", "native"), ""),
        ("boot to init, tcg / jit", ">=", 2, 4, results.ratio(BOOT, "tcg", "jit"), ""),
        ("us per cold instruction", "<=", 0.25, 0.1, results.cost(cold, "jit"), f"tcg {number(results.cost(cold, 'tcg'))}"),
        worst("slowest test beside tcg, tcg / jit", 1, faster),
        worst("the same where tcg is >= 3x native", 2, heavy),
        ("MiB beyond guest RAM after boot", "<=", 64, 24, results.median(BOOT, "jit", "beyond_ram"),
         f"tcg {number(results.median(BOOT, 'tcg', 'beyond_ram'), 1)}"),
        ("two vcpus, speed-up", ">=", 1.8, 1.8, results.scaling("jit"),
         f"native {number(scaling)}, tcg {number(results.scaling('tcg'))}; by CPU time "
         f"{number(2 * efficiency if efficiency else None)}"),
    ]
    return [r for r in rows if r[4] is not None]


def worst(text, least, ratios):
    if not ratios:
        return text, ">=", least, least, None, ""
    name = min(ratios, key=ratios.get)
    below = sum(r < least for r in ratios.values())
    return text, ">=", least, least, ratios[name], f"{name}; {below} of {len(ratios)} below {least}"


def show(results, order):
    seen = results.names()
    names = [n for n in order if n in seen] + ([BOOT] if results.boots else [])
    show_tests(results, names)
    rows = []
    for text, relation, must, aim, value, remark in figures(results, names):
        sign = 1 if relation == ">=" else -1
        verdict = "aim met" if sign * value >= sign * aim else "must met" if sign * value >= sign * must else "missed"
        rows.append([text, f"{relation} {must}", f"{relation} {aim}", number(value), verdict, remark])
    if rows:
        print()
        table(["figure", "must", "aim", "measured", "", ""], rows)
    for name, where, why in results.failures:
        print(f"FAILED {name} ({where}): {why}")
