#!/usr/bin/env python3
"""hanok stats, domstats, top and trace on a running domain: the numbers against those of the host's kernel."""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

from manager import HANOK, Session, need
from vmtest import SLOWNESS, guest_files, run_tests

LOOP = ("while%20:;do%20dd%20if=/dev/vda%20of=/dev/null%20iflag=direct%20bs=16k%20count=8%202>/dev/null;"
        "echo%20round;usleep%20100000;done")


def start(s):
    files = guest_files("cloud")
    disk = s.dir / "disk.raw"
    shutil.copy(files / "root.img", disk)
    s.ok("define", "-", stdin=f"""<domain type='qemu'><name>web</name><memory unit='MiB'>192</memory><vcpu>2</vcpu>
        <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{files / 'vmlinuz'}</kernel>
        <initrd>{files / 'initrd.img'}</initrd><cmdline>console=ttyS0 hanok.run={LOOP}</cmdline></os>
        <features><acpi/></features><devices><console type='pty'/>
        <disk type='file'><driver name='qemu' type='raw' queues='1'/><source file='{disk}'/><target dev='vda'/></disk>
        <interface type='user'><model type='virtio'/></interface>
        <memballoon model='virtio'><stats period='1'/></memballoon></devices></domain>""")
    s.ok("start", "web")
    end = time.monotonic() + 120 * SLOWNESS
    while s.json("stats", "web")["disks"][0]["rd_operations"] < 50:
        need(time.monotonic() < end, "the guest does not read its disk")
        time.sleep(0.2)


def status_kib(pid, key):
    return int(re.search(rf"^{key}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M).group(1))


def rollup_kib(pid, key):
    return int(re.search(rf"^{key}:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M).group(1))


def memory_adds_up_to_what_the_kernel_says(s):
    s.ok("suspend", "web")
    try:
        got = s.json("stats", "web")
        pid, memory = got["pid"], got["memory"]
        rss, pss, swap = (rollup_kib(pid, key) for key in ("Rss", "Pss", "Swap"))
        need(sum(memory["rss_kib"].values()) == memory["rss_total_kib"], "parts and sum differ")
        # the paused machine's own loop may touch a few pages between the two readings
        need(abs(memory["rss_total_kib"] - rss) <= 1024, f"resident: {memory} but smaps_rollup says {rss}")
        # shares of libraries change as other processes come and go
        need(abs(memory["pss_total_kib"] - pss) <= 4096, f"proportional: {memory} but smaps_rollup says {pss}")
        need(abs(memory["swap_total_kib"] - swap) <= 1024, "swapped")
        need(abs(memory["rss_total_kib"] - status_kib(pid, "VmRSS")) <= 2048, "VmRSS")
        need(abs(memory["page_tables_kib"] - status_kib(pid, "VmPTE")) <= 64, "VmPTE")
        need(memory["kernel_stacks_kib"] == 16 * len(list(Path(f"/proc/{pid}/task").iterdir())), "threads")
        # a booted guest has touched tens of MiB, and cannot have more than it was given
        need(30 * 1024 < memory["rss_kib"]["guest_ram"] <= 192 * 1024 + 32 * 1024, f"guest RAM: {memory}")
        for part in ("jit_code", "jit_tables", "heap", "files", "stacks"):
            need(memory["rss_kib"][part] > 0, f"{part} is empty: {memory}")
        need(memory["guest_ram_kib"] == 192 * 1024, "size of the guest")
        disk = got["disks"][0]
        need(disk["file_bytes"] == 64 << 20 and 0 < disk["cached_bytes"] <= 64 << 20, f"image: {disk}")
    finally:
        s.ok("resume", "web")


def domstats_has_virsh_s_keys(s):
    pid = s.json("stats", "web")["pid"]
    tid = s.json("stats", "web")["vcpus"][0]["tid"]

    def schedstat():
        return [int(n) for n in Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()]

    low = schedstat()
    stats = s.json("domstats", "web")[0]["stats"]
    high = schedstat()
    need(low[1] <= stats["vcpu.0.delay"] <= high[1], f"delay {stats['vcpu.0.delay']} not in {low[1]}..{high[1]}")
    need(stats["vcpu.0.wait"] >= 0 and stats["vcpu.0.halted"] in ("yes", "no"), "wait, halted")
    for key in ("state.state", "state.reason", "cpu.time", "cpu.user", "cpu.system", "balloon.current",
                "balloon.maximum", "balloon.rss", "vcpu.current", "vcpu.maximum", "vcpu.1.state", "vcpu.1.time",
                "vcpu.1.delay", "vcpu.0.exits.sum", "net.count", "net.0.name", "net.0.rx.bytes", "net.0.tx.pkts",
                "block.count", "block.0.name", "block.0.path", "block.0.rd.reqs", "block.0.rd.bytes",
                "block.0.fl.reqs", "block.0.allocation", "block.0.capacity", "block.0.physical", "iothread.count"):
        need(key in stats, f"no {key} in {sorted(stats)}")
    need(stats["block.0.capacity"] == 64 << 20 and stats["block.0.rd.reqs"] >= 50, "disk")
    only = s.json("domstats", "web", "--vcpu", "--state")[0]["stats"]
    need({k.split(".")[0] for k in only} == {"state", "vcpu"}, f"groups: {sorted(only)}")
    need(s.json("domstats", "--list-inactive") == [], "--list-inactive")


def top_shows_rates(s):
    text = s.ok("top", "--batch", "-n", "2", "-d", "1")
    need(text.count("hanok top") == 2 and text.count(" web ") == 2, text)
    rows = s.json("top", "-b", "-n", "1", "-d", "2")
    need(len(rows) == 1 and rows[0]["domain"] == "web", str(rows))
    row = rows[0]
    need(row["read_mib_per_second"] > 0 and row["exits_per_second"] > 0, f"the guest reads, but {row}")
    need("ioeventfd" in row["reasons"] or "halt_exits" in row["reasons"], f"reasons: {row}")
    need(row["rss_kib"] > 30 * 1024, str(row))
    need("--batch" in s.fails("top"), "without a terminal")
    need("0.05" in s.fails("top", "-b", "-d", "0"), "no delay")


class Screen:
    """A program on a terminal of a given size; frames are what it paints from the upper left corner on."""

    def __init__(self, s, *words, size=(24, 80)):
        self.master, self.slave = pty.openpty()
        self.resize(size)
        self.before = termios.tcgetattr(self.slave)
        self.seen = ""
        self.process = subprocess.Popen([HANOK, *words], env=s.env, stdin=self.slave, stdout=self.slave,
                                        stderr=self.slave, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, size):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

    def read(self, seconds):
        if select.select([self.master], [], [], seconds)[0]:
            self.seen += os.read(self.master, 65536).decode("utf-8", "replace")

    def frame(self, what, is_it):
        """The first whole frame from now on of which is_it(text) holds."""
        end = time.monotonic() + 60 * SLOWNESS
        while True:
            frames = [re.sub(r"\033\[[0-9;?]*[A-Za-z]", "", f.replace("\033[J", "\n")) for f in
                      re.split(r"\033\[H", self.seen)[1:] if "\033[J" in f and "space now" in f]
            for text in frames:
                if is_it(text):
                    self.seen = ""
                    return text.replace("\r", "")
            need(time.monotonic() < end and self.process.poll() is None, f"no frame {what}; last: {frames[-1:]}")
            self.read(0.2)

    def press(self, key):
        self.seen = ""
        os.write(self.master, key.encode())

    def ended(self):
        """Its status, after the terminal has its old settings, cursor and first screen again."""
        end = time.monotonic() + 30 * SLOWNESS
        while self.process.poll() is None:
            need(time.monotonic() < end, "it does not end")
            self.read(0.1)
        self.read(0.1)
        need(termios.tcgetattr(self.slave) == self.before, "the terminal's settings were not put back")
        need(self.seen.rstrip().endswith("\033[?7h\033[?25h\033[?1049l"), f"the screen was left: {self.seen[-200:]!r}")
        return self.process.returncode


def top_lives_on_a_terminal(s):
    with Screen(s, "top", "-d", "0.5") as t:
        narrow = t.frame("with the machine", lambda f: " web " in f and "MiB on the host" in f and "MiB in the guest" in f)
        need("RSS" in narrow and "guest:us" not in narrow and "q quit" in narrow, narrow)
        need(max(map(len, narrow.splitlines())) <= 80 and len(narrow.splitlines()) <= 24, f"cut badly: {narrow}")
        t.press("m")
        t.frame("without memory", lambda f: " web " in f and "MiB on the host" not in f and "exits/s:" in f)
        t.press("e")
        t.frame("without exits", lambda f: " web " in f and "exits/s:" not in f)
        t.press("s")
        t.frame("sorted by CPU", lambda f: "s sort: CPU" in f)
        t.press("\033[A+")  # an arrow means nothing, and does not hide the key that follows
        t.press("+")
        t.frame("more seldom", lambda f: re.search(r"every [12] s", f))
        t.resize((40, 160))
        os.kill(t.process.pid, signal.SIGWINCH)
        wide = t.frame("of a wide terminal", lambda f: "guest:us" in f)
        need("TX/s" in wide and "wider: more" not in wide, wide)
        t.resize((3, 40))
        os.kill(t.process.pid, signal.SIGWINCH)
        tiny = t.frame("of a tiny terminal", lambda f: "RSS" not in f and "STATE" in f)
        need(len(tiny.splitlines()) <= 4, f"three lines are all there is: {tiny!r}")
        t.press("q")
        need(t.ended() == 0, "q")
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with Screen(s, "top", "web") as t:
            t.frame("with the machine", lambda f: " web " in f)
            os.kill(t.process.pid, sig)
            need(t.ended() == -sig, f"{sig}: {t.process.returncode}")
    with Screen(s, "top", "web", "-n", "1", "-d", "0.1") as t:
        need(t.ended() == 0, "-n on a terminal")


def requests_are_followed(s):
    got = s.json("trace", "web", "disk", "--count", "5", "--duration", "60")
    need(len(got["requests"]) == 5, f"{len(got['requests'])} requests")
    for r in got["requests"]:
        hops = [h["what"] for h in r["hops"]]
        times = [h["time_ns"] for h in r["hops"]]
        need(times == sorted(times), f"times go back: {r}")
        at = [hops.index(w) for w in ("queue wakes", "taken off the ring", "image gets it", "image is done",
                                      "result in the ring")]
        need(at == sorted(at), f"order: {hops}")
    first = got["requests"][0]
    need(any(h["what"] == "kick" and h["thread"].startswith("CPU ") for r in got["requests"] for h in r["hops"]),
         f"no request with its kick: {got}")
    text = s.ok("trace", "web", "disk", "--count", "1", "--duration", "60")
    need("taken off the ring" in text and " us" in text, text)
    path = s.dir / "trace.json"
    s.ok("trace", "web", "disk", "--count", "3", "--duration", "60", "--chrome", str(path))
    events = json.loads(path.read_text())["traceEvents"]
    need(sum(e["ph"] == "b" for e in events) == sum(e["ph"] == "e" for e in events) == 3, "3 requests")
    need(all(e["dur"] >= 0 and "ts" in e for e in events if e["ph"] == "X"), "durations")
    need(any(e["ph"] == "M" and e["args"]["name"].startswith("CPU ") for e in events), "names of threads")
    need(first["name"].startswith("virtio-blk"), first["name"])


def exits_are_listed(s):
    got = s.json("trace", "web", "exits", "--count", "50", "--duration", "60")["requests"]
    need(len(got) == 50 and all(len(r["hops"]) == 1 for r in got), "one hop each")
    names = {r["name"] for r in got}
    need(names <= {"io_read", "io_write", "vcpu_exit", "vcpu_inject", "vcpu_halt", "vcpu_msr", "vcpu_cpuid",
                   "vcpu_hypercall"} and len(names) > 1, str(names))
    need("disk" in s.fails("trace", "web", "net"), "what can be traced")


def prometheus_text_is_well_formed(s):
    seen, closed, current = {}, set(), None
    sample = re.compile(r'^([a-z_]+)\{([a-z_]+="(?:[^"\\]|\\.)*"(?:,[a-z_]+="(?:[^"\\]|\\.)*")*)\} (-?[0-9.e+]+)$')
    for line in s.ok("stats", "--prometheus").splitlines():
        if line.startswith("# TYPE "):
            need(re.match(r"^# TYPE [a-z_]+ (counter|gauge|histogram)$", line), line)
            continue
        m = sample.match(line)
        need(m, f"no sample: {line!r}")
        if m.group(1) != current:
            need(m.group(1) not in closed, f"{m.group(1)} stands in two places")
            closed.add(current)
            current = m.group(1)
        key = (m.group(1), m.group(2))
        need(key not in seen, f"twice: {line}")
        seen[key] = float(m.group(3))
    need(seen[("hanok_up", 'domain="web"')] == 1, "hanok_up")
    need(any(name == "hanok_virtqueue_requests_total" and value > 0 for (name, _), value in seen.items()), "queues")
    need(any(name == "hanok_vcpu_events_total" and 'event="halt_exits"' in labels for name, labels in seen), "exits")


if __name__ == "__main__":
    with Session() as session:
        start(session)
        run_tests([(f.__name__.replace("_", "-"), lambda f=f: f(session)) for f in
                   (memory_adds_up_to_what_the_kernel_says, domstats_has_virsh_s_keys, top_shows_rates,
                    top_lives_on_a_terminal, requests_are_followed, exits_are_listed, prometheus_text_is_well_formed)])
