"""imgtest - what the image tests share: hanok-img and qemu-img side by side, each in its own copy of a folder.

Only the standard library.  The oracle is the distribution's qemu-img and qemu-io (package qemu-utils); without them
the tests skip and say so.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tests/system"))
from vmtest import SLOWNESS, Failure, Skip, run_tests  # noqa: E402,F401  (needs the path above)

IMG = os.environ.get("HANOK_IMG", str(TOP / "build/hanok-img"))
QEMU_IMG, QEMU_IO = shutil.which("qemu-img"), shutil.which("qemu-io")


def need(condition, text):
    if not condition:
        raise Failure(text)


def need_oracle():
    if not QEMU_IMG or not QEMU_IO:
        raise Skip("qemu-img and qemu-io are not installed (package qemu-utils)")


def run(program, *argv, cwd=None, timeout=60):
    try:
        return subprocess.run([program, *map(str, argv)], capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=cwd,
                              timeout=timeout * SLOWNESS)
    except subprocess.TimeoutExpired:
        raise Failure(f"{' '.join(map(str, (program, *argv)))}: has not ended after {timeout * SLOWNESS} s") from None


def ok(program, *argv, cwd=None):
    done = run(program, *argv, cwd=cwd)
    need(done.returncode == 0, f"{' '.join(map(str, (program, *argv)))}: {done.returncode} {done.stdout}{done.stderr}")
    return done.stdout


def qemu_io(image, *commands, fmt="qcow2", cwd=None):
    words = [word for command in commands for word in ("-c", command)]
    out = ok(QEMU_IO, "-f", fmt, *words, image, cwd=cwd)
    need("failed" not in out and "error" not in out.lower(), f"qemu-io {commands}: {out}")


class Pair:
    """Two folders with the same files: `ours` is hanok-img's, `theirs` is qemu-img's."""

    def __init__(self, folder=None):
        self.folder = tempfile.TemporaryDirectory(dir=folder)
        self.top = pathlib.Path(self.folder.name)
        self.ours, self.theirs = self.top / "ours", self.top / "theirs"

    def __enter__(self):
        need_oracle()
        self.ours.mkdir()
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def split(self):
        """What was made in `ours` is there in `theirs` too, from now on."""
        if self.theirs.exists():
            shutil.rmtree(self.theirs)
        subprocess.run(["cp", "-a", "--sparse=auto", str(self.ours), str(self.theirs)], check=True)

    def both(self, *argv):
        a = run(IMG, *argv, cwd=self.ours)
        b = run(QEMU_IMG, *argv, cwd=self.theirs)
        return a, b

    def same(self, *argv, edit=lambda text: text, errors=None):
        """The exit status and what is printed are the same; a complaint on one side is one on the other."""
        a, b = self.both(*argv)
        what = " ".join(map(str, argv))
        need(a.returncode == b.returncode, f"{what}: exit {a.returncode}, qemu-img {b.returncode}\n{a.stderr}{b.stderr}")
        need(edit(a.stdout) == edit(b.stdout), f"{what}:\n{a.stdout}--- qemu-img:\n{b.stdout}{a.stderr}")
        if errors is None:
            errors = bool(b.stderr)
        need(bool(a.stderr) == errors, f"{what}: stderr {a.stderr!r}, qemu-img {b.stderr!r}")
        return a

    def clean(self, *images):
        """Both sides' images are whole, in both tools' eyes."""
        for folder in (self.ours, self.theirs):
            for image in images:
                for program in (IMG, QEMU_IMG):
                    done = run(program, "check", image, cwd=folder)
                    need(done.returncode in (0, 63),
                         f"{program} check {folder.name}/{image}: {done.returncode}\n{done.stdout}{done.stderr}")

    def contents(self, *images):
        """A guest sees the same on both sides, in both tools' eyes."""
        for image in images:
            for program in (IMG, QEMU_IMG):
                done = run(program, "compare", self.ours / image, self.theirs / image)
                need(done.returncode == 0 and "mismatch" not in done.stdout,
                     f"{program} compare {image}: {done.returncode} {done.stdout}{done.stderr}")
