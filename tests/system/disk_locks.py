#!/usr/bin/env python3
"""One image, two programs: whoever comes second is refused exactly when QEMU's own programs would refuse each other,
in both directions (hanok-vm, hanok-img, qemu-img, qemu-io, qemu-system-x86_64), and the refusal names the holder."""
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from process import IMG, Process, need, run
from vmtest import SLOWNESS, Failure, Skip, run_tests

BOARD = ["-nodefaults", "-display", "none", "-accel", "jit", "-S"]
KINDS = ("raw", "qcow2")


def needs(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")


class Images:
    """a.raw, a.qcow2, and top.qcow2 over a.qcow2, each 1 MiB."""

    def __enter__(self):
        self.work = tempfile.TemporaryDirectory()
        top = Path(self.work.name)
        self.raw, self.qcow2, self.top = (str(top / n) for n in ("a.raw", "a.qcow2", "top.qcow2"))
        self.new = str(top / "new.raw")
        for kind, path in (("raw", self.raw), ("qcow2", self.qcow2)):
            subprocess.run(["qemu-img", "create", "-q", "-f", kind, path, "1M"], check=True)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", self.qcow2, "-F", "qcow2", self.top], check=True)
        return self

    def __exit__(self, *unused):
        self.work.cleanup()

    def of(self, kind):
        return {"raw": self.raw, "qcow2": self.qcow2}[kind]


def ofd_locks(path):
    """Bytes of the image that anybody has locked, from the kernel's table."""
    inode = Path(path).stat().st_ino
    found = set()
    for line in Path("/proc/locks").read_text().splitlines():
        f = line.split()
        if "OFDLCK" in f and f[f.index("OFDLCK") + 4].endswith(f":{inode}"):
            first, last = f[f.index("OFDLCK") + 5:f.index("OFDLCK") + 7]
            found.update(range(int(first), int(last) + 1))
    return sorted(found)


class Holder:
    """A program of QEMU's that keeps an image open until it is told to end."""

    def __init__(self, argv, path):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        end = time.monotonic() + 20 * SLOWNESS
        while not ofd_locks(path):
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failure(f"{argv} holds no lock: {self.process.stdout.read().decode()}")
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


def drive(kind, path, more=""):
    return ["-drive", f"file={path},format={kind},if=none,id=d{more}", "-device", "virtio-blk-pci,drive=d"]


def start_refused(kind, path, more=""):
    done = run(*BOARD, *drive(kind, path, more))
    need(done.returncode == 1 and "in use" in done.stderr, f"hanok-vm: {done.returncode} {done.stderr!r}")
    return done.stderr


def test_bytes_are_the_same_as_qemus():
    needs("qemu-img", "qemu-system-x86_64")
    for more, device in (("", ""), (",readonly=on", ""), ("", ",share-rw=on")):
        for kind in KINDS:
            with Images() as images:
                argv = drive(kind, images.of(kind), more)
                argv[-1] += device
                with Holder(["qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "q35", "-accel", "tcg",
                             "-S", *argv], images.of(kind)):
                    time.sleep(0.3)  # it takes the bytes one after the other
                    theirs = ofd_locks(images.of(kind))
                with Process(*BOARD, *argv):
                    ours = ofd_locks(images.of(kind))
                need(ours == theirs, f"{kind}{more}{device}: hanok-vm holds {ours}, QEMU {theirs}")


def test_backing_images_have_their_own():
    needs("qemu-img", "qemu-io")
    with Images() as images:
        with Holder(["qemu-io", "-f", "qcow2", images.top], images.top):
            time.sleep(0.3)
            theirs = ofd_locks(images.qcow2)
        with Process(*BOARD, *drive("qcow2", images.top)):
            ours = ofd_locks(images.qcow2)
            done = subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write 0 512", images.qcow2], capture_output=True)
            need(done.returncode != 0 and b"lock" in done.stdout + done.stderr, "qemu-io wrote to a backing image in use")
        need(ours == theirs, f"the backing image: {ours}, QEMU {theirs}")


def test_qemu_tools_are_refused_by_hanok_vm():
    needs("qemu-img", "qemu-io")
    for kind in KINDS:
        with Images() as images, Process(*BOARD, *drive(kind, images.of(kind))):
            path = images.of(kind)
            for argv in (["qemu-io", "-f", kind, "-c", "write 0 512", path], ["qemu-img", "resize", "-f", kind, path, "2M"]):
                done = subprocess.run(argv, capture_output=True, text=True)
                need("lock" in done.stdout + done.stderr, f"{argv} was let in: {done.stdout}{done.stderr}")
            done = subprocess.run(["qemu-img", "info", "-U", "-f", kind, path], capture_output=True)
            need(done.returncode == 0, f"qemu-img info -U: {done.stderr}")


def test_hanok_is_refused_by_qemu_io_and_names_it():
    needs("qemu-img", "qemu-io")
    for kind in KINDS:
        with Images() as images:
            path = images.of(kind)
            with Holder(["qemu-io", "-f", kind, path], path) as holder:
                who = f"process {holder.process.pid} (qemu-io)"
                need(who in start_refused(kind, path), f"hanok-vm does not name {who}")
                done = run("resize", "-f", kind, path, "2M", program=IMG)
                need(done.returncode == 1 and who in done.stderr, f"hanok-img resize: {done.stderr!r}")
                done = run("create", "-f", kind, path, "2M", program=IMG)
                need(done.returncode == 1 and who in done.stderr, f"hanok-img create: {done.stderr!r}")
                done = run("info", "-U", path, program=IMG)
                need(done.returncode == 0, f"hanok-img info -U: {done.stderr!r}")


def test_readers_meet_as_with_qemu_img():
    """What a reader may do beside a machine: the answer of hanok-img is qemu-img's."""
    needs("qemu-img", "qemu-system-x86_64")
    for kind in KINDS:
        with Images() as images:
            path = images.of(kind)
            with Holder(["qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "q35", "-accel", "tcg", "-S",
                         *drive(kind, path)], path):
                time.sleep(0.3)
                for argv in (["info", path], ["info", "-U", path], ["convert", "-f", kind, "-O", "raw", path, images.new],
                             ["convert", "-U", "-f", kind, "-O", "raw", path, images.new]):
                    theirs = subprocess.run(["qemu-img", *argv], capture_output=True, text=True)
                    ours = run(*argv, program=IMG)
                    need(theirs.returncode == ours.returncode,
                         f"{kind} {argv[:-1]}: qemu-img {theirs.returncode} {theirs.stderr!r}, ours {ours.returncode} "
                         f"{ours.stderr!r}")


def test_hanok_vm_is_refused_by_hanok_vm_and_qemu():
    needs("qemu-img")
    for kind in KINDS:
        with Images() as images:
            path = images.of(kind)
            with Process(*BOARD, *drive(kind, path)) as vm:
                text = start_refused(kind, path)
                need(f"process {vm.process.pid} (hanok-vm)" in text, text)
                if shutil.which("qemu-system-x86_64"):
                    done = subprocess.run(["qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "q35", "-S",
                                           *drive(kind, path)], capture_output=True, timeout=60 * SLOWNESS)
                    need(b"lock" in done.stderr, f"QEMU was let in: {done.stderr}")
                vm.process.kill()  # the kernel frees the locks of the dead
                vm.process.wait()
            with Process(*BOARD, *drive(kind, path)):
                pass


def test_locking_off_and_shared():
    needs("qemu-img")
    with Images() as images:
        with Process(*BOARD, "-blockdev", f"raw,node-name=d,file.driver=file,file.filename={images.raw},file.locking=off",
                     "-device", "virtio-blk-pci,drive=d"):
            need(ofd_locks(images.raw) == [], "locking=off locks")
        shared = drive("raw", images.raw)
        shared[-1] += ",share-rw=on"
        with Process(*BOARD, *shared), Process(*BOARD, *shared):
            start_refused("raw", images.raw)


run_tests([(f.__name__.removeprefix("test_").replace("_", " "), f) for f in (
    test_bytes_are_the_same_as_qemus, test_backing_images_have_their_own, test_qemu_tools_are_refused_by_hanok_vm,
    test_hanok_is_refused_by_qemu_io_and_names_it, test_readers_meet_as_with_qemu_img,
    test_hanok_vm_is_refused_by_hanok_vm_and_qemu, test_locking_off_and_shared)])
