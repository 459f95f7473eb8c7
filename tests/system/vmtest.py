"""vmtest - what the system tests share: start hanok-vm, talk to its serial console, judge, report as TAP.

Only the standard library.  A Guest owns one hanok-vm process whose first serial port is on a pseudo-terminal
(so that it behaves as at a person's screen).  Every wait has a bound; nothing sleeps for a fixed time.
"""
import http.server
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import termios
import threading
import time
import traceback

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
CACHE = pathlib.Path(os.environ.get("HANOK_CACHE", TOP / ".cache/guest"))
VM = os.environ.get("HANOK_VM", str(TOP / "build/hanok-vm"))
SLOWNESS = float(os.environ.get("HANOK_TEST_SLOWNESS", "1"))


class Failure(Exception):
    """A test's verdict: what was expected and what came instead."""


class Skip(Exception):
    """The test cannot run here; the text says why."""


class Guest:
    def __init__(self, args, serial=True):
        self.output = b""
        self.seen = 0
        self.master, slave = pty.openpty()
        attrs = termios.tcgetattr(slave)
        attrs[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attrs)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        argv = [VM] + args + (["-nographic"] if serial else [])
        self.argv = argv
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=subprocess.PIPE, start_new_session=True)
        self.stderr = b""
        self.reader = threading.Thread(target=self._read_stderr, daemon=True)
        self.reader.start()

    def _read_stderr(self):
        self.stderr = self.process.stderr.read()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join(5)
        os.close(self.master)
        os.close(self.slave)

    def _pump(self, timeout):
        ready, _, _ = select.select([self.master], [], [], timeout)
        if ready:
            try:
                self.output += os.read(self.master, 65536)
            except OSError:
                return False
        return True

    def text(self):
        return self.output.decode("utf-8", "replace").replace("\r", "")

    def expect(self, pattern, timeout=60):
        """Waits for pattern in the output not yet consumed; returns the match."""
        end = time.monotonic() + timeout * SLOWNESS
        while True:
            m = re.search(pattern.encode(), self.output[self.seen:])
            if m:
                self.seen += m.end()
                return m
            if time.monotonic() > end:
                raise Failure(f"waited {timeout * SLOWNESS:.0f} s for {pattern!r}; last output:\n{self.text()[-1500:]}")
            if self.process.poll() is not None and not select.select([self.master], [], [], 0)[0]:
                self.reader.join(2)
                raise Failure(f"hanok-vm ended with {self.process.returncode} while waiting for {pattern!r}\n"
                              f"stderr: {self.stderr.decode('utf-8', 'replace')}\noutput:\n{self.text()[-1500:]}")
            self._pump(0.2)

    def drain(self, seconds):
        """Reads output for that long (a measurement's window, not a wait for something)."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._pump(min(0.5, max(0, end - time.monotonic())))

    def send(self, text):
        os.write(self.master, text.encode() if isinstance(text, str) else text)

    def wait(self, timeout=60):
        """Waits for the end of the process, draining its output; returns the exit status."""
        end = time.monotonic() + timeout * SLOWNESS
        while self.process.poll() is None:
            if time.monotonic() > end:
                raise Failure(f"hanok-vm still runs after {timeout * SLOWNESS:.0f} s; last output:\n{self.text()[-1500:]}")
            self._pump(0.1)
        while select.select([self.master], [], [], 0)[0] and self._pump(0):
            pass
        self.reader.join(5)
        return self.process.returncode


class WebServer:
    """An HTTP server on the host; answers every path with the token."""

    def __init__(self, token):
        body = token.encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *unused):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def guest_files(flavour):
    """Directory with vmlinuz, initrd.img and root.img of a kernel flavour; makes them when missing or out of date."""
    directory = CACHE / f"guest-{flavour}"
    # prepare.sh makes what is missing or older than its scripts, and is quick when nothing is
    made = subprocess.run(["sh", str(TOP / "scripts/guest/prepare.sh"), flavour], capture_output=True, text=True)
    if made.returncode:
        raise Skip(f"no {flavour} guest and it cannot be made here: {made.stderr.strip()[-300:]}")
    return directory


def run_tests(tests):
    """tests: list of (name, function).  Prints TAP; exit status says whether all passed."""
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, (name, function) in enumerate(tests, 1):
        start = time.monotonic()
        try:
            function()
            print(f"ok {number} - {name}", flush=True)
        except Skip as why:
            print(f"ok {number} - {name} # SKIP {why}", flush=True)
        except Exception as problem:  # a verdict or a bug in the test: both fail it
            failed += 1
            print(f"not ok {number} - {name}", flush=True)
            text = str(problem) if isinstance(problem, Failure) else traceback.format_exc()
            for line in text.splitlines():
                print(f"# {line}")
        print(f"# {time.monotonic() - start:.1f} s", flush=True)
    sys.exit(1 if failed else 0)
