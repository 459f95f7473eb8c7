#!/usr/bin/env python3
"""Verbs that act on a running machine, seen from inside: its firmware, its boot loader or its kernel tells."""
import json
import os
import pty
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from xml.etree import ElementTree

from firmware_parts import grub
from manager import HANOK, Console, Session, need
from screen import lit, read_png
from vmtest import SLOWNESS, Skip, WebServer, run_tests

SCREEN = "<graphics type='vnc' port='-1' autoport='yes'><listen type='socket'/></graphics><video><model type='vga'/></video>"
DRIVE = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>"


def nodes(s, name):
    return json.loads(s.ok("qemu-monitor-command", name, "query-named-block-nodes"))["return"]


def media_keys_and_pictures():
    with Session() as s:
        bad = s.dir / "bad.qcow2"
        bad.write_bytes(b"QFI\xfb" + struct.pack(">I", 99) + bytes(1 << 16))
        text = s.xml("m", kernel=False, memory=256, devices=DRIVE + SCREEN)
        s.ok("define", "-", stdin=text.replace("</os>", "<boot dev='cdrom'/></os>"))
        s.ok("start", "m")
        console = Console(s, "m")
        need([d["source"] for d in s.json("domblklist", "m")] == [None], "the drive is not empty")
        disc = grub("cd.iso")
        s.ok("change-media", "m", "sda", disc)
        need([d["source"] for d in s.json("domblklist", "m")] == [disc], "domblklist does not show the disc")
        need("cd.iso" not in s.ok("dumpxml", "m", "--inactive"), "--live changed the definition")
        s.ok("reset", "m")
        console.expect("Debian kernel on a GRUB disk")

        # the picture shows the menu; a key pressed at the screen is the boot loader's to read
        path, end = s.dir / "shot.png", time.monotonic() + 30 * SLOWNESS
        while True:  # the menu comes to the serial port first
            need("type of image/png" in s.ok("screenshot", "m", str(path)), "screenshot says nothing")
            width, height, rgb = read_png(path)
            if width >= 640 and height >= 350 and lit(rgb) > 1000:
                break
            need(time.monotonic() < end, f"{width}x{height}, {lit(rgb)} lit dots")
        s.ok("send-key", "m", "KEY_C")
        console.expect("grub> ")
        for key in ("KEY_E", "KEY_C", "KEY_H", "KEY_O", "KEY_SPACE", "35", "0x17", "KEY_ENTER"):
            s.ok("send-key", "m", key, "--holdtime", "20")
        console.expect(r"\shi\s")
        need("no key" in s.fails("send-key", "m", "KEY_NOTHING"), "a key that does not exist")
        need("shot" in s.fails("screenshot", "m", "/nonexistent/shot.png"), "a picture that cannot be written")

        # an image that cannot be opened leaves the disc where it is
        text = s.fails("change-media", "m", "sda", "/nonexistent/cd.iso")
        need("cannot be read" in text, text)
        s.ok("change-media", "m", "sda", "--eject")
        need(nodes(s, "m") == [] and [d["source"] for d in s.json("domblklist", "m")] == [None], "eject")
        s.ok("change-media", "m", "sda", disc, "--live", "--config")
        need(s.ok("dumpxml", "m", "--inactive").count(disc) == 1, "--config")
        need(len(nodes(s, "m")) == 2, f"nodes: {nodes(s, 'm')}")
        need("no drive 'vda'" in s.fails("change-media", "m", "vda", disc), "a drive that is not there")


def disk_grows_under_the_guest():
    with Session() as s:
        image = s.dir / "d.raw"
        image.write_bytes(bytes(4 << 20))
        s.define("g", devices=f"<disk type='file'><driver name='qemu' type='raw'/><source file='{image}'/>"
                 "<target dev='vda'/></disk>")
        s.ok("start", "g")
        console = Console(s, "g")
        console.expect(r"hanok:.*# ")
        s.ok("blockresize", "g", "vda", "6M")
        console.send("until [ $(cat /sys/block/vda/size) = 12288 ]; do sleep 1; done; echo G''ROWN\n")
        console.expect("GROWN")
        need(image.stat().st_size == 6 << 20, "the image has another size than the disk")
        need(s.json("domblkinfo", "g", "vda")["capacity"] == 6 << 20, "domblkinfo")
        need("no disk 'vdz'" in s.fails("blockresize", "g", "vdz", "6M"), "a disk that is not there")


def processors_come_and_go():
    with Session() as s:
        text = s.xml("c", vcpus=4, memory=192).replace("<vcpu>", "<vcpu current='2'>")
        s.ok("define", "-", stdin=text)
        s.ok("start", "c")
        console = Console(s, "c")
        console.expect(r"hanok:.*# ")

        def online(n):
            # what was plugged in is put online by udev's rules elsewhere; this guest has none
            console.send("for f in /sys/devices/system/cpu/cpu*/online; do echo 1 > $f; done 2>/dev/null; echo n=$(nproc).\n")
            console.expect(rf"n={n}\.")

        online(2)
        s.ok("setvcpus", "c", "4", "--live")
        console.send("until [ -e /sys/devices/system/cpu/cpu3/online ]; do sleep 1; done; echo H''ERE\n")
        console.expect("HERE")
        online(4)
        # each does work: a process per CPU, bound to it
        console.send("for i in 0 1 2 3; do taskset $((1 << i)) md5sum /bin/busybox & done; wait; echo W''ORKED\n")
        console.expect("(busybox(.|\\n)*){4}WORKED")
        need([v["vcpu"] for v in s.json("vcpuinfo", "c")] == [0, 1, 2, 3], "vcpuinfo")
        need("<vcpu placement='static' current='2'>4</vcpu>" in s.ok("dumpxml", "c", "--inactive"), "--live changed the definition")
        need("1 to 4" in s.fails("setvcpus", "c", "5", "--live"), "more than there are places")
        s.ok("reset", "c")
        console.expect("hanok guest: up after(.|\\n)*hanok:.*# ")  # not the prompt of before
        console.send("echo n=$(nproc).\n")
        console.expect(r"n=4\.")  # after a reset they are there from the start
        s.ok("setvcpus", "c", "3", "--live")
        need([v["vcpu"] for v in s.json("vcpuinfo", "c")] == [0, 1, 2], "the guest gave one back")
        console.send("echo n=$(nproc).\n")
        console.expect(r"n=3\.")
        text = s.fails("setvcpus", "c", "1", "--live")
        need("2 vcpus are left" in text and s.json("vcpucount", "c")["current-live"] == 2, text)
        s.ok("setvcpus", "c", "3", "--live")
        online(3)
        live = s.ok("dumpxml", "c")
        for row in ("<vcpu id='1' enabled='yes' hotpluggable='no'/>", "<vcpu id='2' enabled='yes' hotpluggable='yes'/>",
                    "<vcpu id='3' enabled='no' hotpluggable='yes'/>"):
            need(row in live, f"no {row} in {live}")
        # as many as before, but plugged in before it runs: these can go
        s.ok("destroy", "c")
        s.ok("setvcpus", "c", "3", "--config", "--hotpluggable")
        s.ok("vcpupin", "c", "2", "0", "--config")
        s.ok("start", "c")
        need([(v["vcpu"], v["affinity"]) for v in s.json("vcpupin", "c")][2] == (2, "0"), "the pin of a plugged vcpu")
        console = Console(s, "c")
        console.expect(r"hanok:.*# ")
        console.send("echo n=$(nproc).\n")
        console.expect(r"n=3\.")
        s.ok("setvcpus", "c", "1")
        need([v["vcpu"] for v in s.json("vcpuinfo", "c")] == [0], "all but the first can go")
        online(1)
        s.ok("setvcpus", "c", "4")
        need(s.json("vcpucount", "c") == {"maximum-config": 4, "maximum-live": 4, "current-config": 3, "current-live": 4}, "count")


def backing_files_are_shown_while_it_runs():
    with Session() as s:
        images = s.dir / "data/hanok/images"
        for name, under in (("base", None), ("mid", "base"), ("top", "mid"), ("more", "base")):
            s.ok("vol-create-as", "default", f"{name}.qcow2", "8M", "--format", "qcow2",
                 *(["--backing-vol", f"{under}.qcow2"] if under else []))
        ports = "".join(f"<controller type='pci' index='{i}' model='pcie-root-port'/>" for i in range(1, 9))
        s.define("b", kernel=False, devices=f"<disk type='file'><driver name='qemu' type='qcow2'/><source file="
                 f"'{images}/top.qcow2'/><target dev='vda'/></disk><controller type='pci' index='0' model='pcie-root'/>{ports}")
        s.ok("start", "b", "--paused")

        def chain(target):
            disk = next(d for d in ElementTree.fromstring(s.ok("dumpxml", "b")).iter("disk")
                        if d.find("target").get("dev") == target)
            found, at = [(disk.find("source").get("index"), disk.find("source").get("file"))], disk.find("backingStore")
            while at is not None and at.get("type"):
                found.append((at.get("index"), at.find("source").get("file")))
                at = at.find("backingStore")
            return [(int(i), f.rsplit("/", 1)[1][:-len(".qcow2")]) for i, f in found]
        need(chain("vda") == [(1, "top"), (2, "mid"), (3, "base")], f"{chain('vda')}")
        need("backingStore" not in s.ok("dumpxml", "b", "--inactive"), "--inactive shows what was found at the start")
        s.ok("attach-disk", "b", str(images / "more.qcow2"), "vdb", "--subdriver", "qcow2")
        need(chain("vdb") == [(4, "more"), (5, "base")], f"{chain('vdb')}")
        need(len(nodes(s, "b")) == 10, f"{len(nodes(s, 'b'))} nodes")
        s.ok("destroy", "b")
        (images / "mid.qcow2").unlink()
        text = s.fails("start", "b")
        need("disk 'vda'" in text and "mid.qcow2" in text, text)


def block_device():
    return next((Path("/dev") / d.name for d in sorted(Path("/sys/block").iterdir()) if (Path("/dev") / d.name).is_block_device()),
                None)


def limits_are_the_kernels():
    with Session() as s:
        disk = block_device()
        rates = (f"<blkiotune><device><path>{disk}</path><read_bytes_sec>1000000</read_bytes_sec><write_iops_sec>50"
                 "</write_iops_sec></device></blkiotune>") if disk else ""
        s.define("l", kernel=False, vcpus=2, extra=rates + "<iothreads>1</iothreads><memtune><hard_limit unit='MiB'>600</hard_limit>"
                 "<soft_limit unit='MiB'>500</soft_limit></memtune><cputune><shares>2048</shares><period>100000</period>"
                 "<quota>50000</quota><global_period>100000</global_period><global_quota>150000</global_quota>"
                 "<emulator_period>100000</emulator_period><emulator_quota>40000</emulator_quota>"
                 "<iothread_period>100000</iothread_period><iothread_quota>30000</iothread_quota></cputune>")
        r = s.run("start", "l", "--paused")
        if r.returncode and "need a cgroup that can be written" in r.stderr:
            raise Skip(r.stderr.strip())
        need(r.returncode == 0, r.stderr)
        root, pid = Path("/sys/fs/cgroup"), s.json("dominfo", "l")["pid"]
        v2 = (root / "cgroup.controllers").exists()
        trees = {"": root} if v2 else {c: root / c for c in ("memory", "cpu", "blkio")}
        own = {c: tree / "hanok" / s.ok("domuuid", "l").strip() for c, tree in trees.items()}

        def group_of(tid, controller):
            for line in Path(f"/proc/{pid}/task/{tid}/cgroup").read_text().split():
                _, names, path = line.split(":", 2)
                if controller in names.split(","):
                    return path.rsplit("/", 1)[1] if "/hanok/" in path else None
            return None
        cpu = own["" if v2 else "cpu"]

        def quota(group):
            if v2:
                return [int(n) for n in (cpu / group / "cpu.max").read_text().split()]
            return [int((cpu / group / f"cpu.cfs_{f}_us").read_text()) for f in ("quota", "period")]
        found = {g: quota(g) for g in ("", "vcpu0", "vcpu1", "emulator", "iothread1")}
        need(found == {"": [150000, 100000], "vcpu0": [50000, 100000], "vcpu1": [50000, 100000],
                       "emulator": [40000, 100000], "iothread1": [30000, 100000]}, f"{found}")
        tids = {f"vcpu{v['vcpu']}": v["thread-id"] for v in s.json("vcpuinfo", "l")}
        answer = json.loads(s.ok("qemu-monitor-command", "l", "query-iothreads"))["return"]
        tids.update(emulator=pid, **{t["id"]: t["thread-id"] for t in answer})
        where = {g: group_of(t, "" if v2 else "cpu") for g, t in tids.items()}
        need(all(where[g] == g for g in where) and len(where) == 4, f"the threads are in {where}")
        names = ((("", "memory.max"), ("", "memory.high"), ("", "cpu.weight")) if v2 else
                 (("memory", "memory.limit_in_bytes"), ("memory", "memory.soft_limit_in_bytes"), ("cpu", "cpu.shares")))
        found = [int((own[c] / f).read_text()) for c, f in names]
        need(found == [600 << 20, 500 << 20, 79 if v2 else 2048], f"{found}")
        if disk and not v2:
            need(group_of(pid, "blkio") and (own["blkio"] / "blkio.throttle.read_bps_device").read_text().split()[1] == "1000000"
                 and (own["blkio"] / "blkio.throttle.write_iops_device").read_text().split()[1] == "50", "blkio")
        elif disk:
            need("rbps=1000000" in (own[""] / "io.max").read_text() and "wiops=50" in (own[""] / "io.max").read_text(), "io.max")
        s.ok("destroy", "l")
        need(not [m for m in own.values() if m.exists()], "the groups stay")
        s.define("n", kernel=False, extra="<blkiotune><device><path>/dev/null</path><weight>200</weight></device></blkiotune>")
        need("about block devices" in s.fails("start", "n"), "a limit for what is no disk")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def passt_carries_the_guests_packets():
    if not shutil.which("passt"):
        raise Skip("passt is not installed")
    with Session() as s:
        port = free_port()
        text = s.xml("p", devices="<interface type='user'><mac address='52:54:00:00:00:55'/><backend type='passt'/>"
                     f"<portForward proto='tcp' address='127.0.0.1'><range start='{port}' to='80'/></portForward></interface>"
                     "<interface type='user'><mac address='52:54:00:00:00:56'/></interface>")
        s.ok("define", "-", stdin=text.replace("console=ttyS0<", "console=ttyS0 hanok.net<"))
        r = s.run("start", "p")
        if r.returncode and "passt did not start" in r.stderr:
            raise Skip(r.stderr.strip())
        need(r.returncode == 0, r.stderr)
        console, web = Console(s, "p"), WebServer("by-way-of-passt")
        console.expect(r"hanok:.*# ")
        # the gateway's address is the host, seen from inside
        console.send(f"wget -q -O - http://$(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'):{web.port}/; echo D''ONE\n")
        need("by-way-of-passt" in console.expect("DONE"), "the guest does not reach the host")
        web.close()
        # and the host reaches the guest, at the address that it was given
        console.send("ip -4 addr show eth0; mkdir /tmp/w; echo by-way-of-a-port > /tmp/w/x; httpd -p 80 -h /tmp/w; echo D''ONE\n")
        inside = re.search(r"inet ([0-9./]+)", console.expect("DONE")).group(1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/x", timeout=30 * SLOWNESS) as answer:
            need(answer.read() == b"by-way-of-a-port\n", "the port forward carries something else")
        console.send("ip link set eth1 up; udhcpc -q -n -i eth1 -s /usr/share/udhcpc/default.script; echo D''ONE\n")
        console.expect("DONE")
        rows = [(a["name"], a["mac"], a["address"]) for a in s.json("domifaddr", "p")]
        need(rows == [("net0", "52:54:00:00:00:55", inside), ("net1", "52:54:00:00:00:56", "10.0.2.15/24")], f"{rows}")
        need(s.json("domifaddr", "p", "--interface", "52:54:00:00:00:56", "--source", "arp")[0]["name"] == "net1", "--interface")

        def alive():
            return subprocess.run(["pgrep", "-f", f"^passt .*{s.dir}"], capture_output=True, text=True).stdout
        need(alive(), "there is no passt")
        s.ok("destroy", "p")
        end = time.monotonic() + 20 * SLOWNESS
        while alive():
            need(time.monotonic() < end, "passt outlives the machine")
            time.sleep(0.05)
        s.ok("undefine", "p")
        # nor does it stay when the machine does not come up
        s.ok("define", "-", stdin=text.replace("initrd.img<", "missing<"))
        s.fails("start", "p")
        while alive():
            need(time.monotonic() < end, "passt stays after a failed start")
            time.sleep(0.05)


def events_are_followed():
    with Session() as s:
        s.define("e", devices="<watchdog model='i6300esb'/>")
        s.ok("start", "e", "--paused")
        names = s.ok("event", "--list").split()
        need(names[0] == "lifecycle" and "reboot" in names and len(names) == len(set(names)), f"{names}")
        need("needs a domain" in s.fails("event", "--all"), "no domain")
        log = [s.dir / name for name in ("all", "life", "reboot", "qmp", "once")]
        words = (["--loop", "--json"], ["--event", "lifecycle", "--loop", "--timestamp"], ["--event", "reboot", "--loop"],
                 ["--event", "RESUME"], [])
        followers = [subprocess.Popen([HANOK, "event", "e", *w], env=s.env, stdout=out.open("w")) for w, out in zip(words, log)]
        # each has its own stream; that all are there shows in what they answer
        while not all(f.stat().st_size for f in (log[0], log[1], log[4])):
            s.ok("resume", "e")
            s.ok("suspend", "e")
            need(all(f.poll() is None for f in followers[:3]), "a follower has ended")
        s.ok("resume", "e")
        console = Console(s, "e")
        console.expect(r"hanok:.*# ")
        s.ok("reset", "e")
        console.expect(r"hanok guest: up after(.|\n)*hanok:.*# ")
        console.send("poweroff -f\n")
        ends = [f.wait(120 * SLOWNESS) for f in followers]
        need(ends == [0] * 5, f"they ended with {ends}")
        every = [json.loads(line) for line in log[0].read_text().splitlines()]
        need(all(e["domain"] == "e" for e in every), f"{every}")
        told = [(e["event"], e.get("detail")) for e in every]
        for what in (("lifecycle", "Resumed Unpaused"), ("lifecycle", "Suspended Paused"), ("reboot", None)):
            need(what in told, f"no {what} in {told}")
        need(told[-2:] == [("lifecycle", "Shutdown Finished after guest request"), ("lifecycle", "Stopped Shutdown")], f"{told}")
        life = log[1].read_text().splitlines()
        need(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+0000: event 'lifecycle' for domain 'e': Stopped Shutdown", life[-2]),
             life[-2])
        need(life[-1] == f"events received: {len(life) - 1}", life[-1])
        need(log[2].read_text() == "event 'reboot' for domain 'e'\nevents received: 1\n", log[2].read_text())
        need(log[3].read_text().splitlines()[-1] == "events received: 1", log[3].read_text())
        # a machine that is ended by force, and a time that runs out
        s.ok("start", "e", "--paused")
        need(s.run("event", "e", "--event", "reboot", "--timeout", "1").returncode == 1, "nothing came in time")
        follower = subprocess.Popen([HANOK, "event", "e", "--event", "lifecycle", "--loop"], env=s.env, stdout=subprocess.PIPE)
        first = b""
        while b"Suspended" not in first:
            s.ok("resume", "e")
            s.ok("suspend", "e")
            if select.select([follower.stdout], [], [], 0.1)[0]:
                first = os.read(follower.stdout.fileno(), 4096)
        s.ok("destroy", "e")
        need(b"Stopped Destroyed" in follower.communicate(timeout=60 * SLOWNESS)[0], "destroy is not told")


def valid(text, schema):
    rng = Path("/usr/share/libvirt/schemas") / schema
    if shutil.which("xmllint") and rng.exists():
        r = subprocess.run(["xmllint", "--noout", "--relaxng", rng, "-"], input=text, capture_output=True, text=True)
        need(r.returncode == 0, r.stderr)


def host_is_described():
    with Session() as s:
        text = s.ok("capabilities")
        valid(text, "capability.rng")
        need(ElementTree.fromstring(text).find("guest/arch/emulator").text == os.environ["HANOK_VM"], text)
        text = s.ok("domcapabilities", "--virttype", "qemu")
        valid(text, "domaincaps.rng")
        x = ElementTree.fromstring(text)
        buses = [v.text for v in x.findall("devices/disk/enum[@name='bus']/value")]
        need({"virtio", "sata", "scsi", "usb"} <= set(buses), f"{buses}")
        need("qemu64" in [m.text for m in x.findall("cpu/mode[@name='custom']/model")], "no model qemu64")
        need(s.json("domcapabilities")["disk-buses"] == buses, "--json says something else")
        need("x86_64 here" in s.fails("domcapabilities", "--arch", "riscv64"), "another architecture")
        need([p["name"] for p in s.json("pool-list")] == ["default"], "pool-list")
        native = s.ok("domxml-to-native", "qemu-argv", "--xml", "-", stdin=s.xml("n", kernel=False))
        need(os.environ["HANOK_VM"] in native and "-no-shutdown" in native and "guest=n,debug-threads=on" in native, native)


def memory_pins_console_and_log():
    with Session() as s:
        s.define("v", memory=256, devices="<memballoon model='virtio'/><rng model='virtio'><backend model='random'>/dev/urandom"
                 "</backend></rng>")
        s.ok("start", "v")
        need((s.ok("domname", "1").strip(), s.ok("domid", "v").strip()) == ("v", "1"), "domname, domid")
        s.ok("emulatorpin", "v", "0", "--live")
        pid = s.json("dominfo", "v")["pid"]
        shown = subprocess.run(["taskset", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
        need(shown.strip().endswith("mask: 1") and s.json("emulatorpin", "v")["affinity"] == "0", shown)
        # a terminal of its own: what is typed reaches the guest, Ctrl-] leaves, the machine stays
        child, fd = pty.fork()
        if child == 0:
            os.execve(HANOK, [HANOK, "console", "v"], s.env)
        seen = b""

        def until(word):
            nonlocal seen
            end = time.monotonic() + 90 * SLOWNESS
            while word not in seen:
                need(time.monotonic() < end, f"waited for {word}: {seen[-500:]}")
                if select.select([fd], [], [], 0.2)[0]:
                    seen += os.read(fd, 4096)
            seen = b""
        until(b"hanok:~# ")
        os.write(fd, b"echo ty''ped\n")
        until(b"typed")
        os.write(fd, b"\x1d")
        _, status = os.waitpid(child, 0)
        os.close(fd)
        need(status == 0 and s.state("v")["state"] == "running", f"console ended with {status}")
        s.ok("setmem", "v", "128M")
        end = time.monotonic() + 60 * SLOWNESS
        while s.json("dommemstat", "v")["actual"] != 128 << 10:
            need(time.monotonic() < end, f"the balloon stays: {s.json('dommemstat', 'v')}")
            time.sleep(0.1)
        need("running machine cannot change" in s.fails("setmaxmem", "v", "512M"), "setmaxmem of a running machine")
        s.ok("setmaxmem", "v", "512M", "--config")
        need("<memory unit='KiB'>524288</memory>" in s.ok("dumpxml", "v", "--inactive"), "setmaxmem --config")
        rng = s.dir / "rng.xml"
        rng.write_text(ElementTree.tostring(ElementTree.fromstring(s.ok("dumpxml", "v")).find("devices/rng"), "unicode"))
        s.ok("detach-device", "v", str(rng), "--config")
        need("<rng" not in s.ok("dumpxml", "v", "--inactive") and "<rng" in s.ok("dumpxml", "v"), "detach-device --config")
        need("-name" in s.ok("log", "v") and "guest=v" in s.ok("log", "v"), "the log has no command line")
        r = s.run("autostart", "v")
        if Path("/run/systemd/system").is_dir():
            need(r.returncode == 0 and list((s.dir / "config/systemd/user").glob("hanok-v.service")), r.stderr)
            s.ok("autostart", "v", "--disable")
        else:
            need("systemd does not run here" in r.stderr, r.stderr)


def options_of_definitions_and_ends():
    with Session() as s:
        text = s.xml("o", kernel=False, devices="<graphics type='vnc' passwd='sesame'/><frobnicate speed='9'/>")
        need("<frobnicate> is not known" in s.fails("define", "-", stdin=text), "an unknown element was taken")
        s.ok("define", "-", "--lenient", stdin=text)
        shown = s.ok("dumpxml", "o")
        need("frobnicate" in shown.split("<metadata>")[1].split("</metadata>")[0], "--lenient has dropped it")
        need("sesame" not in shown and "passwd='sesame'" in s.ok("dumpxml", "o", "--security-info"), "--security-info")
        s.ok("start", "o", "--paused")
        s.ok("destroy", "o", "--graceful")
        need(s.state("o")["reason"] == "destroyed", f"{s.state('o')}")
        s.ok("-c", "qemu:///session", "undefine", "o", "--nvram", "--snapshots-metadata", "--managed-save")
        need(s.ok("-c", "qemu:///system", "uri").strip() == "qemu:///system", "-c qemu:///system")
        need("qemu:///session" in s.fails("-c", "xen:///", "list"), "a connection that does not exist")
        s.ok("define", "-", stdin=s.xml("b").replace("console=ttyS0<", "console=ttyS0 hanok.button<"))
        s.ok("start", "b")
        console = Console(s, "b")
        console.expect(r"hanok:.*# ")
        need(s.run("reboot", "b", timeout=150).returncode == 0, "reboot")
        need(s.state("b")["state"] == "running", f"{s.state('b')}")
        console.expect(r"hanok guest: up after(.|\n)*hanok:.*# ")


def volumes_grow_shrink_and_are_copied():
    with Session() as s:
        s.ok("vol-create-as", "default", "a.qcow2", "64M", "--format", "qcow2")
        s.ok("vol-resize", "a.qcow2", "128M")
        s.ok("vol-resize", "a.qcow2", "32M", "--delta")
        need(s.json("vol-info", "a.qcow2")["capacity"] == 160 << 20, "vol-resize --delta")
        need("--shrink" in s.fails("vol-resize", "a.qcow2", "16M"), "shrinking must be asked for")
        s.ok("vol-resize", "a.qcow2", "16M", "--shrink")
        need("not '+1M'" in s.fails("vol-resize", "a.qcow2", "+1M"), "+ is not --delta")
        s.ok("vol-resize", "a.qcow2", "20MB")
        s.ok("vol-clone", "a.qcow2", "b.qcow2")
        rows = s.json("vol-list", "default", "--details")
        need([(v["name"], v["capacity"]) for v in rows] == [("a.qcow2", 20000256), ("b.qcow2", 20000256)], f"{rows}")
        need("not replaced" in s.fails("vol-clone", "a.qcow2", "b.qcow2"), "a volume was overwritten")


TESTS = [
    ("media are changed, keys pressed, pictures taken", media_keys_and_pictures),
    ("a disk grows under the guest", disk_grows_under_the_guest),
    ("processors come and go", processors_come_and_go),
    ("backing files are shown while it runs", backing_files_are_shown_while_it_runs),
    ("limits are the kernel's", limits_are_the_kernels),
    ("passt carries the guest's packets", passt_carries_the_guests_packets),
    ("events are followed", events_are_followed),
    ("the host is described", host_is_described),
    ("memory, pins, console and log", memory_pins_console_and_log),
    ("options of definitions and ends", options_of_definitions_and_ends),
    ("volumes grow, shrink and are copied", volumes_grow_shrink_and_are_copied),
]
if __name__ == "__main__":
    run_tests([t for t in TESTS if not sys.argv[1:] or any(w in t[0] for w in sys.argv[1:])])
