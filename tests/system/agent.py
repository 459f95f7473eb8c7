#!/usr/bin/env python3
"""A stock qemu-guest-agent behind a virtio-serial port: it is found by its name and answers, commands run and what
they write comes back whole.  Also when the port comes while the guest runs."""
import base64
import json
import socket
import tempfile
import time

from desktop import desktop_disk
from firmware_parts import Qmp
from vmtest import SLOWNESS, Failure, Guest, guest_files, run_tests

PORT = "org.qemu.guest_agent.0"


class Agent:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60 * SLOWNESS)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")
        # what was said before belongs to nobody: 0xff comes before the answer
        self.sock.sendall(b'\xff{"execute":"guest-sync-delimited","arguments":{"id":4711}}\n')
        while self.file.read(1) != b"\xff":
            pass
        if json.loads(self.file.readline()) != {"return": 4711}:
            raise Failure("the agent does not sync")

    def run(self, command, answer=True, **arguments):
        self.sock.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        if not answer:
            return None
        reply = json.loads(self.file.readline())
        if "return" not in reply:
            raise Failure(f"{command}: {reply}")
        return reply["return"]

    def execute(self, path, *words):
        pid = self.run("guest-exec", path=path, arg=list(words), **{"capture-output": True})["pid"]
        end = time.monotonic() + 60 * SLOWNESS
        while time.monotonic() < end:
            status = self.run("guest-exec-status", pid=pid)
            if status["exited"]:
                return status["exitcode"], base64.b64decode(status.get("out-data", "")).decode()
            time.sleep(0.1)
        raise Failure(f"{path} does not end")


def machine(work, *more):
    directory, disk = guest_files("generic"), desktop_disk()
    return Guest(["-accel", "jit", "-m", "512", "-nodefaults", "-no-reboot", "-serial", "stdio", "-display", "none",
                  "-kernel", str(directory / "vmlinuz"), "-initrd", str(directory / "initrd.img"),
                  "-append", "console=ttyS0 quiet root=/dev/vda",
                  "-drive", f"file={disk},format=raw,if=virtio,snapshot=on", "-device", "virtio-serial-pci,id=vs",
                  "-chardev", f"socket,id=ga,path={work}/ga,server=on,wait=off",
                  "-qmp", f"unix:{work}/qmp,server=on,wait=off", *more], serial=False)


def start_agent(guest):
    guest.send(f"until [ -e /dev/virtio-ports/{PORT} ]; do sleep 0.1; done; echo port-$((1+1))\n")
    guest.expect("port-2", 60)
    guest.send(f"qemu-ga -m virtio-serial -p /dev/virtio-ports/{PORT} & echo agent-$((1+1))\n")
    guest.expect("agent-2", 60)


def answers():
    with tempfile.TemporaryDirectory() as work, \
            machine(work, "-device", f"virtserialport,bus=vs.0,chardev=ga,name={PORT}") as guest:
        guest.expect("desktop guest: up after", 300)
        start_agent(guest)
        agent = Agent(f"{work}/ga")
        info = agent.run("guest-info")
        if not any(c["name"] == "guest-exec" and c["enabled"] for c in info["supported_commands"]):
            raise Failure(f"the agent says {info}")
        if agent.run("guest-get-osinfo").get("version-id") != "12":
            raise Failure(f"it is not Debian 12: {agent.run('guest-get-osinfo')}")
        if agent.execute("/bin/sh", "-c", "seq 1 20000; exit 3") != (3, "".join(f"{i}\n" for i in range(1, 20001))):
            raise Failure("what the command wrote has not come back whole")
        agent.run("guest-sync", id=1)
        guest.send("echo o >/proc/sysrq-trigger\n")
        if guest.wait(60) != 0:
            raise Failure(f"hanok-vm ended with {guest.process.returncode}")


def port_comes_later():
    with tempfile.TemporaryDirectory() as work, machine(work) as guest:
        guest.expect("desktop guest: up after", 300)
        with Qmp(f"{work}/qmp") as q:
            q.run("device_add", driver="virtserialport", bus="vs.0", chardev="ga", name=PORT, id="port")
            start_agent(guest)
            if q.event("VSERPORT_CHANGE") != {"id": "port", "open": True}:
                raise Failure("nobody tells that the agent has opened its port")
            agent = Agent(f"{work}/ga")
            if agent.execute("/bin/echo", "here") != (0, "here\n"):
                raise Failure("echo says something else")
            guest.send("kill $!\n")
            if q.event("VSERPORT_CHANGE") != {"id": "port", "open": False}:
                raise Failure("nobody tells that the agent has gone")


if __name__ == "__main__":
    run_tests([("the agent answers", answers), ("its port comes while the guest runs", port_comes_later)])
