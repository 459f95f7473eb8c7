#!/usr/bin/env python3
"""Disks as users give them: cache modes as the guest sees them, what is left after kill -9, snapshot=on, limits and
sizes changed while the machine runs, the forms of the options."""
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "image"))
from bitmaps import AUTO, IN_USE, bitmaps  # noqa: E402  (needs the path above)
from process import IMG, Process, Qmp, need, run  # noqa: E402
from vmtest import Failure, Guest, Skip, guest_files, run_tests  # noqa: E402

BOARD = ["-nodefaults", "-display", "none", "-accel", "jit", "-S"]
MODES = ("writeback", "none", "writethrough", "directsync", "unsafe")
THROUGH = ("writethrough", "directsync")
PROMPT = r"hanok:[^ ]*# "
DISK = 16 << 20


def make(kind, path, size=DISK):
    done = run("create", "-f", kind, str(path), str(size), program=IMG)
    need(done.returncode == 0, done.stderr)
    return str(path)


def guest_with(disks, more=()):
    """The stock cloud kernel from its initramfs; disks: -drive arguments."""
    directory = guest_files("cloud")
    args = ["-accel", "jit", "-m", "192", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-kernel",
            str(directory / "vmlinuz"), "-initrd", str(directory / "initrd.img"), "-append", "console=ttyS0 quiet"]
    for disk in disks:
        args += ["-drive", disk]
    return Guest([*args, *more], serial=False)


def shell(guest, command, pattern="", timeout=60):
    guest.send(f"{command}; echo done-$((1+1))\n")
    found = guest.expect(pattern, timeout) if pattern else None
    guest.expect("done-2", timeout)
    return found


def letters(count):
    return [chr(ord("a") + i) for i in range(count)]


def record(i):
    return b"rec-%08d" % i


def test_cache_modes_and_kill():
    """Ten disks, each cache mode as raw and as qcow2.  The guest writes records one after the other and says when its
    fsync has returned; the process is killed meanwhile.  What was said is there, but for cache=unsafe."""
    combos = [(mode, kind) for mode in MODES for kind in ("raw", "qcow2")]
    with tempfile.TemporaryDirectory() as work:
        paths = [make(kind, Path(work) / f"{mode}.{kind}") for mode, kind in combos]
        disks = [f"file={path},format={kind},if=virtio,cache={mode}" for (mode, kind), path in zip(combos, paths)]
        with guest_with(disks) as guest:
            guest.expect(PROMPT, 120)
            for letter, (mode, kind) in zip(letters(10), combos):
                word = "write through" if mode in THROUGH else "write back"
                shell(guest, f"cat /sys/block/vd{letter}/queue/write_cache", word)
            # the guest may switch it, and back
            shell(guest, "echo 'write through' > /sys/block/vda/cache_type; cat /sys/block/vda/queue/write_cache",
                  "write through")
            shell(guest, "echo 'write back' > /sys/block/vda/cache_type; cat /sys/block/vda/queue/write_cache", "write back")
            guest.send("i=0; while :; do i=$((i+1)); for d in " + " ".join(letters(10)) + "; do "
                       "printf 'rec-%08d' $i | dd of=/dev/vd$d bs=512 seek=$((i*40)) conv=notrunc,sync,fsync 2>/dev/null; "
                       "done; echo said-$i; done\n")
            guest.expect("said-25", 240)
            guest.process.kill()
            guest.process.wait()
            guest.drain(0.2)
            last = max(int(word.split("-")[1]) for word in guest.text().split() if word.startswith("said-")
                       and word[5:].isdigit())
        need(last >= 25, f"the guest said {last}")
        for (mode, kind), path in zip(combos, paths):
            judge_records(path, kind, mode, last)


def judge_records(path, kind, mode, last):
    if kind == "qcow2":
        done = run("check", path, program=IMG)
        need(done.returncode in (0, 3), f"{mode}: check says {done.returncode} {done.stdout} {done.stderr}")
    raw = path + ".out"
    done = run("convert", "-f", kind, "-O", "raw", path, raw, program=IMG)
    need(done.returncode == 0, f"{mode} {kind}: {done.stderr}")
    with open(raw, "rb") as f:
        for i in range(1, last + 1):
            f.seek(i * 40 * 512)
            got = f.read(len(record(i)))
            if got != record(i) and mode != "unsafe":
                raise Failure(f"cache={mode} {kind}: record {i} of {last} is {got!r} after the kill")


def test_dirty_bitmap_follows_the_guest():
    """First writes, writes in place, and discards set the bitmap's bits; killed, it says that it is void."""
    if not shutil.which("qemu-img"):
        raise Skip("qemu-img is not installed (package qemu-utils)")
    with tempfile.TemporaryDirectory() as work:
        path = Path(make("qcow2", Path(work) / "a.qcow2"))
        subprocess.run(["qemu-img", "bitmap", "--add", "-g", "65536", path, "b"], check=True)
        disk = f"file={path},format=qcow2,if=virtio,discard=unmap"
        with guest_with([disk]) as guest:
            guest.expect(PROMPT, 120)
            for _ in range(2):  # the second time the cluster is there
                shell(guest, "echo x | dd of=/dev/vda bs=4096 seek=256 conv=sync,fsync 2>/dev/null")
            shell(guest, "blkdiscard -o 4194304 -l 131072 /dev/vda && echo gone-$((1+1))", "gone-2")
            need(bitmaps(path)["b"].flags == IN_USE | AUTO, "not in use while the machine runs")
            guest.send("poweroff\n")
            need(guest.wait(60) == 0, "poweroff")
        b = bitmaps(path)["b"]
        need(b.flags == AUTO and b.dirty == {16, 64, 65}, f"flags {b.flags}, bits {sorted(b.dirty)}")
        with guest_with([disk]) as guest:
            guest.expect(PROMPT, 120)
            shell(guest, "echo x | dd of=/dev/vda bs=4096 seek=1024 conv=sync,fsync 2>/dev/null")
            guest.process.kill()
            guest.process.wait()
        need(bitmaps(path)["b"].flags == IN_USE | AUTO, "a killed machine's bitmap is not void")
        need(run("check", str(path), program=IMG).returncode in (0, 3), "check after the kill")


def test_snapshot_leaves_the_image_alone():
    with tempfile.TemporaryDirectory() as work:
        before = {}
        for kind in ("raw", "qcow2"):
            before[make(kind, Path(work) / f"a.{kind}")] = None
        paths = list(before)
        for path in paths:
            before[path] = Path(path).read_bytes()
        disks = [f"file={paths[0]},format=raw,if=virtio", f"file={paths[1]},format=qcow2,if=virtio"]
        with guest_with(disks, ["-snapshot"]) as guest:
            guest.expect(PROMPT, 120)
            for letter in "ab":
                shell(guest, f"printf hello | dd of=/dev/vd{letter} bs=512 conv=sync,fsync 2>/dev/null; "
                      f"echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vd{letter} bs=5 count=1 2>/dev/null", "hello")
            guest.send("poweroff\n")
            need(guest.wait(60) == 0, "poweroff")
        for path in paths:
            need(Path(path).read_bytes() == before[path], f"{path} has changed")
        need(sorted(p.name for p in Path(work).iterdir()) == ["a.qcow2", "a.raw"], "something was left behind")
        with Process(*BOARD, "-drive", f"file={paths[0]},format=raw,if=virtio,snapshot=on") as vm:
            block = Qmp(vm.qmp)
            block.get("qmp_capabilities")
            need(block.get("query-block")[0]["inserted"]["drv"] == "qcow2", "no temporary image on top")
            # others may read the base meanwhile, but not write to it
            need(run("info", paths[0], program=IMG).returncode == 0, "info of the base")
            need(run("resize", "-f", "raw", paths[0], "64M", program=IMG).returncode == 1, "resize of the base")


def test_limits_by_qmp():
    with tempfile.TemporaryDirectory() as work:
        path = make("raw", Path(work) / "a.raw")
        with Process(*BOARD, "-drive", f"file={path},format=raw,if=none,id=d,iops_rd=50,throttling.bps-write=1M", "-device",
                     "virtio-blk-pci,drive=d,id=disk0") as vm:
            qmp = Qmp(vm.qmp)
            qmp.get("qmp_capabilities")
            state = qmp.get("query-block")[0]["inserted"]
            need((state["iops_rd"], state["bps_wr"], state["group"]) == (50, 1 << 20, "d"), str(state))
            none = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)

            def limit(**values):
                # names with underscores: not through keyword arguments, which turn them into dashes
                qmp.socket.sendall(json.dumps({"execute": "block_set_io_throttle", "arguments":
                                               {**none, **values}}).encode())
                return qmp.read()
            path_of = "/machine/peripheral/disk0/virtio-backend"
            need("return" in limit(id=path_of, bps=1000000, bps_max=2000000, bps_max_length=3, group="g"), "set")
            state = qmp.get("query-block")[0]["inserted"]
            need((state["bps"], state["bps_max"], state["bps_max_length"], state["group"], state["iops_rd"]) ==
                 (1000000, 2000000, 3, "g", 0), str(state))
            need("error" in limit(id=path_of, bps=1, bps_rd=1), "the sum and a part")
            need("error" in limit(id="nobody", bps=1), "an unknown disk")
            need("return" in limit(device="d"), "no limits")
            state = qmp.get("query-block")[0]["inserted"]
            need(state["bps"] == 0 and "group" not in state, str(state))


def test_nodes_come_and_go():
    """As a manager attaches and detaches a disk."""
    with tempfile.TemporaryDirectory() as work:
        path = make("qcow2", Path(work) / "a.qcow2")
        with Process(*BOARD, "-device", "pcie-root-port,id=rp") as vm:
            qmp = Qmp(vm.qmp)
            qmp.get("qmp_capabilities")
            qmp.get("blockdev-add", driver="file", filename=path, node_name="s", cache={"direct": True}, discard="unmap")
            qmp.get("blockdev-add", driver="qcow2", node_name="f", file="s", detect_zeroes="on")
            nodes = {n["node-name"]: n for n in qmp.get("query-named-block-nodes")}
            need(nodes["s"]["cache"]["direct"] and nodes["f"]["detect_zeroes"] == "on", str(nodes))
            need("error" in qmp.ask("blockdev-add", driver="file", filename=path, node_name="s"), "a name twice")
            need("error" in qmp.ask("blockdev-add", driver="file", filename=path), "no name")
            need("error" in qmp.ask("blockdev-del", node_name="s"), "a node in use")
            qmp.get("device_add", driver="virtio-blk-pci", drive="f", id="d0", bus="rp")
            need("error" in qmp.ask("blockdev-del", node_name="f"), "a node of a device")
            need(qmp.get("query-block")[0]["inserted"]["node-name"] == "f", "query-block")
            need(run("check", "-r", "leaks", path, program=IMG).returncode == 1, "the image is locked")
        with Process(*BOARD) as vm:
            qmp = Qmp(vm.qmp)
            qmp.get("qmp_capabilities")
            qmp.get("blockdev-add", driver="qcow2", node_name="f", file={"driver": "file", "filename": path})
            qmp.get("blockdev-del", node_name="f")
            need("error" in qmp.ask("blockdev-del", node_name="f"), "gone already")
            need(run("check", "-r", "leaks", path, program=IMG).returncode == 0, "the image is free")


def test_throttle_group_as_libvirt_writes_it():
    with tempfile.TemporaryDirectory() as work:
        path = make("raw", Path(work) / "a.raw")
        with Process(*BOARD, "-object", '{"qom-type":"throttle-group","id":"limits0","limits":{"iops-total":5000,'
                     '"iops-total-max":6000,"iops-total-max-length":2}}', "-object", "throttle-group,id=g1,x-bps-read=1M",
                     "-blockdev", f'{{"driver":"file","filename":"{path}","node-name":"s","auto-read-only":true}}',
                     "-blockdev", '{"node-name":"f","read-only":false,"driver":"raw","file":"s"}', "-blockdev",
                     '{"driver":"throttle","node-name":"t","throttle-group":"limits0","file":"f"}', "-device",
                     '{"driver":"virtio-blk-pci","drive":"t","id":"virtio-disk0"}') as vm:
            qmp = Qmp(vm.qmp)
            qmp.get("qmp_capabilities")
            state = qmp.get("query-block")[0]["inserted"]
            need((state["drv"], state["iops"], state["iops_max"], state["group"]) == ("throttle", 5000, 6000, "limits0"),
                 str(state))


def test_resize_is_seen_by_the_guest():
    with tempfile.TemporaryDirectory() as work:
        path = make("raw", Path(work) / "a.raw")
        with guest_with([f"file={path},format=raw,if=none,id=d"],
                        ["-device", "virtio-blk-pci,drive=d", "-qmp", f"unix:{work}/qmp,server=on,wait=off"]) as guest:
            guest.expect(PROMPT, 120)
            qmp = Qmp(f"{work}/qmp")
            qmp.get("qmp_capabilities")
            shell(guest, "cat /sys/block/vda/size", str(DISK // 512))
            qmp.get("block_resize", device="d", size=2 * DISK)
            shell(guest, "cat /sys/block/vda/size", str(2 * DISK // 512))
            shell(guest, "printf far | dd of=/dev/vda bs=512 seek=$((32767*2)) conv=sync,fsync 2>&1", "1\\+0 records out|0\\+1")
            counts = qmp.get("query-blockstats")[0]["stats"]
            need(counts["x-requests"] >= counts["x-kicks"] > 0, str(counts))
            need(counts["flush_operations"] > 0 and counts["wr_bytes"] >= 512, str(counts))
        need(Path(path).stat().st_size == 2 * DISK, "the image has the new size")


def test_option_forms():
    with tempfile.TemporaryDirectory() as work:
        path = make("qcow2", Path(work) / "a.qcow2")
        whole = f'json:{{"driver":"qcow2","file":{{"driver":"file","filename":"{path}"}}}}'.replace(",", ",,")
        for good in ([f"file={path},if=virtio"], [f"driver=qcow2,file.driver=file,file.filename={path},if=virtio"],
                     [f"file={whole},if=virtio"], [f"file={path},if=virtio,format=qcow2,cache=none,aio=native"],
                     [f"file={path},if=virtio,format=qcow2,discard=unmap,detect-zeroes=unmap"],
                     [f"file={path},if=virtio,format=qcow2,aio=io_uring,cache.direct=on,cache.no-flush=on"],
                     [f"file={path},if=virtio,format=qcow2,iops=100,iops_max=200,group=x"]):
            with Process(*BOARD, "-drive", *good):
                pass
        for bad, word in ((f"file={path},if=virtio,format=qcow2,aio=native", "cache.direct=on"),
                          (f"file={path},if=virtio,format=qcow2,detect-zeroes=unmap", "discard=unmap"),
                          (f"file={path},if=virtio,format=qcow2,cache=nine", "directsync"),
                          (f"file={path},if=virtio,format=qcow2,file.lokcing=off", "locking"),
                          (f"file={path},if=virtio,format=qcow2,iops=1,iops_rd=1", "exclude each other")):
            done = run(*BOARD, "-drive", bad)
            need(done.returncode == 1 and word in done.stderr and len(done.stderr.splitlines()) == 1,
                 f"{bad}: {done.returncode} {done.stderr!r}")


run_tests([(f.__name__.removeprefix("test_").replace("_", " "), f) for f in (
    test_option_forms, test_limits_by_qmp, test_nodes_come_and_go, test_throttle_group_as_libvirt_writes_it, test_snapshot_leaves_the_image_alone,
    test_resize_is_seen_by_the_guest, test_dirty_bitmap_follows_the_guest, test_cache_modes_and_kill)])
