#!/usr/bin/env python3
"""Numbers about a running machine: what hanok-vm counts must agree with itself, with what the guest did and with what
the host's kernel says.  Only facts that hold on a loaded host are checked, never a speed."""
import os
import shutil
import tempfile
import time
from pathlib import Path

from process import Process, Qmp, need
from vmtest import Guest, Skip, guest_files, run_tests

PROMPT = r"hanok:~# "


class Counted:
    """A guest at its shell with a disk, and QMP beside it."""

    def __init__(self, *more):
        self.work = tempfile.TemporaryDirectory()
        files = guest_files("cloud")
        self.disk = Path(self.work.name) / "disk.img"
        shutil.copy(files / "root.img", self.disk)
        self.guest = Guest(["-accel", "jit", "-m", "192", "-smp", "2", "-nodefaults", "-display", "none",
                            "-serial", "stdio", "-kernel", str(files / "vmlinuz"), "-initrd",
                            str(files / "initrd.img"), "-append", "console=ttyS0",
                            "-drive", f"file={self.disk},format=raw,if=none,id=d0",
                            "-device", "virtio-blk-pci,drive=d0,id=disk0,num-queues=1",
                            "-qmp", f"unix:{self.work.name}/qmp,server=on,wait=off", *more], serial=False)

    def __enter__(self):
        self.guest.__enter__()
        self.guest.expect(PROMPT, 180)
        self.q = Qmp(f"{self.work.name}/qmp")
        self.q.get("qmp_capabilities")
        return self

    def __exit__(self, *unused):
        self.guest.__exit__()
        self.work.cleanup()

    def run(self, words):
        self.guest.send(f"{words}; echo o''ver\n")
        self.guest.expect(r"over\s", 120)
        self.guest.expect(PROMPT, 60)

    def stats(self, target, **more):
        """provider -> list of (qom-path, {name: value})"""
        out = {}
        for r in self.q.get("query-stats", target=target, **more):
            out.setdefault(r["provider"], []).append(
                (r.get("qom-path"), {s["name"]: s["value"] for s in r["stats"]}))
        return out

    def vcpus(self):
        return [values for _, values in self.stats("vcpu")["hanok"]]


def counters_agree(m):
    before, queue = m.vcpus(), m.stats("virtqueue")["hanok"][0]
    need(queue[0] == "/machine/peripheral/disk0/virtio-backend/queue[0]", str(queue))
    m.run("dd if=/dev/vda of=/dev/null bs=4096 count=64 iflag=direct")
    m.run("sleep 1; cat /proc/cpuinfo | head -n 3")
    after, q = m.vcpus(), m.stats("virtqueue")["hanok"][0][1]
    need(len(after) == 2, "one result for each vcpu")
    for old, new in zip(before, after):
        for name, value in new.items():
            need(name == "halted" or value >= old[name], f"{name} went back from {old[name]} to {value}")
    total = {name: sum(v[name] for v in after) for name in after[0]}
    for name in ("halt_exits", "pio_exits", "mmio_exits", "msr_write_exits", "cpuid_exits", "irq_injections",
                 "ioeventfd", "pio.serial", "guest_time", "halted_time", "vmm_time", "jit_blocks_translated"):
        need(total[name] > 0, f"{name} is {total[name]} after a boot")
    # what the queue says must be what the guest did, and what the image saw
    need(q["requests"] - queue[1]["requests"] >= 64, f"64 reads, but {q} after {queue[1]}")
    need(q["in_bytes"] - queue[1]["in_bytes"] >= 64 * 4096, "bytes of 64 reads")
    need(q["kicks"] > 0 and q["interrupts"] > 0 and q["inflight"] == 0, str(q))
    need(sum(q["latency"]) == q["requests"] and q["latency_total"] > 0, f"latencies of all requests: {q}")
    blk = m.q.get("query-blockstats")[0]["stats"]
    need(blk["x-requests"] == q["requests"] and blk["x-kicks"] == q["kicks"], f"{blk} beside {q}")
    all_vcpus = m.stats("vm")["hanok"][0][1]
    need(all_vcpus["exits"] >= total["exits"] and all_vcpus["cpuid_exits"] >= total["cpuid_exits"], "sum of vcpus")


def places_add_up_to_the_life_of_the_thread(m):
    def sums():
        return [sum(v[p] for p in ("guest_time", "vmm_time", "halted_time", "paused_time")) for v in m.vcpus()]

    low = time.monotonic_ns()
    first = sums()
    high = time.monotonic_ns()
    time.sleep(0.5)
    low2 = time.monotonic_ns()
    second = sums()
    high2 = time.monotonic_ns()
    for a, b in zip(first, second):
        need(low2 - high <= b - a <= high2 - low, f"{b - a} ns in {low2 - high}..{high2 - low} ns of time")
    # a stopped machine's vcpus are paused, and nothing else
    m.q.get("stop")
    before = m.vcpus()
    time.sleep(0.3)
    for old, new in zip(before, m.vcpus()):
        need(new["paused_time"] - old["paused_time"] >= 250e6, "paused time")
        need(new["guest_time"] == old["guest_time"] and new["halted_time"] == old["halted_time"], "stopped, yet it ran")
    m.q.get("cont")


def schemas_describe_every_number(m):
    schemas = {(s["provider"], s["target"]): {v["name"]: v for v in s["stats"]}
               for s in m.q.get("query-stats-schemas")}
    for target in ("vm", "vcpu", "virtqueue"):
        for provider, results in m.stats(target).items():
            known = schemas[(provider, target)]
            for _, values in results:
                need(set(values) == set(known), f"{provider} {target}: {set(values) ^ set(known)}")
    need(schemas[("hanok", "vcpu")]["guest_time"]["unit"] == "seconds", "unit of guest_time")
    need(schemas[("hanok", "vcpu")]["guest_time"]["exponent"] == -9, "exponent of guest_time")
    need(schemas[("hanok", "virtqueue")]["latency"]["type"] == "log2-histogram", "type of latency")
    path = m.q.get("query-cpus-fast")[1]["qom-path"]
    only = m.stats("vcpu", vcpus=[path], providers=[{"provider": "hanok", "names": ["exits"]}])
    need([(p, list(v)) for p, v in only["hanok"]] == [(path, ["exits"])], f"filters: {only}")
    need(m.stats("vcpu", providers=[{"provider": "kvm"}]) == {}, "kvm's numbers without KVM")


def a_request_is_followed(m):
    m.q.get("x-trace-start", events=["io_kick", "virtio_*", "blk_*", "uring_*", "irq_msi"])
    m.run("dd if=/dev/vda of=/dev/null bs=4096 count=4 iflag=direct")
    batch = m.q.get("x-trace-read")
    m.q.get("x-trace-stop")
    need(batch["lost"] == 0, "events were lost")
    names = [e["event"] for e in batch["events"]]
    order = ["io_kick", "virtio_kick", "virtio_pop", "virtio_blk", "blk_submit", "blk_done", "virtio_push",
             "virtio_notify"]
    at = -1
    for name in order:
        need(name in names[at + 1:], f"no {name} after the {at + 1}th of {names}")
        at = names.index(name, at + 1)
    need(all(a["time"] <= b["time"] + 1000000 for a, b in zip(batch["events"], batch["events"][1:])), "order")
    threads = {e["event"]: e["thread"] for e in batch["events"]}
    need(threads["io_kick"].startswith("CPU ") and not threads["virtio_pop"].startswith("CPU "), str(threads))


def kvm_counts_too():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Skip("no /dev/kvm here")
    with Process("-nodefaults", "-display", "none", "-accel", "kvm", "-S", "-m", "64") as vm:
        q = Qmp(vm.qmp)
        q.get("qmp_capabilities")
        for target in ("vm", "vcpu"):
            providers = {r["provider"]: {s["name"]: s["value"] for s in r["stats"]}
                         for r in q.get("query-stats", target=target)}
            if "kvm" not in providers:
                raise Skip("this kernel's KVM has no binary statistics")
            schemas = {(s["provider"], s["target"]): {v["name"] for v in s["stats"]}
                       for s in q.get("query-stats-schemas", provider="kvm")}
            need(schemas[("kvm", target)] == set(providers["kvm"]), f"{target}: schema and values differ")
        need({"exits", "halt_exits", "insn_emulation"} <= set(providers["kvm"]), str(sorted(providers["kvm"])))


if __name__ == "__main__":
    with Counted() as machine:
        run_tests([(function.__name__.replace("_", "-"), lambda f=function: f(machine))
                   for function in (counters_agree, places_add_up_to_the_life_of_the_thread,
                                    schemas_describe_every_number, a_request_is_followed)] +
                  [("kvm-counts-too", kvm_counts_too)])
