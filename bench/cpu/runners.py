"""runners - where a test runs: on the host, or in a guest of hanok-vm or QEMU.  Only the standard library.

A runner's run() returns a Run.  The guest and the host's process are `cpubench run NAME SCALE --wait`
(see main.c): they stop before and after the work until they are told to go on, and clocks are read then.
"""
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import procs  # noqa: E402  (needs the path above)

RAM_MIB = 1024


class Broken(Exception):
    """This run has no result; the text says why.  The runner's machine, if any, is gone."""


class Run(NamedTuple):
    checksum: str
    cpu: float  # seconds of host CPU time
    wall: float
    units: int


class Boot(NamedTuple):
    cpu: float  # process start to the first process of the guest
    wall: float
    beyond_ram: float  # resident MiB besides guest RAM, once the guest waits for work


def how_it_ended(status):
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with {status}"


class Lines:
    """Lines from a file descriptor, each with a deadline; died() says in words that the other end has gone."""

    def __init__(self, fd, died):
        self.fd, self.died, self.rest = fd, died, b""

    def next(self, deadline):
        while b"\n" not in self.rest:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Broken("took too long")
            if select.select([self.fd], [], [], min(left, 0.5))[0]:
                got = os.read(self.fd, 4096)
                if not got:
                    raise Broken(self.died())
                self.rest += got
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode("utf-8", "replace")

    def expect(self, word, deadline):
        line = self.next(deadline)
        if line.split(" ")[0] != word:
            raise Broken(f"said {line!r} where {word!r} was due")
        return line.split(" ")[1:]


def measured(lines, go_on, cpu_now, deadline):
    """One run's exchange; cpu_now() is read while the other side waits (None: what the run itself says counts)."""
    lines.expect("ready", deadline)
    cpu, wall = cpu_now() if cpu_now else 0, time.perf_counter()
    go_on()
    lines.expect("stop", deadline)
    wall, cpu = time.perf_counter() - wall, cpu_now() - cpu if cpu_now else 0
    go_on()
    checksum, own_cpu, _, units = lines.expect("done", deadline)
    return Run(checksum, cpu if cpu_now else int(own_cpu) / 1e9, wall, int(units))


class Native:
    """On the host, inside the guest's tree of programs, with a private /tmp in memory."""

    label = "native"

    def __init__(self, root):
        enter = ('mount -t tmpfs tmp "$1/tmp" && mount --rbind /dev "$1/dev" && mount --rbind /proc "$1/proc" && '
                 'exec chroot "$1" /bench/cpubench run "$2" "$3" --wait')
        self.argv = ["unshare", "--map-root-user", "--mount", "sh", "-c", enter, "sh", str(root)]
        if os.geteuid() == 0:
            self.argv.remove("--map-root-user")

    def run(self, name, scale, limit):
        with subprocess.Popen(self.argv + [name, str(scale)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            def died():
                return "ended early: " + process.stderr.read().decode("utf-8", "replace").strip()[-300:]

            def go_on():
                process.stdin.write(b"\n")
                process.stdin.flush()
            try:
                return measured(Lines(process.stdout.fileno(), died), go_on, None, time.monotonic() + limit)
            except BrokenPipeError:
                raise Broken(died()) from None
            finally:
                if process.poll() is None:
                    process.stdin.close()
                    try:
                        process.wait(5)
                    except subprocess.TimeoutExpired:
                        process.kill()

    def close(self):
        pass


class Machine:
    """One VM: boot() starts it anew; process is None when it is not there."""

    def __init__(self, label, argv, files, cpus):
        self.label, self.files, self.cpus = label, files, cpus
        self.argv = argv
        self.process = None

    def _listen(self, directory, name):
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(pathlib.Path(directory) / name))
        server.listen(1)
        server.settimeout(0.2)
        return server

    def _accept(self, server, deadline):
        while True:
            try:
                connection = server.accept()[0]
                connection.setblocking(True)
                return connection
            except TimeoutError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise Broken(self._died()) from None

    def _died(self):
        self._kill()
        self.reader.join(2)
        text = "".join(self.log)[-600:].strip().replace("\n", "\n    ")
        stderr = pathlib.Path(self.work.name, "stderr").read_text(errors="replace")[-600:]
        return f"{self.label} ended {how_it_ended(self.process.returncode)}\n    {stderr.strip()}\n    {text}"

    def _read_serial(self, connection, start):
        self.log, self.init = [], None
        while True:
            try:
                got = connection.recv(65536)
            except OSError:
                got = b""
            if not got:
                return
            self.log.append(got.decode("utf-8", "replace").replace("\r", ""))
            if self.init is None and "hanok-bench: init" in "".join(self.log[-2:]):
                self.init = procs.cpu_seconds(self.process.pid), time.perf_counter() - start

    def boot(self, limit=300):
        """Starts the machine; returns a Boot."""
        self.close()
        self.work = tempfile.TemporaryDirectory(prefix="hanok-bench.")
        directory = self.work.name
        port, serial = self._listen(directory, "port"), self._listen(directory, "serial")
        argv = self.argv + [
            "-machine", "q35", "-cpu", "max", "-m", str(RAM_MIB), "-smp", str(self.cpus), "-nodefaults", "-no-reboot",
            "-display", "none", "-chardev", f"socket,id=serial,path={directory}/serial", "-serial", "chardev:serial",
            "-chardev", f"socket,id=port,path={directory}/port", "-device", "virtio-serial-pci",
            "-device", "virtserialport,chardev=port,name=org.hanok.bench",
            "-drive", f"file={self.files}/root.img,format=raw,if=virtio,readonly=on",
            "-kernel", f"{self.files}/vmlinuz", "-initrd", f"{self.files}/initrd.img",
            "-append", "console=ttyS0 quiet panic=-1"]
        deadline = time.monotonic() + limit
        start = time.perf_counter()
        with open(pathlib.Path(directory, "stderr"), "w") as stderr:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
        self.log = []
        self.reader = threading.Thread(target=lambda: None)
        self.reader.start()
        serial_connection = self._accept(serial, deadline)
        self.reader = threading.Thread(target=self._read_serial, args=(serial_connection, start), daemon=True)
        self.reader.start()
        self.port = self._accept(port, deadline)
        port.close()
        serial.close()
        self.lines = Lines(self.port.fileno(), self._died)
        try:
            self.lines.expect("up", deadline)
        except Broken as why:
            self._kill()
            raise Broken(f"no boot: {why}") from None
        total, ram = procs.resident_kib(self.process.pid, RAM_MIB)
        cpu, wall = self.init or (procs.cpu_seconds(self.process.pid), time.perf_counter() - start)
        return Boot(cpu, wall, (total - ram) / 1024)

    def run(self, name, scale, limit):
        """On the booted machine; after Broken it is not there any more."""
        deadline = time.monotonic() + limit
        pid = self.process.pid
        try:
            self.port.sendall(f"{name} {scale}\n".encode())
            run = measured(self.lines, lambda: self.port.sendall(b"\n"), lambda: procs.cpu_seconds(pid), deadline)
            self.lines.expect("ended", deadline)
            return run
        except OSError as problem:
            raise Broken(f"{self._died()}: {problem}") from None
        except Broken as why:
            tail = "".join(self.log)[-400:].strip()
            self.close()
            raise Broken(f"{why}" + (f"\n    {tail}" if tail and tail not in str(why) else "")) from None

    def _kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def close(self):
        if self.process is None:
            return
        self._kill()
        self.port.close()
        self.reader.join(2)
        self.process = None
        self.work.cleanup()
