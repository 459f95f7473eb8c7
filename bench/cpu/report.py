"""report - medians, tables and CSV of what was measured."""
import csv
import math
import statistics


class Results:
    def __init__(self):
        self.runs = {}  # (test, where) -> [Run]
        self.boots = {}  # where -> [Boot]
        self.failures = []  # (test, where, why)

    def add(self, name, where, run):
        native = self.runs.get((name, "native"))
        if native and native[-1].checksum != run.checksum:
            self.failed(name, where, f"wrong result: {run.checksum} instead of {native[-1].checksum}")
        self.runs.setdefault((name, where), []).append(run)

    def add_boot(self, where, boot):
        self.boots.setdefault(where, []).append(boot)

    def failed(self, name, where, why):
        self.failures.append((name, where, why))

    def cpu(self, name, where):
        """Median CPU seconds, None when it never ran."""
        runs = self.boots.get(where) if name == "boot/init" else self.runs.get((name, where))
        return statistics.median(r.cpu for r in runs) if runs else None

    def ratio(self, name, above, below):
        """Median CPU time of one side by another's, None without both."""
        a, b = self.cpu(name, above), self.cpu(name, below)
        return a / b if a and b else None

    def write_csv(self, path):
        with open(path, "w", newline="") as f:
            out = csv.writer(f)
            out.writerow(["test", "where", "round", "cpu_s", "wall_s", "units", "checksum"])
            for (name, where), runs in self.runs.items():
                for number, r in enumerate(runs, 1):
                    out.writerow([name, where, number, f"{r.cpu:.6f}", f"{r.wall:.6f}", r.units, r.checksum])
            for where, boots in self.boots.items():
                for number, b in enumerate(boots, 1):
                    out.writerow(["boot/init", where, number, f"{b.cpu:.6f}", f"{b.wall:.6f}", "", ""])
            for name, where, why in self.failures:
                out.writerow([name, where, "failed", "", "", "", why])


def mean(values):
    """Geometric mean of what is there; None of nothing."""
    values = [v for v in values if v]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def number(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def table(head, rows):
    widths = [max(len(r[i]) for r in [head] + rows) for i in range(len(head))]
    for row in [head] + rows:
        print("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip())


RATIOS = [("jit", "native"), ("tcg", "native"), ("tcg", "jit")]


def show(results, order):
    seen = {name for name, _ in results.runs}
    names = [n for n in order if n in seen] + (["boot/init"] if results.boots else [])
    rows = []
    for group in dict.fromkeys(n.split("/")[0] for n in names):
        members = [n for n in names if n.split("/")[0] == group]
        for name in members:
            rows.append([name] + [number(results.cpu(name, w), 3) for w in ("native", "jit", "tcg")]
                        + [number(results.ratio(name, a, b)) for a, b in RATIOS])
        if len(members) > 1:
            rows.append([f"  {group}, geometric mean", "", "", ""]
                        + [number(mean(results.ratio(n, a, b) for n in members)) for a, b in RATIOS])
    table(["CPU time", "native s", "jit s", "tcg s", "jit/native", "tcg/native", "tcg/jit"], rows)
    for name, where, why in results.failures:
        print(f"FAILED {name} ({where}): {why}")
