#!/usr/bin/env python3
"""The process from outside: refusals and their sentences, background and pid file, QMP as a manager speaks it,
many clients, signals, the sandbox, and what the small programs say.  No guest kernel is needed."""
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from process import IMG, Process, Qmp, need, run
from vmtest import SLOWNESS, TOP, VM, Failure, run_tests

CLI = os.environ.get("HANOK_CLI", str(Path(VM).parent / "hanok"))


def resident(vm):
    return int(Path(f"/proc/{vm.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


QUIET = ["-machine", "none", "-nodefaults", "-display", "none"]
BOARD = ["-nodefaults", "-display", "none", "-accel", "jit", "-S"]

REFUSALS = [
    (["-nographics"], "'-nographic'"),
    (["-kernel"], "needs a value"),
    (["-nodefaults", "-kernel", "/nonexistent/kernel"], "could not load kernel '/nonexistent/kernel': No such file"),
    (["-nodefaults", "-machine", "pcc"], "did you mean"),
    (["-nodefaults", "-accel", "jit", "-device", "virtio-blkk-pci"], "'virtio-blk-pci'"),
    (["-nodefaults", "-accel", "jit", "-device", "virtio-blk-pci,drive=nobody"], "nobody"),
    (["-nodefaults", "-accel", "jit", "-device", "virtio-rng-pci,colour=red"], "colour"),
    (["-nodefaults", "-accel", "jit", "-device", "virtio-rng-pci,id=1a"], "an id is a letter"),
    (["-nodefaults", "-accel", "jit", "-device", "virtio-rng-pci,addr=5.1"], "nothing is at function 0"),
    (["-nodefaults", "-accel", "jit", "-device", "virtio-serial-pci,max_ports=0"], "at least 1"),
    (["-nodefaults", "-accel", "jit", "-device", "virtio-rng-pci", "-global", "virtio-rng-pci.colour=red"], "colour"),
    (["-nodefaults", "-accel", "jit", "-device", "frobnicator"], "-device help lists all"),
    (["-nodefaults", "-accel", "jit", "-object", "memory-backend-file,id=m,size=1M"], "needs mem-path="),
    (["-nodefaults", "-chardev", "socket,id=a,host=127.0.0.1,port=99999"], "larger than 65535"),
    (["-nodefaults", "-accel", "jit", "-cpu", "nosuchcpu"], "nosuchcpu"),
    (["-nodefaults", "-accel", "jit", "-smp", "100000"], "between 1 and"),
    (["-nodefaults", "-mon", "chardev=nobody"], "chardev 'nobody' does not exist"),
    (["-nodefaults", "-chardev", "socket,id=a,path=/nonexistent/x,server=on,wait=off"], "/nonexistent/x"),
    (["-nodefaults", "-serial", "file:/nonexistent/x"], "/nonexistent/x"),
    (["-drive", "file=/nonexistent/disk,if=virtio,format=raw", "-nodefaults", "-accel", "jit"], "/nonexistent/disk"),
    (["-nodefaults", "-incoming", "defer"], "later version"),
    (["-pidfile", "/nonexistent/pid", *QUIET], "/nonexistent/pid"),
    (["-daemonize", "-nographic"], "leaves the terminal"),
]


def test_refusals_are_one_sentence():
    for argv, words in REFUSALS:
        done = run(*argv)
        lines = done.stderr.splitlines()
        shown = f"{' '.join(argv)}: status {done.returncode}, said {done.stderr!r}"
        need(done.returncode == 1, shown)
        need(len(lines) == 1 and words in lines[0] and lines[0].startswith("hanok-vm: "), shown)
        need(done.stdout == "", shown)


def test_port_in_use_is_said():
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    done = run(*QUIET, "-qmp", f"tcp:127.0.0.1:{port},server=on,wait=off")
    need(done.returncode == 1 and "Address already in use" in done.stderr, done.stderr)
    taken.close()


def test_help_for_test_suites():
    need("QEMU" in run("--help").stdout, "--help does not say QEMU")
    devices = run("-device", "?").stdout
    need('name "pc-testdev", bus ISA' in devices and 'name "pci-testdev", bus PCI' in devices, devices)
    done = run("-version")
    need(done.returncode == 0 and done.stdout.startswith("hanok-vm version ") and done.stderr == "", done.stdout)


def test_daemon_is_ready_when_the_parent_ends():
    with tempfile.TemporaryDirectory() as work:
        pidfile, path = Path(work) / "pid", Path(work) / "qmp"
        done = run("-S", "-no-user-config", "-nodefaults", "-nographic", "-machine", "none,accel=kvm:tcg", "-qmp",
                   f"unix:{path},server=on,wait=off", "-pidfile", str(pidfile), "-daemonize")
        need(done.returncode == 0 and done.stderr == "", f"{done.returncode} {done.stderr!r}")
        pid = int(pidfile.read_text())
        try:
            client = Qmp(path)
            client.get("qmp_capabilities")
            need(client.get("query-target") == {"arch": "x86_64"}, "query-target")
            again = run(*QUIET, "-pidfile", str(pidfile))
            need(again.returncode == 1 and "locked" in again.stderr, again.stderr)
            need(os.readlink(f"/proc/{pid}/cwd") == "/", "the daemon keeps its directory busy")
        finally:
            os.kill(pid, signal.SIGTERM)
        client.wait_event("SHUTDOWN")
        need(client.read() is None, "the connection did not end")
        end = time.monotonic() + 5 * SLOWNESS
        while pidfile.exists():
            need(time.monotonic() < end, "the pid file was left behind")
            time.sleep(0.02)
    failed = run("-daemonize", *QUIET, "-qmp", "unix:/nonexistent/q,server=on,wait=off")
    need(failed.returncode == 1 and "/nonexistent/q" in failed.stderr, f"{failed.returncode} {failed.stderr!r}")


def test_probing_dialogue():
    with Process(*QUIET, "-machine", "none,accel=kvm:tcg") as vm:
        q = Qmp(vm.qmp)
        q.get("qmp_capabilities")
        version = q.get("query-version")
        need(isinstance(version["package"], str) and version["qemu"]["major"] >= 5, str(version))
        commands = {c["name"] for c in q.get("query-commands")}
        schema = {e["name"]: e for e in q.get("query-qmp-schema")}
        need(commands == {n for n, e in schema.items() if e["meta-type"] == "command"}, "commands and schema differ")
        types = {t["name"] for t in q.get("qom-list-types")}
        for name in ("tcg-accel", "isa-serial", "qemu-xhci", "pcie-root-port", "virtio-blk-pci-transitional",
                     "virtio-rng-pci", "rng-random", "virtio-vga"):
            need(name in types, f"the type {name} is missing")
        need(q.ask("device-list-properties", typename="virtio-net-ccw")["error"]["class"] == "DeviceNotFound", "class")
        for name in ("memory-backend-file", "none-machine"):
            need(isinstance(q.get("qom-list-properties", typename=name), list), name)
        machines = {m["name"]: m for m in q.get("query-machines")}
        need(machines["pc-q35-7.2"]["alias"] == "q35" and machines["pc-q35-7.2"]["hotpluggable-cpus"], "machines")
        cpus = {c["name"] for c in q.get("query-cpu-definitions")}
        need({"max", "qemu64"} <= cpus, str(cpus))
        need("error" in q.ask("nosuch") and q.ask("nosuch")["error"]["class"] == "CommandNotFound", "CommandNotFound")
        q.get("query-kvm")
        q.get("query-command-line-options")
        q.get("query-migrate-capabilities")


def tutorial_argv(listening, agent, disk):
    """The tutorial's command line with its paths replaced by what is here."""
    words = []
    for line in (TOP / "tests/unit/vm/argv/tutorial.args").read_text().splitlines():
        words += line.split(" ", 1)
    replacements = {"fd=27": f"fd={listening.fileno()}", "fd=29": f"fd={agent.fileno()}",
                    "/run/vm/master-key.aes": str(disk.parent / "key")}
    for old, new in replacements.items():
        words = [w.replace(old, new) for w in words]
    words = [str(json.dumps({**json.loads(w), "filename": str(disk)})) if '"filename"' in w else w for w in words]
    words[words.index("-m") + 1] = "256"
    return words


def test_tutorial_command_line_starts():
    with tempfile.TemporaryDirectory() as work:
        disk = Path(work) / "disk.img"
        (Path(work) / "key").write_bytes(b"k" * 32)
        need(run("create", "-q", "-f", "qcow2", str(disk), "64M", program=IMG).returncode == 0, "hanok-img create")
        listening, agent = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        listening.bind(f"{work}/monitor")
        listening.listen(1)
        agent.bind(f"{work}/agent")
        agent.listen(1)
        process = subprocess.Popen([VM, *tutorial_argv(listening, agent, disk)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   pass_fds=[listening.fileno(), agent.fileno()])
        listening.close()
        agent.close()
        try:
            start_dialogue(process, Path(work) / "monitor")
        finally:
            process.kill()
            process.wait()
        said = process.stderr.read().decode()
        need(not said, f"stderr: {said}")


def start_dialogue(process, path):
    q = Qmp(path)
    q.get("qmp_capabilities")
    q.get("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    chardevs = {c["label"]: c for c in q.get("query-chardev")}
    need(chardevs["charserial0"]["filename"].startswith("pty:/dev/pts/"), str(chardevs))
    need(len(q.get("query-hotpluggable-cpus")) == 1, "query-hotpluggable-cpus")
    cpus = q.get("query-cpus-fast")
    need(Path(f"/proc/{process.pid}/task/{cpus[0]['thread-id']}").exists(), "thread-id is no thread of the process")
    need(q.get("qom-list", path=cpus[0]["qom-path"]) == [], "qom-list of a CPU")
    counters = q.get("query-jit")["cpus"][0]["counters"]
    need(all(name in q.get("x-query-jit")["human-readable-text"] for name in counters) and
         {"blocks-translated", "tlb-fills", "exits"} <= set(counters), str(counters))
    peripherals = {p["name"]: p["type"] for p in q.get("qom-list", path="/machine/peripheral")}
    need(peripherals.get("balloon0") == "child<virtio-balloon-pci>", str(peripherals))
    q.get("query-iothreads")
    q.get("query-named-block-nodes", flat=True)
    need(q.get("query-block")[0]["inserted"]["node-name"] == "n1-format", "query-block")
    q.get("balloon", value=256 << 20)
    q.get("query-balloon")
    need(q.get("query-status")["status"] == "prelaunch", "-S")
    q.get("cont")
    q.wait_event("RESUME")
    q.get("stop")
    q.wait_event("STOP")
    need(q.get("query-status") == {"status": "paused", "running": False, "singlestep": False}, "stop")
    q.get("cont")
    q.get("system_reset")
    q.wait_event("RESET")
    process.send_signal(signal.SIGTERM)
    q.wait_event("SHUTDOWN")
    need(process.wait(20 * SLOWNESS) == 0, "SIGTERM")


def test_clients_have_their_own_streams():
    with Process(*BOARD) as vm:
        a, b, silent = Qmp(vm.qmp), Qmp(vm.qmp), Qmp(vm.qmp)
        a.get("qmp_capabilities")
        need(b.ask("query-status")["error"]["class"] == "CommandNotFound", "b was negotiated by a")
        b.get("qmp_capabilities")
        b.socket.sendall(b'{"execute":"query-')
        a.get("cont")
        b.socket.sendall(b'status"}{"execute":"query-name"}')
        b.wait_event("RESUME")
        need(b.read()["return"]["status"] == "running" and b.read() == {"return": {}}, "two requests in three packets")
        silent.socket.settimeout(0.2)
        try:
            need(not silent.socket.recv(1), "a client that has not negotiated was sent something")
        except TimeoutError:
            pass
        a.get("quit")
        a.wait_event("SHUTDOWN")
        status, errors = vm.end()
        need(status == 0 and errors == "", f"{status} {errors!r}")


def test_client_that_does_not_read_costs_little():
    with Process(*QUIET) as vm:
        lazy, other = Qmp(vm.qmp), Qmp(vm.qmp)
        other.get("qmp_capabilities")
        before = resident(vm)
        request = b'{"execute":"qmp_capabilities"}' + b'{"execute":"query-qmp-schema"}' * 4000
        lazy.socket.settimeout(3)
        try:
            lazy.socket.sendall(request)
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            pass
        need(other.get("query-status")["status"] == "prelaunch", "the other client is served")
        need(vm.process.poll() is None, "hanok-vm ended")
        need(resident(vm) - before < 64 << 20, f"memory grew from {before} to {resident(vm)} bytes")


def test_signals_end_in_order():
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with Process(*BOARD, "-no-shutdown") as vm:
            q = Qmp(vm.qmp)
            q.get("qmp_capabilities")
            vm.process.send_signal(sig)
            q.wait_event("SHUTDOWN")
            status, errors = vm.end()
            need(status == 0 and errors == "", f"{sig}: {status} {errors!r}")


def test_sandbox_holds_and_lets_live():
    with Process(*BOARD, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny") as vm:
        q = Qmp(vm.qmp)
        q.get("qmp_capabilities")
        q.get("cont")
        q.get("query-cpus-fast")
        for task in Path(f"/proc/{vm.process.pid}/task").iterdir():
            fields = dict(l.split(":\t", 1) for l in (task / "status").read_text().splitlines() if ":\t" in l)
            need(fields["Seccomp"] == "2" and fields["NoNewPrivs"] == "1", f"a thread has {fields['Seccomp']}")
        q.get("quit")
        need(vm.end()[0] == 0, "quit in the sandbox")


def test_accelerator_line_only_without_a_choice():
    for argv, expected in ((["-accel", "jit"], 0), ([], 1)):
        with Process("-nodefaults", "-display", "none", "-S", *argv) as vm:
            q = Qmp(vm.qmp)
            q.get("qmp_capabilities")
            q.get("quit")
            status, errors = vm.end()
            need(status == 0 and len(errors.splitlines()) == expected, f"{argv}: {errors!r}")


def test_small_programs():
    with tempfile.TemporaryDirectory() as work:
        image = str(Path(work) / "a.img")
        done = run("create", "-f", "raw", image, "10M", program=IMG)
        need(done.returncode == 0 and done.stdout == f"Formatting '{image}', fmt=raw size=10485760\n", done.stdout)
        need(run("resize", image, "+2M", program=IMG).returncode == 0, "resize +2M")
        info = json.loads(run("info", "--output=json", image, program=IMG).stdout)
        need(info["virtual-size"] == 12 << 20 and info["format"] == "raw", str(info))
        refused = run("resize", image, "-4M", program=IMG)
        need(refused.returncode == 1 and "--shrink" in refused.stderr, refused.stderr)
        need(run("resize", "--shrink", image, "-4M", program=IMG).returncode == 0, "resize --shrink")
        need(os.path.getsize(image) == 8 << 20, "size after shrinking")
    for argv in (["accel"], ["accel", "--json"], ["nodeinfo"], ["nodeinfo", "--json"], ["version"], ["help"]):
        done = run(*argv, program=CLI)
        need(done.returncode == 0 and done.stdout and not done.stderr, f"hanok {argv}: {done.stderr}")
        if "--json" in argv:
            json.loads(done.stdout)
    need(run("acell", program=CLI).returncode == 1, "hanok acell")
    need(run("convert", program=IMG).returncode == 1, "hanok-img convert")


def test_image_in_use_is_not_emptied():
    with tempfile.TemporaryDirectory() as work:
        image = Path(work) / "a.img"
        image.write_bytes(b"data" * 1024)
        with Process(*BOARD, "-drive", f"file={image},if=virtio,format=raw"):
            done = run("create", str(image), "1M", program=IMG)
            need(done.returncode == 1 and "in use" in done.stderr, f"{done.returncode} {done.stderr!r}")
        need(image.read_bytes() == b"data" * 1024, "the image changed")


run_tests([(f.__name__.removeprefix("test_").replace("_", " "), f) for f in (
    test_refusals_are_one_sentence, test_port_in_use_is_said, test_help_for_test_suites,
    test_daemon_is_ready_when_the_parent_ends, test_probing_dialogue, test_tutorial_command_line_starts,
    test_clients_have_their_own_streams, test_client_that_does_not_read_costs_little, test_signals_end_in_order,
    test_sandbox_holds_and_lets_live, test_accelerator_line_only_without_a_choice, test_small_programs,
    test_image_in_use_is_not_emptied)])
