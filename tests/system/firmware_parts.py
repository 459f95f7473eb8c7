"""firmware_parts - a disk with GRUB, drives, OVMF in flash, and a QMP client, for tests that start from firmware."""
import json
import pathlib
import shutil
import socket
import subprocess

from vmtest import SLOWNESS, TOP, Failure, Skip

CODE = pathlib.Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARS = pathlib.Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


def flash(work, code=CODE, variables=VARS):
    if not code.exists():
        raise Skip("OVMF is not installed: scripts/packages.sh guest")
    copy = pathlib.Path(work) / "vars.fd"
    if not copy.exists():
        shutil.copyfile(variables, copy)
    return ["-m", "512", "-nic", "none",
            "-blockdev", f"driver=file,node-name=code-file,filename={code},read-only=on",
            "-blockdev", "driver=raw,node-name=code,file=code-file,read-only=on",
            "-blockdev", f"driver=file,node-name=vars-file,filename={copy}",
            "-blockdev", "driver=raw,node-name=vars,file=vars-file",
            "-machine", "q35,pflash0=code,pflash1=vars"], copy


def grub(what, *wait):
    """A disk, CD-ROM or folder with GRUB; with "wait" its menu stays until a key is pressed."""
    try:
        done = subprocess.run([TOP / "scripts/guest/make-grub-disk.sh", "cloud", *wait], capture_output=True, text=True,
                              check=True)
    except subprocess.CalledProcessError as e:
        raise Skip(e.stderr.strip()) from e
    return f"{done.stdout.strip()}/{what}"


def grub_disk():
    return grub("disk.img")


class Qmp:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120 * SLOWNESS)
        self.sock.connect(path)
        self.file = self.sock.makefile("rw")
        self.events = []  # that came between answers

    def __enter__(self):
        self.file.readline()
        self.run("qmp_capabilities")
        return self

    def __exit__(self, *unused):
        self.sock.close()

    def event(self, name):
        """Waits for an event; returns its data."""
        while True:
            message = self.events.pop(0) if self.events else json.loads(self.file.readline())
            if message.get("event") == name:
                return message.get("data", {})

    def run(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if "event" in answer:
                self.events.append(answer)
            if "error" in answer:
                raise Failure(f"{command}: {answer['error']}")
            if "return" in answer:
                return answer["return"]


def drive(disk, readonly=True, **more):
    words = [f"file={disk}", "format=raw"] + ["readonly=on"] * readonly
    return ["-drive", ",".join(words + [f"{k}={v}" for k, v in more.items()])]
