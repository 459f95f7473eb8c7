"""A guest whose input devices are watched from its shell: what the monitor sends must arrive there."""
import contextlib
import tempfile

from process import Qmp, need
from vmtest import Failure, Guest, guest_files

PROMPT = r"hanok:[^ ]*# "
KEYS = {"a": 30, "b": 48}
# struct input_event as 16-bit words: eight of time, then type, code, value (low, high)
WATCH = ("w() { while dd bs=24 count=1 2>/dev/null | hexdump -v -e '\"EV\" 12/2 \" %d\" \"\\n\"'; do :; done <$1; }; "
         "for e in /dev/input/event*; do w $e & done\n")


def event(kind, code, value):
    return rf"EV( -?\d+){{8}} {kind} {code} {value} "


@contextlib.contextmanager
def machine(*devices, flavour="generic", append=""):
    directory = guest_files(flavour)
    with tempfile.TemporaryDirectory() as work:
        args = ["-accel", "jit", "-m", "256", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
                "-kernel", str(directory / "vmlinuz"), "-initrd", str(directory / "initrd.img"),
                "-append", f"console=ttyS0 quiet {append}".strip(), "-qmp", f"unix:{work}/qmp,server=on,wait=off", *devices]
        with Guest(args, serial=False) as guest:
            guest.expect(PROMPT, 240)
            qmp = Qmp(f"{work}/qmp")
            qmp.ask("qmp_capabilities")
            yield guest, qmp
            need(guest.stderr == b"" or not guest.stderr.strip(), guest.stderr.decode())


def shell(guest, command, pattern="", timeout=120):
    guest.send(f"{command}; echo done-$((1+1))\n")
    found = guest.expect(pattern, timeout) if pattern else None
    guest.expect("done-2", timeout)
    return found


def wait_for(guest, test, timeout=120):
    """Until a command of the guest says yes."""
    shell(guest, f"until {test}; do sleep 0.1; done", timeout=timeout)


def names(guest, wanted):
    wait_for(guest, f"grep -q '{wanted}' /proc/bus/input/devices")


def move(qmp, kind, x, y):
    qmp.get("input-send-event", events=[{"type": kind, "data": {"axis": "x", "value": x}},
                                        {"type": kind, "data": {"axis": "y", "value": y}}])


def watch(guest, press):
    """Input is lost until the guest has opened its devices: knocks until something comes."""
    guest.send(WATCH)
    for knock in range(200):
        press(knock)
        with contextlib.suppress(Failure):
            guest.expect(event("[23]", 0, r"\d+"), 0.5)
            return
    raise Failure("no input arrives: " + guest.text()[-1000:])


def watch_input(guest, qmp):
    """What the monitor sends arrives at the guest's input devices."""
    watch(guest, lambda knock: move(qmp, "abs", knock, knock))
    move(qmp, "abs", 12345, 321)
    guest.expect(event(3, 0, 12345), 60)
    guest.expect(event(3, 1, 321), 60)
    qmp.get("input-send-event", events=[{"type": "btn", "data": {"button": "left", "down": True}}])
    guest.expect(event(1, 272, 1), 60)
    qmp.get("input-send-event", events=[{"type": "btn", "data": {"button": "left", "down": False}}])
    guest.expect(event(1, 272, 0), 60)
    for key, code in KEYS.items():
        qmp.get("send-key", keys=[{"type": "qcode", "data": key}])
        guest.expect(event(1, code, 1), 60)
        guest.expect(event(1, code, 0), 60)
