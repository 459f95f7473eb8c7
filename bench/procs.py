"""procs - what a process costs: its CPU clock, its resident memory."""
import re
import time
from pathlib import Path


def cpu_seconds(pid):
    """CPU time of all threads of the process, also of those that have ended, to the nanosecond.

    The kernel numbers the CPU clock of process N as ~N << 3 | 2 (clock_getcpuclockid(3) does the same)."""
    return time.clock_gettime(~pid << 3 | 2)


def resident_kib(pid, ram_mib):
    """(total, guest RAM) resident KiB: of the mappings that are as large as guest RAM, it is the one most of which is there."""
    maps, size, total = [], 0, 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        m = re.match(r"(Size|Rss):\s+(\d+) kB", line)
        if m and m[1] == "Size":
            size = int(m[2])
        elif m:
            total += int(m[2])
            maps.append((size, int(m[2])))
    ram = max((r for s, r in maps if s >= ram_mib * 1024 * 0.9), default=0)
    return total, ram
