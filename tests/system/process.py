"""The programs as processes, and a QMP client: what the tests share that need no guest."""
import json
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from vmtest import SLOWNESS, VM, Failure

IMG = os.environ.get("HANOK_IMG", str(Path(VM).parent / "hanok-img"))


def run(*argv, program=VM):
    return subprocess.run([program, *argv], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          timeout=30 * SLOWNESS)


def need(condition, text):
    if not condition:
        raise Failure(text)


class Qmp:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20 * SLOWNESS)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rb")
        self.events = []
        need("QMP" in self.read(), "there is no greeting")

    def read(self):
        line = self.file.readline()
        return json.loads(line) if line else None

    def ask(self, name, **arguments):
        """The whole reply; events that come before it are kept."""
        request = {"execute": name, "id": name}
        if arguments:
            request["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.socket.sendall(json.dumps(request).encode())
        while True:
            reply = self.read()
            need(reply is not None, f"the connection ended after {name}")
            if "event" not in reply:
                need(reply.get("id") == name, f"{name} was answered by {reply}")
                return reply
            self.events.append(reply["event"])

    def get(self, name, **arguments):
        reply = self.ask(name, **arguments)
        need("return" in reply, f"{name}: {reply}")
        return reply["return"]

    def wait_event(self, name):
        while name not in self.events:
            message = self.read()
            need(message is not None, f"the connection ended before {name}")
            if "event" in message:
                self.events.append(message["event"])


class Process:
    """hanok-vm in the foreground with a QMP socket; stderr is kept."""

    def __init__(self, *argv):
        self.work = tempfile.TemporaryDirectory()
        self.qmp = Path(self.work.name) / "qmp"
        self.process = subprocess.Popen([VM, "-qmp", f"unix:{self.qmp},server=on,wait=off", *argv],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        end = time.monotonic() + 20 * SLOWNESS
        while not self.qmp.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failure("hanok-vm did not start: " + self.process.stderr.read().decode())
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.work.cleanup()

    def end(self):
        status = self.process.wait(20 * SLOWNESS)
        return status, self.process.stderr.read().decode()
