#!/usr/bin/env python3
"""Network cards under a stock Debian kernel: address by DHCP, bulk data both ways, the link cut and mended; Intel's, and
virtio-net with several queues.

  nic.py              all cards
  nic.py e1000e       one of them
"""
import hashlib
import http.server
import socket
import sys
import tempfile
import threading

from firmware_parts import Qmp
from vmtest import Failure, Guest, guest_files, run_tests

MEGABYTES = 8


class Source:
    """Serves a few megabytes of noise over HTTP, and hashes what is sent to a second port."""

    def __init__(self):
        noise = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(MEGABYTES << 15))
        self.digest = hashlib.sha256(noise).hexdigest()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(noise)))
                self.end_headers()
                self.wfile.write(noise)

            def log_message(self, *unused):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.sink = socket.create_server(("127.0.0.1", 0))
        self.sink_port = self.sink.getsockname()[1]
        self.received = None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.taker = threading.Thread(target=self.take, daemon=True)
        self.taker.start()

    def take(self):
        try:
            connection, _ = self.sink.accept()
        except OSError:
            return
        digest = hashlib.sha256()
        with connection:
            while data := connection.recv(1 << 16):
                digest.update(data)
        self.received = digest.hexdigest()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.sink.close()


# model: driver, its options, what else the machine has, queue pairs the guest sees
MODELS = {"e1000": ("e1000", "", [], 1), "e1000e": ("e1000e", "", [], None),
          "virtio-net-pci": ("virtio_net", ",mq=on", ["-smp", "2"], 2)}


def card(model):
    driver, options, more, queues = MODELS[model]
    directory = guest_files("generic")
    source = Source()
    with tempfile.TemporaryDirectory() as work:
        args = ["-accel", "jit", "-m", "384", "-nodefaults", "-no-reboot", "-serial", "stdio", "-display", "none",
                "-kernel", str(directory / "vmlinuz"), "-initrd", str(directory / "initrd.img"),
                "-append", "console=ttyS0 loglevel=4 hanok.net", "-netdev", "user,id=n0",
                "-device", f"{model},netdev=n0,mac=52:54:00:77:66:55{options}",
                "-qmp", f"unix:{work}/qmp,server=on,wait=off", *more]
        with Guest(args, serial=False) as g:
            g.expect(r"hanok:~# ", 240)
            g.send("cat /sys/class/net/eth0/address; readlink /sys/class/net/eth0/device/driver\n")
            g.expect(rf"52:54:00:77:66:55[\s\S]*/{driver}\b")
            if queues:
                g.send("echo pairs-$(ls -d /sys/class/net/eth0/queues/rx-* | wc -l)\n")
                g.expect(rf"pairs-{queues}\b")
            g.send(f"wget -q -O /tmp/noise http://10.0.2.2:{source.port}/; sha256sum /tmp/noise\n")
            g.expect(source.digest, 240)
            g.send(f"nc 10.0.2.2 {source.sink_port} < /tmp/noise; echo sent-$?\n")
            g.expect("sent-0", 240)
            source.taker.join(60)
            if source.received != source.digest:
                raise Failure(f"the host has received {source.received} instead of {source.digest}")
            with Qmp(f"{work}/qmp") as qmp:
                qmp.run("set_link", name="n0", up=False)
                g.send("while [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do usleep 100000; done; echo cut-done\n")
                g.expect("\ncut-done", 60)
                qmp.run("set_link", name="n0", up=True)
            g.send("while [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do usleep 100000; done; ping -c1 -W20 10.0.2.2\n")
            g.expect("1 packets received", 60)
            for counter in ("rx_errors", "tx_errors", "rx_crc_errors"):
                g.send(f"echo {counter}=$(cat /sys/class/net/eth0/statistics/{counter})\n")
                g.expect(f"{counter}=0\\b")
            g.send("poweroff\n")
            if g.wait(60):
                raise Failure(f"hanok-vm ended with {g.process.returncode}")
            text = g.text()
            for bad in ("Hang", "NETDEV WATCHDOG", "Call Trace", "hw csum failure"):
                if bad in text:
                    raise Failure(f"the driver complained ({bad}):\n{text[-3000:]}")
    source.close()


models = sys.argv[1:] or list(MODELS)
run_tests([(model, lambda m=model: card(m)) for model in models])
