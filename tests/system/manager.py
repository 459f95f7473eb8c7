#!/usr/bin/env python3
"""hanok, as people use it: definitions, the life of machines without a daemon, two managers at once, kills at any
moment.  Every test has its own directories (a session of its own); nothing of the user's is touched."""
import json
import os
import pathlib
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from vmtest import SLOWNESS, TOP, Failure, Skip, guest_files, run_tests

HANOK = os.environ.get("HANOK", str(TOP / "build/hanok"))


def need(condition, text):
    if not condition:
        raise Failure(text)


class Session:
    """A user's session of hanok in a temporary directory; machines left running are ended."""

    def __enter__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hanok-", dir="/tmp"))
        (self.dir / "r").mkdir()
        self.env = dict(os.environ, HOME=str(self.dir), XDG_RUNTIME_DIR=str(self.dir / "r"),
                        XDG_CONFIG_HOME=str(self.dir / "config"), XDG_DATA_HOME=str(self.dir / "data"),
                        XDG_STATE_HOME=str(self.dir / "state"), XDG_CACHE_HOME=str(self.dir / "cache"),
                        HANOK_DEFAULT_URI="qemu:///session")
        return self

    def __exit__(self, *unused):
        for machine in self.json("list"):
            self.run("destroy", machine["name"])
        shutil.rmtree(self.dir, ignore_errors=True)

    def run(self, *words, stdin=None, timeout=90):
        return subprocess.run([HANOK, *words], env=self.env, input=stdin, capture_output=True, text=True,
                              timeout=timeout * SLOWNESS)

    def ok(self, *words, stdin=None):
        r = self.run(*words, stdin=stdin)
        need(r.returncode == 0, f"hanok {' '.join(words)}: {r.stderr}")
        return r.stdout

    def fails(self, *words, stdin=None):
        r = self.run(*words, stdin=stdin)
        need(r.returncode == 1, f"hanok {' '.join(words)} ended with {r.returncode}: {r.stdout}")
        return r.stderr

    def json(self, *words):
        return json.loads(self.ok(*words, "--json"))

    def popen(self, *words):
        return subprocess.Popen([HANOK, *words], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)

    def state(self, name):
        return self.json("domstate", name)

    def wait_state(self, name, state, timeout=30):
        end = time.monotonic() + timeout * SLOWNESS
        while self.state(name)["state"] != state:
            need(time.monotonic() < end, f"{name} is not '{state}' in time, but {self.state(name)}")
            time.sleep(0.05)

    def xml(self, name, devices="", kernel=True, emulator="", memory=128, vcpus=1, extra=""):
        files = guest_files("cloud") if kernel else None
        boot = (f"<kernel>{files / 'vmlinuz'}</kernel><initrd>{files / 'initrd.img'}</initrd>"
                "<cmdline>console=ttyS0</cmdline>") if kernel else ""
        return (f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>{memory}</memory><vcpu>{vcpus}</vcpu>"
                f"<os><type arch='x86_64' machine='q35'>hvm</type>{boot}</os><features><acpi/></features>{extra}"
                f"<devices>{emulator}<console type='pty'/>{devices}</devices></domain>")

    def define(self, name, **how):
        return self.ok("define", "-", stdin=self.xml(name, **how))

    def leftovers(self):
        run = self.dir / "r/hanok"
        return sorted(p.name for p in run.iterdir() if p.name != ".last-id") if run.exists() else []


class Console:
    def __init__(self, session, name):
        tty = session.ok("ttyconsole", name).strip()
        self.fd = os.open(tty, os.O_RDWR | os.O_NOCTTY)
        self.seen = ""

    def expect(self, pattern, timeout=90):
        end = time.monotonic() + timeout * SLOWNESS
        while not re.search(pattern, self.seen):
            need(time.monotonic() < end, f"waited for {pattern!r}; last: {self.seen[-800:]}")
            if select.select([self.fd], [], [], 0.2)[0]:
                self.seen += os.read(self.fd, 65536).decode("utf-8", "replace")
        seen, self.seen = self.seen, ""
        return seen

    def send(self, text):
        os.write(self.fd, text.encode())


def life_of_a_machine():
    with Session() as s:
        disk = s.dir / "disk.raw"
        shutil.copy(guest_files("cloud") / "root.img", disk)
        s.define("web", vcpus=2, devices=f"<disk type='file'><source file='{disk}'/><target dev='vda'/></disk>"
                 "<interface type='user'/><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/>"
                 "</channel><memballoon model='virtio'/>")
        need([(m["name"], m["state"]) for m in s.json("list", "--all")] == [("web", "shut off")], "list --all")
        need(s.json("list") == [], "list shows what does not run")
        s.ok("start", "web")
        need("running already" in s.fails("start", "web"), "a second start must be refused")
        info = s.json("dominfo", "web")
        need(info["state"] == "running" and info["vcpus"] == 2 and info["id"] == 1, f"dominfo: {info}")
        comm = pathlib.Path(f"/proc/{info['pid']}/cmdline").read_bytes()
        need(b"-name\0guest=web,debug-threads=on" in comm, "the process does not carry its name")

        console = Console(s, "web")
        console.expect(r"hanok:.*# ")
        console.send("dd if=/dev/vda of=/dev/null bs=64k count=16; echo D''ONE\n")
        console.expect("DONE")
        stats = s.json("domstats", "web", "--vcpu", "--block")[0]["stats"]
        need(stats and {k.split(".")[0] for k in stats} == {"vcpu", "block"}, f"domstats by group: {stats}")
        need(s.json("domblkstat", "web", "vda")["rd_bytes"] >= 1 << 20, "domblkstat does not count reads")

        live = s.ok("dumpxml", "web")
        for part in ("<domain type='qemu' id='1'>", "<alias name='virtio-disk0'/>", "tty='/dev/pts/",
                     "machine='pc-q35-7.2'"):
            need(part in live, f"dumpxml of a running domain has no {part}")
        need("alias" not in s.ok("dumpxml", "web", "--inactive"), "--inactive shows the running machine")

        s.ok("title", "web", "for now", "only")
        s.ok("desc", "web", "kept", "--config")
        texts = [s.ok(*w).strip() for w in (("title", "web"), ("title", "web", "--config"), ("desc", "web"), ("desc", "web", "--config"))]
        need(texts == ["for now only", "No title for domain", "No description for domain", "kept"], f"{texts}")
        need("for now only" in s.ok("list", "--title"), "list --title of a running domain")
        mac = s.json("domiflist", "web")[0]["mac"]
        counted = s.json("domifstat", "web", mac)
        need(counted == s.json("domifstat", "web", "net0") and {"rx_bytes", "tx_packets"} <= set(counted), f"domifstat: {counted}")
        need("no network card 'vnet0'" in s.fails("domifstat", "web", "vnet0"), "domifstat of another's card")
        dump = subprocess.Popen([HANOK, "help"], env=s.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        dump.stdout.close()
        need(dump.stderr.read() == "" and dump.wait() == 1, "a reader that has seen enough is no news")

        s.ok("suspend", "web")
        need(s.state("web") == {"state": "paused", "reason": "user"}, "suspend")
        s.ok("resume", "web")
        need(s.state("web")["state"] == "running", "resume")
        console.send("poweroff\n")
        s.wait_state("web", "shut off")
        need(s.state("web")["reason"] == "shutdown", f"reason: {s.state('web')}")
        s.ok("undefine", "web", "--remove-all-storage")
        need(not disk.exists(), "the disk is still there")
        need(s.leftovers() == [], f"left behind: {s.leftovers()}")
        need(not list((s.dir / "state/hanok/log").iterdir()), "the log is left behind")


def pins_are_where_taskset_sees_them():
    if os.cpu_count() < 2:
        raise Skip("one CPU")
    with Session() as s:
        s.define("p", kernel=False, vcpus=2, extra="<cputune><vcpupin vcpu='1' cpuset='1'/><emulatorpin cpuset='0'/>"
                 "</cputune>")
        s.ok("start", "p", "--paused")
        def tids():
            return {v["vcpu"]: v["thread-id"] for v in s.json("vcpuinfo", "p")}
        need(os.sched_getaffinity(tids()[1]) == {1}, "vcpupin of the definition")
        need(os.sched_getaffinity(s.json("dominfo", "p")["pid"]) == {0}, "emulatorpin of the definition")
        s.ok("vcpupin", "p", "0", "1")
        need(os.sched_getaffinity(tids()[0]) == {1}, "vcpupin of a running machine")
        need("<vcpupin vcpu='0'" not in s.ok("dumpxml", "p", "--inactive"), "--live changed the definition")
        s.ok("vcpupin", "p", "0", "0", "--config")
        need("<vcpupin vcpu='0' cpuset='0'/>" in s.ok("dumpxml", "p", "--inactive"), "--config")
        need("out of range" in s.fails("vcpupin", "p", "0", "4000"), "a CPU that is not there")


def failed_start_says_the_machines_own_words():
    with Session() as s:
        s.ok("define", "-", stdin=s.xml("bad").replace("initrd.img<", "missing<"))
        text = s.fails("start", "bad")
        need("could not load initrd" in text and "missing" in text, text)
        need(s.state("bad")["reason"] == "failed", str(s.state("bad")))
        need([n for n in s.leftovers() if not n.endswith(".last")] == [], f"left behind: {s.leftovers()}")
        s.define("gone", kernel=False, devices="<disk type='file'><source file='/nonexistent/x'/><target dev='vda'/></disk>")
        need("'/nonexistent/x': No such file" in s.fails("start", "gone"), "a missing image")


def killed_machine_is_seen_and_cleared_up():
    with Session() as s:
        s.define("k", kernel=False)
        s.ok("start", "k", "--paused")
        os.kill(s.json("dominfo", "k")["pid"], signal.SIGKILL)
        s.wait_state("k", "shut off")
        need(s.state("k")["reason"] == "crashed", str(s.state("k")))
        s.ok("start", "k", "--paused")
        s.ok("destroy", "k")
        need(s.state("k")["reason"] == "destroyed", str(s.state("k")))


def reused_pid_is_not_taken_for_the_machine():
    with Session() as s:
        s.define("r", kernel=False)
        s.ok("start", "r", "--paused")
        pid = s.json("dominfo", "r")["pid"]
        status = s.dir / "r/hanok/r.json"
        state = json.loads(status.read_text())
        bystander = subprocess.Popen(["sleep", "600"])
        try:
            status.write_text(json.dumps(dict(state, pid=bystander.pid)))
            need(s.state("r")["state"] == "shut off", "another process under the number was taken for it")
            need("not running" in s.fails("destroy", "r"), "destroy")
            need(bystander.poll() is None, "destroy killed a bystander")
        finally:
            bystander.kill()
            bystander.wait()
            os.kill(pid, signal.SIGKILL)


def transient_machine_leaves_nothing():
    with Session() as s:
        s.ok("create", "-", "--paused", stdin=s.xml("t", kernel=False))
        need(s.json("dominfo", "t")["persistent"] is False, "persistent")
        need("no definition" in s.fails("undefine", "t"), "undefine of a transient one")
        s.ok("destroy", "t")
        need(s.json("list", "--all") == [] and s.leftovers() == [], f"left: {s.leftovers()}")


def disk_comes_and_goes_while_the_guest_runs():
    with Session() as s:
        ports = "".join(f"<controller type='pci' index='{i}' model='pcie-root-port'/>" for i in range(1, 9))
        s.define("h", memory=192, devices=f"<controller type='pci' index='0' model='pcie-root'/>{ports}")
        image = s.dir / "b.raw"
        image.write_bytes(b"hanok was here".ljust(1 << 20, b"\0"))
        s.ok("start", "h")
        console = Console(s, "h")
        console.expect(r"hanok:.*# ")
        s.ok("attach-disk", "h", str(image), "vdb", "--subdriver", "raw")
        console.send("while ! [ -b /dev/vda ]; do sleep 1; done; head -c 14 /dev/vda; echo; echo H''ERE\n")
        console.expect("hanok was here(.|\n)*HERE", 60)
        need([d["target"] for d in s.json("domblklist", "h")] == ["vdb"], "domblklist")
        need(s.json("domblklist", "h", "--inactive") == [], "--live changed the definition")
        rng = s.dir / "rng.xml"
        rng.write_text("<rng model='virtio'><backend model='builtin'/></rng>")
        s.ok("attach-device", "h", str(rng))
        s.ok("attach-interface", "h", "user", "--mac", "52:54:00:00:00:77")
        s.ok("detach-interface", "h", "--mac", "52:54:00:00:00:77")
        s.ok("detach-disk", "h", "vdb")
        need(s.json("domblklist", "h") == [], "domblklist after detach-disk")
        nodes = json.loads(s.ok("qemu-monitor-command", "h", "query-named-block-nodes"))["return"]
        need(nodes == [], f"block nodes stay behind: {nodes}")
        # a step that fails undoes those before it
        text = s.fails("attach-disk", "h", str(image), "vdc", "--subdriver", "qcow2")
        need("qcow2" in text, text)
        nodes = json.loads(s.ok("qemu-monitor-command", "h", "query-named-block-nodes"))["return"]
        need(nodes == [] and s.json("domblklist", "h") == [], f"left by a failed attach-disk: {nodes}")
        s.ok("attach-disk", "h", str(image), "vdb", "--subdriver", "raw", "--config")
        need([d["target"] for d in s.json("domblklist", "h", "--inactive")] == ["vdb"], "--config")


def definitions_are_compared_before_they_are_swapped():
    with Session() as s:
        s.define("e", kernel=False)
        editor = s.dir / "editor.sh"
        # somebody else changes it while the editor is open
        editor.write_text(f"#!/bin/sh\n{HANOK} title e other\nsed -i s/131072/262144/ \"$1\"\n")
        editor.chmod(0o755)
        s.env["EDITOR"] = str(editor)
        text = s.fails("edit", "e")
        need("changed by somebody else" in text and "kept in" in text, text)
        os.unlink(text.rsplit("kept in ", 1)[1].strip())
        need("<title>other</title>" in s.ok("dumpxml", "e"), "the other change is lost")
        editor.write_text("#!/bin/sh\nsed -i s/131072/262144/ \"$1\"\n")
        s.ok("edit", "e")
        need("262144" in s.ok("dumpxml", "e"), "the edit is lost")
        s.ok("domrename", "e", "f")
        need([m["name"] for m in s.json("list", "--all")] == ["f"], "domrename")


def storms_of_define_start_undefine_leave_order():
    with Session() as s:
        xml = s.dir / "s.xml"
        xml.write_text(s.xml("s", kernel=False).replace("</name>", "</name><uuid>11111111-2222-3333-4444-555555555555"
                                                        "</uuid>"))
        random.seed(7)
        verbs = [("define", str(xml)), ("start", "s", "--paused"), ("destroy", "s"), ("undefine", "s"),
                 ("dominfo", "s"), ("list", "--all"), ("title", "s", "x")]
        for _ in range(6):
            for p in [s.popen(*random.choice(verbs)) for _ in range(10)]:
                need(p.wait(90 * SLOWNESS) in (0, 1), f"{p.args} ended with {p.returncode}")
        s.run("destroy", "s")
        s.run("undefine", "s")
        need(s.json("list", "--all") == [], "something is left")
        need(subprocess.run(["pgrep", "-f", f"path={s.dir}/"], capture_output=True).stdout == b"", "a machine nobody knows")
        need(s.leftovers() == [], f"left behind: {s.leftovers()}")


def hanok_killed_at_random_points_loses_nothing():
    with Session() as s:
        xml = s.dir / "s.xml"
        xml.write_text(s.xml("s", kernel=False).replace("</name>", "</name><uuid>11111111-2222-3333-4444-555555555555"
                                                        "</uuid>"))
        s.ok("define", str(xml))
        random.seed(3)
        for i in range(60):
            verb = [("define", str(xml)), ("start", "s", "--paused"), ("title", "s", f"t{i}", "--config"), ("destroy", "s")][i % 4]
            p = s.popen(*verb)
            time.sleep(random.random() * 0.06)
            p.kill()
            p.wait()
            need("<name>s</name>" in s.ok("dumpxml", "s", "--inactive"), f"the definition is lost after {verb}")
            running = subprocess.run(["pgrep", "-f", f"path={s.dir}/"], capture_output=True, text=True).stdout.split()
            known = [str(json.loads(f.read_text())["pid"]) for f in (s.dir / "r/hanok").glob("s.json")]
            need(set(running) <= set(known), f"a machine nobody knows: {running}, known {known}")
        s.run("destroy", "s")
        s.ok("start", "s", "--paused")
        need([f for f in (s.dir / "config/hanok/domains").iterdir() if f.name.endswith(".tmp")] == [] or
             s.ok("define", str(xml)), "temporary files stay")


def many_machines(s, count):
    """Definitions m0, m1, ...; returns where they are."""
    s.define("m0", kernel=False)
    where = s.dir / "config/hanok/domains"
    text = (where / "m0.xml").read_text()
    for i in range(1, count):
        (where / f"m{i}.xml").write_text(re.sub("<uuid>.*</uuid>", f"<uuid>00000000-0000-4000-8000-{i:012d}</uuid>",
                                                text.replace("<name>m0<", f"<name>m{i}<")))
    return where


def thousand_machines_list():
    with Session() as s:
        where = many_machines(s, 1000)
        start = time.monotonic()
        out = s.ok("list", "--all")
        print(f"# list --all of 1000: {1000 * (time.monotonic() - start):.0f} ms", flush=True)
        need(len(out.strip().splitlines()) == 1002, "not all are listed")
        need("is that of domain 'm7'" in s.fails("define", "-", stdin=(where / "m7.xml").read_text().replace(
            "<name>m7<", "<name>twin<")), "the same UUID twice")


def hostile_names_stay_names():
    with Session() as s:
        for name in ("-x", "../evil", "a/b", "."):
            text = s.fails("define", "-", stdin=s.xml("n", kernel=False).replace("<name>n<", f"<name>{name}<"))
            need("name" in text, text)
        for name in ("a b", "ä$(id);'\"", "x,y=z", "%s%n", "é"):
            s.ok("define", "-", stdin=s.xml("n", kernel=False).replace("<name>n<", f"<name>{name}<"))
            s.ok("start", name, "--paused")
            need(s.json("dominfo", name)["state"] == "paused", name)
            s.ok("destroy", name)
            s.ok("undefine", name)
        need(s.leftovers() == [], f"left behind: {s.leftovers()}")


def qemu_is_driven_by_the_same_words():
    qemu = shutil.which("qemu-system-x86_64")
    if not qemu:
        raise Skip("no qemu-system-x86_64 here")
    with Session() as s:
        s.define("q", emulator=f"<emulator>{qemu}</emulator>", memory=192,
                 devices="<interface type='user'/><rng model='virtio'><backend model='random'/></rng>")
        s.ok("start", "q")
        need(s.state("q")["state"] == "running", "state")
        need(len(s.json("vcpuinfo", "q")) == 1, "vcpuinfo")
        follower = s.popen("event", "q", "--loop")
        s.ok("suspend", "q")
        need(s.state("q")["state"] == "paused", "a follower blocks the verbs")
        s.ok("destroy", "q")
        need(follower.wait(20 * SLOWNESS) in (0, 1), "the follower does not end")
        need(s.state("q")["reason"] == "destroyed", str(s.state("q")))


def words_that_are_wrong_are_answered_with_a_sentence():
    with Session() as s:
        need("did you mean" in s.fails("lst"), "a verb nobody knows")
        need("did you mean 'all'" in s.fails("list", "--al"), "an option nobody knows")
        need(s.fails("frobnicate").endswith("there is no verb 'frobnicate'; 'hanok help' lists them\n"), "far from all")
        need("no networks" in s.fails("net-list") and "not there yet" in s.fails("snapshot-list", "x"), "virsh's, not ours")
        need("needs --domain" in s.fails("start"), "a missing name")
        need("there is no domain 'x'" in s.fails("start", "x"), "a domain that is not there")
        need("qemu:///session" in s.fails("-c", "xen:///", "list"), "another connection")
        for verb in s.ok("help", "--words").split():
            need("SYNOPSIS" in s.ok("help", verb), verb)
        need(s.ok("start", "--help") == s.ok("help", "start"), "a verb's --help")


TESTS = [
    ("life of a machine: define to undefine", life_of_a_machine),
    ("pins are where taskset sees them", pins_are_where_taskset_sees_them),
    ("a failed start says the machine's own words", failed_start_says_the_machines_own_words),
    ("a killed machine is seen and cleared up", killed_machine_is_seen_and_cleared_up),
    ("a reused pid is not taken for the machine", reused_pid_is_not_taken_for_the_machine),
    ("a transient machine leaves nothing", transient_machine_leaves_nothing),
    ("a disk comes and goes while the guest runs", disk_comes_and_goes_while_the_guest_runs),
    ("definitions are compared before they are swapped", definitions_are_compared_before_they_are_swapped),
    ("storms of define, start, undefine leave order", storms_of_define_start_undefine_leave_order),
    ("hanok killed at random points loses nothing", hanok_killed_at_random_points_loses_nothing),
    ("a thousand machines list", thousand_machines_list),
    ("hostile names stay names", hostile_names_stay_names),
    ("QEMU is driven by the same words", qemu_is_driven_by_the_same_words),
    ("wrong words are answered with a sentence", words_that_are_wrong_are_answered_with_a_sentence),
]
if __name__ == "__main__":
    run_tests([t for t in TESTS if not sys.argv[1:] or any(w in t[0] for w in sys.argv[1:])])
