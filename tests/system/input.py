#!/usr/bin/env python3
"""virtio keyboard, tablet and mouse as a stock Debian kernel sees them; plugged in and out while it runs."""
from input_parts import event, machine, move, names, shell, wait_for, watch, watch_input
from process import need
from vmtest import run_tests


def keyboard_and_tablet():
    with machine("-device", "virtio-keyboard-pci,id=k", "-device", "virtio-tablet-pci,id=t,serial=HK42",
                 flavour="cloud") as (guest, qmp):
        names(guest, "Hanok Virtio Keyboard")
        names(guest, "Hanok Virtio Tablet")
        watch_input(guest, qmp)
        shell(guest, "cat /sys/class/input/input*/uniq", "HK42")


def mouse_comes_and_goes():
    with machine("-device", "pcie-root-port,id=rp,chassis=1", flavour="cloud") as (guest, qmp):
        for round_ in range(2):
            qmp.get("device_add", driver="virtio-mouse-pci", id=f"m{round_}", bus="rp")
            names(guest, "Hanok Virtio Mouse")
            if not round_:
                watch(guest, lambda knock: move(qmp, "rel", 1, 1))
                move(qmp, "rel", 300, -7)
                guest.expect(event(2, 0, 300), 60)
                guest.expect(event(2, 1, -7), 60)
                for line in ("mouse_move 11 22", "mouse_button 1", "mouse_button 0"):
                    qmp.get("human-monitor-command", **{"command-line": line})
                guest.expect(event(2, 0, 11), 60)
                guest.expect(event(2, 1, 22), 60)
                guest.expect(event(1, 272, 1), 60)
                guest.expect(event(1, 272, 0), 60)
            qmp.get("device_del", id=f"m{round_}")
            qmp.wait_event("DEVICE_DELETED")
            wait_for(guest, "! grep -q 'Hanok Virtio Mouse' /proc/bus/input/devices")
        need("Call Trace" not in guest.text(), guest.text()[-3000:])


run_tests([("a keyboard and a tablet", keyboard_and_tablet), ("a mouse comes and goes", mouse_comes_and_goes)])
