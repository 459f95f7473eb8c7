#!/usr/bin/env python3
"""The life of a machine with a Debian guest in it, watched over QMP: every way Linux reboots, what -no-reboot,
-no-shutdown and -action make of it, the power button, a stopped guest's clock, the balloon and its statistics."""
import json
import os
import re
import socket
import tempfile
import time

from vmtest import Failure, Guest, guest_files, run_tests

PROMPT = r"hanok:.*# "


def need(condition, text):
    if not condition:
        raise Failure(text)


class Machine(Guest):
    """A cloud guest at its shell prompt, with a QMP client that remembers the events."""

    def __init__(self, *args, append=""):
        self.work = tempfile.TemporaryDirectory()
        path = os.path.join(self.work.name, "qmp")
        files = guest_files("cloud")
        super().__init__(["-kernel", str(files / "vmlinuz"), "-initrd", str(files / "initrd.img"), "-m", "192",
                          "-append", f"console=ttyS0 {append}", "-nic", "none",
                          "-qmp", f"unix:{path},server=on,wait=off", *args])
        self.events = []
        try:
            self.expect(PROMPT, 90)
            self.qmp = socket.socket(socket.AF_UNIX)
            self.qmp.connect(path)
            self.qmp.settimeout(20)
            self.lines = self.qmp.makefile("r")
            self.lines.readline()
            self.ask("qmp_capabilities")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *unused):
        super().__exit__()
        self.work.cleanup()

    def next_line(self):
        line = self.lines.readline()
        if not line:
            return None
        message = json.loads(line)
        if "event" in message:
            self.events.append((message["event"], message.get("data")))
        return message

    def ask(self, name, **arguments):
        self.qmp.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
        while True:
            message = self.next_line()
            need(message is not None, f"{name}: the connection ended")
            if "event" not in message:
                need("return" in message, f"{name}: {message}")
                return message["return"]

    def wait_event(self, name):
        while not any(e == name for e, _ in self.events):
            need(self.next_line() is not None, f"the connection ended before {name}: {self.events}")

    def all_events(self):
        while self.next_line() is not None:
            pass
        return self.events

    def shell(self, command, timeout=20):
        self.send(command + "; echo E''ND\n")
        start = self.seen
        self.expect("END", timeout)
        return self.output[start:self.seen].decode("utf-8", "replace").replace("\r", "")


def reboots_by(method):
    def test():
        with Machine("-no-reboot", append="reboot=" + method) as m:
            m.send("reboot -f\n")
            need(m.wait(30) == 0, f"exit status {m.process.returncode}")
            need(m.all_events() == [("SHUTDOWN", {"guest": True, "reason": "guest-reset"})], str(m.events))
    return test


def test_reboot_starts_again():
    with Machine() as m:
        m.send("reboot -f\n")
        m.expect("Linux version", 30)
        m.expect(PROMPT, 90)
        m.ask("query-status")
        need(m.events == [("RESET", {"guest": True, "reason": "guest-reset"})], str(m.events))


def test_no_shutdown_stays_stopped():
    with Machine("-no-shutdown") as m:
        m.send("poweroff -f\n")
        m.wait_event("STOP")
        need([e for e, _ in m.events] == ["SHUTDOWN", "STOP"], str(m.events))
        need(m.ask("query-status")["status"] == "shutdown", "the status is not shutdown")
        m.ask("quit")
        need(m.wait(10) == 0, "quit")


def test_power_button():
    with Machine(append="hanok.button") as m:
        m.ask("system_powerdown")
        need(m.wait(30) == 0, f"exit status {m.process.returncode}")
        need([e for e, _ in m.all_events()] == ["POWERDOWN", "SHUTDOWN"], str(m.events))


def test_stopped_time_stands_still():
    with Machine() as m:
        before = float(re.search(r"\n(\d+\.\d+) ", m.shell("cat /proc/uptime"))[1])
        m.ask("stop")
        time.sleep(5)  # the window that must not be seen
        m.ask("cont")
        after = float(re.search(r"\n(\d+\.\d+) ", m.shell("cat /proc/uptime"))[1])
        need(0 <= after - before < 3, f"the guest saw {after - before:.1f} s pass")


def test_balloon():
    with Machine("-device", "virtio-balloon-pci,id=b") as m:
        need(m.ask("query-balloon")["actual"] == 192 << 20, "not all of -m is the guest's at the start")
        m.ask("balloon", value=150 << 20)
        deadline = time.monotonic() + 20
        while m.ask("query-balloon")["actual"] != 150 << 20:
            need(time.monotonic() < deadline, f"the guest gives nothing back: {m.ask('query-balloon')}")
            time.sleep(0.2)
        m.ask("qom-set", path="/machine/peripheral/b", property="guest-stats-polling-interval", value=1)
        while True:
            stats = m.ask("qom-get", path="/machine/peripheral/b", property="guest-stats")
            if stats["last-update"]:
                break
            need(time.monotonic() < deadline, f"no statistics: {stats}")
            time.sleep(0.2)
        free = stats["stats"]["stat-free-memory"]
        need(1 << 20 < free < 150 << 20, f"the guest says {free} bytes are free")


if __name__ == "__main__":
    run_tests([(f"reboot={how}", reboots_by(how)) for how in ("acpi", "kbd", "triple", "pci", "bios")] + [
        ("reboot starts again", test_reboot_starts_again),
        ("-no-shutdown stays, stopped", test_no_shutdown_stays_stopped),
        ("the power button", test_power_button),
        ("a stopped guest's time stands still", test_stopped_time_stands_still),
        ("balloon and statistics", test_balloon),
    ])
