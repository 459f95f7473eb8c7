#!/usr/bin/env python3
"""The laboratory, unattended: its experiments run to their end, say what they measured, and the facts that hold on any
host hold.  What depends on a quiet host (a guest beside one loop has 50 % steal) is checked where the host was quiet
enough to show it, which the experiment itself measures.

  lab.py         one experiment
  lab.py --all   all of them
"""
import csv
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from html.parser import HTMLParser
from pathlib import Path

from vmtest import CACHE, SLOWNESS, TOP, Failure, Skip, run_tests

HANOK = os.environ.get("HANOK", str(TOP / "build/hanok"))
NAMES = ["sched", "steal", "vcpu-threads", "memory", "disk-path", "virtio-vs-emulated", "accel", "passthrough"]


def need(condition, text):
    if not condition:
        raise Failure(text)


def hanok(*words, timeout=120):
    return subprocess.run([HANOK, "lab", *words], env=dict(os.environ, HANOK_CACHE=str(CACHE)), capture_output=True,
                          text=True, timeout=timeout * SLOWNESS)


def make_guests(flavours):
    made = subprocess.run(["sh", str(TOP / "scripts/guest/make-lab.sh"), *flavours], capture_output=True, text=True)
    if made.returncode:
        raise Skip(f"the lab's guest cannot be made here: {made.stderr.strip()[-300:]}")


def run_experiment(name, out, timeout):
    done = hanok("run", name, "--quick", "--output", out, timeout=timeout)
    need(done.returncode == 0, f"hanok lab run {name}: {done.stderr[-3000:]}")
    need(done.stdout.strip().endswith("index.html"), done.stdout)


def result(out, name):
    r = json.loads((Path(out) / name / "result.json").read_text())
    need(r["complete"] and r["name"] == name and r["observations"], f"{name}: {r}")
    for o in r["observations"]:
        need(o["verdict"] in ("shown", "not shown", "not measured") and all(o["theory"]) and all(o["seen"]), str(o))
    for file in r.get("csv", []):
        rows = list(csv.reader((Path(out) / name / file).open()))
        need(len(rows) > 1 and len({len(row) for row in rows}) == 1, f"{name}/{file}: {rows[:3]}")
    for plot in r.get("plots", []):
        if plot["made"]:
            need(xml.etree.ElementTree.parse(Path(out) / name / f"{plot['file']}.svg").getroot() is not None, "SVG")
            need((Path(out) / name / f"{plot['file']}.png").read_bytes()[:4] == b"\x89PNG", "PNG")
    return r, r.get("numbers", {})


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.images, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "h2":
            self.ids.append(attrs["id"])
        if tag == "img":
            self.images.append(attrs["src"])


def check_report(out, names):
    for file, word in (("index.html", "Theory and observation"), ("index.ko.html", "이론과 관찰")):
        text = (Path(out) / file).read_text()
        page = Page(text)
        need(page.ids == names and word in text, f"{file}: {page.ids}")
        need(all((Path(out) / src).exists() for src in page.images), f"{file}: {page.images}")


def check_steal(out):
    _, n = result(out, "steal")
    others = 100 - n["both_vm_cpu"] - n["both_loop_cpu"]
    need(abs(n["both_steal_time"] - n["both_delay"]) <= 15, f"guest and host disagree about the stolen time: {n}")
    need(n["both_steal"] > n["idle_steal"] + 20, f"a busy guest beside a loop must lose time: {n}")
    if others < 10:
        need(35 <= n["both_steal_time"] <= 65, f"one loop on the same CPU takes half of it: {n}")


def one_experiment():
    make_guests(["cloud"])
    with tempfile.TemporaryDirectory() as out:
        run_experiment("steal", out, 300)
        check_steal(out)
        check_report(out, ["steal"])
        need(hanok("report", "--output", out, "--lang", "ko").stdout.strip() == f"{Path(out).resolve()}/index.ko.html",
             "report --lang ko")


def words_are_checked():
    listed = json.loads(hanok("list", "--json").stdout)
    need([e["name"] for e in listed] == NAMES and all(e["title"] for e in listed), str(listed))
    with tempfile.TemporaryDirectory() as out:
        for words, answer in ((["run"], "needs the name"), (["run", "steel", "--output", out], "'steal'"),
                              (["burn"], "list, run or report"), (["report", "--output", out], "no results"),
                              (["list", "--lang", "fr"], "en or ko"),
                              (["run", "steal", "--output", out, "--guest", "/nonexistent"], "make lab-guest"),
                              (["run", "steal", "--output", out, "--pcpu", "4000"], "CPU 4000")):
            done = hanok(*words)
            need(done.returncode == 1 and answer in done.stderr and not done.stdout, f"{words}: {done}")


def all_experiments():
    make_guests(["cloud", "generic"])
    with tempfile.TemporaryDirectory() as out:
        run_experiment("all", out, 1500)
        check_report(out, NAMES)
        check_steal(out)
        _, n = result(out, "sched")
        need(n["with_loop_ms"] > n["alone_ms"] * 0.9 and n["gaps"] >= 3, f"sched: {n}")
        need(0.5 < n["gap_ms"] / n["run_delay_ms"] < 1.5, f"the guest's gaps are the host's run delay: {n}")
        _, n = result(out, "vcpu-threads")
        need(all(n[f"vcpu_threads_{i}"] == i for i in (1, 2, 4)), f"threads: {n}")
        _, n = result(out, "memory")
        need(n["sum_difference_kib"] <= 1024 and n["vmm_mib"] > 0, f"memory: {n}")
        need(n["touched_mib"] > 100 and n["returned_without_mib"] < n["touched_mib"] / 4, f"memory: {n}")
        need(n["returned_with_mib"] > n["touched_mib"] / 4, f"free page reporting returned nothing: {n}")
        _, n = result(out, "disk-path")
        need(n["syncs_unsafe"] == 0 < n["syncs_none"] and n["syncs_writethrough"] > n["syncs_writeback"] > 0,
             f"flushes: {n}")
        need(all(v == 0 for k, v in n.items() if k.startswith("lost_")), f"kill -9 lost what was durable: {n}")
        _, n = result(out, "virtio-vs-emulated")
        need(n["emulated_exits_1"] > n["virtio_exits_1"] > 0, f"exits per request: {n}")
        need(n["virtio_exits_32"] < n["virtio_exits_1"], f"batching: {n}")
        need(n["ide_pio_exits_1"] > 500 > n["ide_dma_exits_1"] > n["virtio_exits_1"], f"IDE: {n}")
        rows = {row[0] for row in csv.reader((Path(out) / "virtio-vs-emulated/virtio.csv").open())}
        need(rows == {"device"} | {f"{kind} depth {depth}" for kind in ("virtio-blk", "AHCI", "IDE DMA", "IDE PIO")
                                   for depth in (1, 8, 32)}, f"rows: {rows}")
        _, n = result(out, "accel")
        need(n["compute_interpreter"] > n["compute_jit"], f"accel: {n}")
        r, _ = result(out, "passthrough")
        need({o["verdict"] for o in r["observations"]} == {"not measured"}, "there is no passthrough yet")


run_tests([("words-are-checked", words_are_checked)] +
          ([("all-experiments", all_experiments)] if "--all" in sys.argv else [("one-experiment", one_experiment)]))
