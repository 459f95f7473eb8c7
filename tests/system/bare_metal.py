#!/usr/bin/env python3
"""Small multiboot kernels (tests/asm) under the command lines bare-metal test suites use.

The order of options, the doubled -machine, --no-reboot with two dashes, the verdict as the process's exit
status and a stderr that holds nothing but warnings are all part of what is tested.

  bare_metal.py IMAGE_DIRECTORY [PATTERN]
"""
import pathlib
import re
import subprocess
import sys
import tempfile

from firmware_parts import Qmp
from vmtest import SLOWNESS, VM, Failure, Guest, Skip, run_tests

IMAGES = pathlib.Path(sys.argv[1])
PATTERN = sys.argv[2] if len(sys.argv) > 2 else "."
ENVIRONMENT = b"NR_CPUS=2\nMEMSIZE=128\nTARGET=x86_64\nQEMU_ACCEL=tcg\n" * 40
MODULE = f"module={len(ENVIRONMENT)} sum={sum(ENVIRONMENT) % 256}"
CPU_MODELS = [
    "qemu64", "qemu64,+x2apic,+tsc-deadline", "qemu64,-x2apic", "qemu64,+pcid", "qemu64,-pcid,-invpcid", "qemu64,+umip",
    "qemu64,vendor=GenuineIntel", "max", "max,host-phys-bits", "max,vendor=GenuineIntel",
    "max,+svm,-npt,-rdtscp,-xsave,-invpcid,-skinit", "max,+vmx,-pku,-vmx-mbec", "host,migratable=no", "host,hv_passthrough",
    "IvyBridge,phys-bits=36,host-phys-bits=off,+vmx", "Opteron_G1,vendor=AuthenticAMD",
    "Skylake-Server,host-phys-bits,+vmx,+vmx-mbec",
]
MIB, GIB = 1 << 20, 1 << 30


def run(image, cpus=1, args="x", extra=(), accel="tcg", expect=1, verdict=True):
    """One guest under the usual command line; returns (stdout, stderr)."""
    with tempfile.NamedTemporaryFile() as env:
        env.write(ENVIRONMENT)
        env.flush()
        argv = [VM, "--no-reboot", "-nodefaults", "-global", "kvm-pit.lost_tick_policy=discard", "-device", "pc-testdev",
                "-device", "isa-debug-exit,iobase=0xf4,iosize=0x4", "-display", "none", "-serial", "stdio",
                "-device", "pci-testdev", "-machine", f"accel={accel}", "-kernel", str(IMAGES / image),
                "-smp", str(cpus), "-append", args, *extra, "-initrd", env.name]
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60 * SLOWNESS)
        except subprocess.TimeoutExpired as late:
            raise Failure(f"{image} did not end\n{' '.join(argv)}\nstdout: {late.stdout}\nstderr: {late.stderr}") from None
    out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    if done.returncode != expect:
        raise Failure(f"{image} ended with {done.returncode}, not {expect}\n{' '.join(argv)}\n{out}\n{err}")
    if verdict and "PASS" not in out:
        raise Failure(f"{image} said no PASS, but {out!r}")
    odd = [line for line in err.splitlines() if "warning" not in line]
    if odd:
        raise Failure(f"stderr has more than warnings: {odd}")
    return out, err


def leave(how, expect, accel="tcg"):
    run("leave32", args=f"x how={how}", expect=expect, verdict=False, accel=accel)


def triple_fault_is_visible():
    """One warning without -d, the registers with it."""
    _, err = run("leave32", args="x how=triple", expect=0, verdict=False)
    if "triple fault" not in err or "RIP=" in err:
        raise Failure(f"a triple fault under -no-reboot said: {err!r}")
    with tempfile.NamedTemporaryFile() as log:
        run("leave32", args="x how=triple", extra=("-d", "cpu_reset", "-D", log.name), expect=0, verdict=False)
        text = log.read().decode()
    if "CPU 0 had a triple fault" not in text or "RIP=" not in text or "CR0=" not in text:
        raise Failure(f"-d cpu_reset does not show the registers: {text!r}")


def hyperv_crash():
    """What the guest says of its crash is told, and the panic's action follows."""
    _, err = run("leave32", args="x how=hvcrash", extra=("-cpu", "qemu64,hv-crash", "-action", "panic=exit-failure"),
                 expect=1, verdict=False)
    if "tells of its crash: 0xdead0 (0xdead1, 0xdead2, 0xdead3, 0xdead4)" not in err:
        raise Failure(f"a crash told through Hyper-V's MSRs said: {err!r}")


def hyperv_crash_event():
    """A manager hears the numbers, as QEMU tells them."""
    with tempfile.TemporaryDirectory() as work:
        with Guest(["-S", "-cpu", "qemu64,hv-crash", "-action", "panic=pause", "-kernel", str(IMAGES / "leave32"), "-append",
                    "x how=hvcrash", "-qmp", f"unix:{work}/qmp,server=on,wait=off"]) as g:
            while not pathlib.Path(f"{work}/qmp").exists() and g.process.poll() is None:
                g.drain(0.05)
            with Qmp(f"{work}/qmp") as q:
                q.run("cont")
                told = q.event("GUEST_PANICKED")
    numbers = {f"arg{i}": 0xdead0 + i - 1 for i in range(1, 6)}
    if told != {"action": "pause", "info": {"type": "hyper-v", **numbers}}:
        raise Failure(f"the event was {told}")


def loader(cpus, memory=None, ram=128 * MIB, accel="tcg"):
    run("loader32", cpus, f"first cpus={cpus} ram={ram} {MODULE} slow={int(accel == 'kvm')}", ("-m", memory) if memory else (), accel)


def quiet(function):
    """The guest passes and stderr is empty."""
    _, err = function()
    if err:
        raise Failure(f"stderr is not empty: {err}")


def cpu_model(model):
    run("clock64", args="x", extra=("-cpu", model))


def probe_help():
    out = subprocess.run([VM, "--help"], capture_output=True, text=True, timeout=30).stdout
    if "QEMU" not in out:
        raise Failure("--help does not say QEMU")
    out = subprocess.run([VM, "-device", "?"], capture_output=True, text=True, timeout=30)
    for name in ('"pc-testdev"', "pci-testdev", "isa-debug-exit"):
        if name not in out.stdout + out.stderr:
            raise Failure(f"-device ? does not list {name}")
    if out.returncode:
        raise Failure(f"-device ? ends with {out.returncode}")


def probe_missing_kernel():
    done = subprocess.run([VM, "-nodefaults", "-display", "none", "-machine", "accel=tcg", "-kernel", "_NO_FILE_4Uhere_"],
                          capture_output=True, text=True, timeout=30)
    if done.returncode != 1 or not re.search("could not (load|open) kernel|error loading|failed to load", done.stderr) \
            or "_NO_FILE_4Uhere_" not in done.stderr:
        raise Failure(f"a missing kernel: status {done.returncode}, {done.stderr!r}")


def kvm(function):
    """Runs with KVM where it is there at all; where it only emulates, guests still may be this small."""
    def wrapped():
        if not pathlib.Path("/dev/kvm").exists():
            raise Skip("there is no /dev/kvm here")
        try:
            open("/dev/kvm", "r+b", buffering=0).close()
        except OSError as problem:
            raise Skip(f"/dev/kvm: {problem.strerror}") from None
        function()
    return wrapped


def real_kvm(function):
    """Needs a KVM that runs the processor's kernel mode natively."""
    def wrapped():
        said = subprocess.run([str(pathlib.Path(VM).parent / "hanok"), "accel"], capture_output=True, text=True).stdout
        if not said.lower().startswith("kvm"):
            raise Skip("KVM emulates kernel mode here: " + (said.strip().splitlines() or ["no answer"])[0])
        function()
    return kvm(wrapped)


def tests():
    yield "probe/help", probe_help
    yield "probe/missing-kernel", probe_missing_kernel
    for cpus in (1, 2, 3, 4):
        yield f"loader/cpus-{cpus}", lambda c=cpus: loader(c)
    for memory, ram in (("18", 18 * MIB), ("2048", 2 * GIB), ("2560", 2560 * MIB), ("4g", 4 * GIB)):
        yield f"loader/memory-{memory}", lambda m=memory, r=ram: loader(1, m, r)
    yield "real-mode", lambda: quiet(lambda: run("real16"))
    yield "test-device", lambda: quiet(lambda: run("testdev64"))
    yield "triple-fault", triple_fault_is_visible
    yield "interrupt-lines", lambda: quiet(lambda: run("lines64"))
    yield "local-apic", lambda: quiet(lambda: run("lapic64"))
    for model in ("qemu64", "max", "max,vendor=GenuineIntel", "Opteron_G1,vendor=AuthenticAMD"):
        yield f"msrs/{model}", lambda m=model: run("msr64", extra=("-cpu", m))
    yield "local-apic/no-x2apic", lambda: run("lapic64", extra=("-cpu", "qemu64,-x2apic"))
    for cpus in (1, 2, 3, 4):
        yield f"processors/{cpus}", lambda c=cpus: quiet(lambda: run("start64", c, f"x cpus={c} x2apic=1"))
    yield "processors/no-x2apic", lambda: run("start64", 2, "x cpus=2", ("-cpu", "qemu64,-x2apic"))
    yield "acpi-and-clocks", lambda: quiet(lambda: run("acpi32"))
    yield "sleep", lambda: run("sleep32", verdict=False)
    yield "clocks/max", lambda: run("clock64", args="x deadline=1 kvmclock=1", extra=("-cpu", "max"))
    for model in CPU_MODELS:
        yield f"cpu/{model}", lambda m=model: cpu_model(m)
    yield "machine/pit-off", lambda: run("clock64", extra=("-machine", "pit=off"))
    yield "machine/vmport", lambda: run("testdev64", extra=("-machine", "vmport=on"))
    yield "machine/split-iommu", lambda: run("testdev64", 4, extra=(
        "-M", "q35,kernel-irqchip=split", "-device", "intel-iommu,intremap=on,eim=off", "-device", "edu"))
    yield "machine/hyperv-testdev", lambda: run("testdev64", extra=("-device", "hyperv-testdev"))
    yield "machine/cpu-pm", lambda: run("testdev64", extra=("-overcommit", "cpu-pm=on"))
    for how, status in EXITS:
        yield f"exit/{how}", lambda h=how, s=status: leave(h, s)
    yield "exit/hyperv-reset", lambda: run("leave32", args="x how=hvreset", extra=("-cpu", "qemu64,hv-reset"), expect=0,
                                           verdict=False)
    yield "exit/hyperv-crash", hyperv_crash
    yield "exit/hyperv-crash-event", hyperv_crash_event
    yield "kvm/loader", kvm(lambda: loader(1, accel="kvm"))
    yield "kvm/test-device", kvm(lambda: run("testdev64", accel="kvm"))
    yield "kvm/processors", kvm(lambda: run("start64", 2, "x cpus=2 slow=1", accel="kvm"))
    yield "kvm/acpi-and-clocks", kvm(lambda: run("acpi32", accel="kvm"))
    yield "kvm/sleep", kvm(lambda: run("sleep32", accel="kvm", verdict=False))
    for how, status in EXITS:
        yield f"kvm/exit/{how}", kvm(lambda h=how, s=status: leave(h, s, "kvm"))
    for image in ("clock64", "lines64", "real16"):
        yield f"kvm/{image}", real_kvm(lambda i=image: run(i, accel="kvm"))


EXITS = [("exit8 value=38", 77), ("exit16 value=63", 127), ("exit32 value=0", 1), ("exit32 value=1", 3), ("8042", 0),
         ("port92", 0), ("cf9", 0), ("cf9once", 0), ("triple", 0), ("cmos", 0), ("s5", 0)]

run_tests([(name, function) for name, function in tests() if re.search(PATTERN, name)])
