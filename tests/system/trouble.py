#!/usr/bin/env python3
"""A guest in trouble: a watchdog that nobody resets, and a kernel's panic told through pvpanic."""
import tempfile

from firmware_parts import Qmp
from vmtest import Failure, Guest, guest_files, run_tests


def boot(work, more):
    d = guest_files("cloud")
    return Guest(["-m", "256", "-nic", "none", "-qmp", f"unix:{work}/qmp,server=on,wait=off", "-kernel", str(d / "vmlinuz"),
                  "-initrd", str(d / "initrd.img"), "-append", "console=ttyS0 quiet"] + more)


# Unlocks each write with 0x80, 0x86; both preloads 1 count of 1 kHz; enables by the lock register.
WATCHDOG = r"""d=$(for i in /sys/bus/pci/devices/*; do grep -qi 0x25ab $i/device && echo $i; done)
echo 1 > $d/enable; a=$(head -n 1 $d/resource | cut -d' ' -f1)
u() { devmem $(($a + 12)) 16 0x80; devmem $(($a + 12)) 16 0x86; }
u; devmem $(($a)) 32 1; u; devmem $(($a + 4)) 32 1
printf '\002' | dd of=$d/config bs=1 seek=104 conv=notrunc 2>/dev/null; echo armed
"""


def panic(g, q):
    g.send("echo c > /proc/sysrq-trigger\n")
    if q.event("GUEST_PANICKED") != {"action": "pause"}:
        raise Failure("the event does not tell the action")
    while q.run("query-status")["status"] != "guest-panicked":
        pass


def watchdog_and_panic():
    with tempfile.TemporaryDirectory() as work:
        with boot(work, ["-device", "pcie-root-port,id=p1", "-device", "pcie-pci-bridge,id=p2,bus=p1",
                         "-device", "pci-bridge,id=p3,bus=p2,addr=4,chassis_nr=3", "-device", "i6300esb,bus=p3,addr=1",
                         "-device", "pvpanic", "-action", "watchdog=none,panic=pause"]) as g:
            g.expect("hanok:.*# ")
            with Qmp(f"{work}/qmp") as q:
                g.send(WATCHDOG)
                g.expect("\narmed")
                if q.event("WATCHDOG") != {"action": "none"}:
                    raise Failure("the event does not tell the action")
                if q.run("query-status")["status"] != "running":
                    raise Failure("action=none has stopped the machine")
                panic(g, q)


def the_machine_starts_again():
    with tempfile.TemporaryDirectory() as work:
        with boot(work, ["-device", "i6300esb", "-watchdog-action", "poweroff", "-device", "pvpanic-pci"]) as g:
            g.expect("hanok:.*# ")
            with Qmp(f"{work}/qmp") as q:
                q.run("watchdog-set-action", action="reset")
                q.run("set-action", panic="pause")
                g.send(WATCHDOG)
                if q.event("WATCHDOG") != {"action": "reset"}:
                    raise Failure("watchdog-set-action had no effect")
                q.event("RESET")
                g.expect("hanok guest: up after")
                panic(g, q)


run_tests([
    ("a watchdog behind three bridges, then a panic through the port", watchdog_and_panic),
    ("a watchdog resets the machine, which boots again; a panic through the PCI function", the_machine_starts_again),
])
