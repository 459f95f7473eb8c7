"""screen_text - what the screen says: a picture taken by a VNC client of another hand, read by tesseract.

Characters are sometimes taken for others that look alike, so words are searched for with a tolerance.
"""
import difflib
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from vmtest import SLOWNESS, Failure, Skip

TOOLS = ("vncsnapshot", "djpeg", "tesseract")
ALIKE = 0.8  # of the letters and digits must be right, in order


def need_tools():
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        raise Skip(f"{', '.join(missing)} not installed: scripts/packages.sh test")


def letters(text):
    return re.sub("[^a-z0-9]", "", text.lower())


def says(text, words):
    """Whether the words stand in the text, but for some characters."""
    text, words = letters(text), letters(words)
    if words in text:
        return True
    size = len(words)
    matcher = difflib.SequenceMatcher(None, autojunk=False)
    matcher.set_seq2(words)
    for at in range(max(1, len(text) - size + 1)):
        matcher.set_seq1(text[at:at + size])
        if matcher.quick_ratio() >= ALIKE and matcher.ratio() >= ALIKE:
            return True
    return False


def read(display, keep=None):
    """The text on the screen of the VNC server on 127.0.0.1:DISPLAY; keep: where the picture is left, too."""
    with tempfile.TemporaryDirectory() as work:
        picture = Path(work) / "screen.jpg"
        taken = subprocess.run(["vncsnapshot", "-quiet", "-allowblank", "-quality", "100", f"127.0.0.1:{display}", picture],
                               capture_output=True, timeout=120 * SLOWNESS, check=False)
        if taken.returncode or not picture.exists():
            raise Failure(f"vncsnapshot took no picture: {taken.stderr.decode('utf-8', 'replace')}")
        if keep:
            shutil.copyfile(picture, keep)
        # tesseract wants letters of more than the dozen dots that they have on a text screen
        large = subprocess.run(["djpeg", "-grayscale", "-pnm", "-scale", "16/8", picture], capture_output=True, check=True)
        seen = subprocess.run(["tesseract", "stdin", "stdout", "--psm", "6"], input=large.stdout, capture_output=True,
                              timeout=240 * SLOWNESS, check=True, env={"OMP_THREAD_LIMIT": "1", "PATH": "/usr/bin:/bin"})
        return seen.stdout.decode("utf-8", "replace")


def wait_for(guest, display, words, seconds=120):
    """Until the screen says each of the words (a list); returns its text."""
    end = time.monotonic() + seconds * SLOWNESS
    while True:
        text = read(display)
        missing = [w for w in words if not says(text, w)]
        if not missing:
            return text
        if guest.process.poll() is not None:
            raise Failure(f"hanok-vm ended with {guest.process.returncode}: {guest.stderr.decode('utf-8', 'replace')}")
        if time.monotonic() > end:
            raise Failure(f"after {seconds * SLOWNESS:.0f} s the screen does not say {missing}; it says:\n{text}")
        guest.drain(0.5)
