"""firmware_parts - a disk with GRUB, drives, and a QMP client, for tests that start from firmware."""
import json
import socket
import subprocess

from vmtest import TOP, Failure, Skip


def grub(what):
    try:
        done = subprocess.run([TOP / "scripts/guest/make-grub-disk.sh", "cloud"], capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as e:
        raise Skip(e.stderr.strip()) from e
    return f"{done.stdout.strip()}/{what}"


def grub_disk():
    return grub("disk.img")


class Qmp:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.file = self.sock.makefile("rw")

    def __enter__(self):
        self.file.readline()
        self.run("qmp_capabilities")
        return self

    def __exit__(self, *unused):
        self.sock.close()

    def run(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if "error" in answer:
                raise Failure(f"{command}: {answer['error']}")
            if "return" in answer:
                return answer["return"]


def drive(disk, **more):
    return ["-drive", ",".join([f"file={disk}", "format=raw", "readonly=on"] + [f"{k}={v}" for k, v in more.items()])]
