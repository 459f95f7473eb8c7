#!/usr/bin/env python3
"""Boots stock Debian kernels to a busybox shell, in cells KERNEL:ROOT:CPUS:MEMORY:ACCEL.

Each cell: the guest comes up, gets an address by DHCP, fetches a token over HTTP from a server on the host,
sees its CPUs and memory, reports status 42 through a virtio port and powers off; the process then ends with 0.
ROOT is disk (ext4 over virtio-blk), nvme, scsi, sata or ide (the same over NVMe, virtio-scsi,
AHCI, or IDE on machine pc), pc (virtio-blk on machine pc), microvm (on that machine), or initramfs.  PVH cells boot the vmlinux extracted from the bzImage.
ROOT pxe-CARD starts SeaBIOS and uefi-CARD OVMF instead: that card's boot code (iPXE) gets an address, a script,
the kernel and the initramfs from the user network's DHCP and TFTP servers.

  boot_matrix.py                      one cell (the fast suite's)
  boot_matrix.py --all                the whole matrix
  boot_matrix.py cloud:disk:2:512:jit [...]
"""
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from boot_parts import tftp_folder
from vmtest import CACHE, TOP, Failure, Guest, Skip, WebServer, guest_files, run_tests

OVMF = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
FAST = ["cloud:disk:1:256:jit", "cloud:microvm:1:256:jit"]
ALL = (
    [f"{k}:{r}:{c}:512:jit" for k in ("cloud", "generic") for r in ("disk", "initramfs") for c in (1, 2, 4)]
    + [f"{k}:{r}:{c}:{m}:jit" for k in ("cloud", "generic") for r, c, m in (("initramfs", 1, 128), ("disk", 1, 128),
                                                                            ("disk", 2, 8192))]
    + ["cloud:nvme:1:256:jit", "cloud:nvme:4:512:jit", "cloud:scsi:1:256:jit", "cloud:scsi:4:512:jit"]
    + ["cloud:pc:2:512:jit", "cloud:ide:1:256:jit", "cloud:ide:2:4096:jit", "generic:ide:1:256:jit",
       "686:ide:1:256:jit", "generic:sata:1:384:jit", "generic:sata:2:512:jit"]
    + ["686:disk:1:256:jit", "686-pae:disk:1:256:jit", "686-pae:disk:2:512:jit"]
    + ["cloud:microvm:1:128:jit", "cloud:microvm:4:4096:jit", "generic:microvm:2:512:jit", "cloud-pvh:microvm:1:256:jit"]
    + ["cloud-pvh:disk:1:256:jit", "cloud-pvh:disk:2:512:jit"]
    + ["cloud:pxe-virtio-net-pci:1:256:jit", "generic:pxe-e1000:2:384:jit", "generic:pxe-e1000e:1:384:jit",
       "generic:uefi-e1000e:1:512:jit", "cloud:uefi-virtio-net-pci:1:512:jit"]
    + ["cloud:disk:1:256:kvm", "cloud:disk:2:512:kvm", "cloud:microvm:2:512:kvm"]
)


# root -> its name in the guest, and its device
DISKS = {
    "disk": ["/dev/vda", "-device", "virtio-blk-pci,drive=root"],
    "scsi": ["/dev/sda", "-device", "virtio-scsi-pci,id=s", "-device", "scsi-hd,drive=root,bus=s.0,scsi-id=3,lun=1"],
    "pc": ["/dev/vda", "-machine", "pc", "-device", "virtio-blk-pci,drive=root"],
    "microvm": ["/dev/vda", "-machine", "microvm", "-device", "virtio-blk-device,drive=root"],
    "sata": ["/dev/sda", "-device", "ide-hd,drive=root"],
    "ide": ["/dev/sda", "-machine", "pc", "-device", "ide-hd,drive=root"],
    "nvme": ["/dev/nvme0n1", "-device", "nvme,drive=root,serial=root-1"],
}


def require_kvm():
    probe = subprocess.run([str(TOP / "build/hanok"), "accel"], capture_output=True, text=True)
    if not probe.stdout.lower().startswith("kvm"):
        raise Skip("KVM cannot run ordinary kernels here: " + probe.stdout.strip().splitlines()[0])


def kernel_path(flavour, directory):
    if not flavour.endswith("-pvh"):
        return directory / "vmlinuz"
    vmlinux = CACHE / f"vmlinux-{flavour}"
    made = subprocess.run(["sh", str(TOP / "scripts/guest/extract-vmlinux.sh"), str(directory / "vmlinuz"),
                           str(vmlinux)], capture_output=True, text=True)
    if made.returncode:
        raise Skip(made.stderr.strip())
    return vmlinux


def from_network(root, work, directory, append):
    """Arguments that boot by PXE what is then in the folder work/tftp."""
    kind, card = root.split("-", 1)
    tftp = tftp_folder(work, directory, append)
    firmware = []
    if kind == "uefi":
        if not OVMF.exists():
            raise Skip("OVMF is not installed: scripts/packages.sh guest")
        firmware = ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}"]
    return firmware + ["-netdev", f"user,id=n0,tftp={tftp},bootfile=boot.ipxe",
                       "-device", f"{card},netdev=n0,bootindex=1"]


def boot(cell):
    flavour, root, cpus, memory, accel = cell.split(":")
    if accel == "kvm":
        require_kvm()
    directory = guest_files(flavour.removesuffix("-pvh"))
    token = "token-" + secrets.token_hex(8)
    web = WebServer(token)
    with tempfile.TemporaryDirectory() as work:
        result = Path(work) / "result"
        result.touch()
        command = (f"wget -q -O - http://10.0.2.2:{web.port}/;echo;grep -c ^processor /proc/cpuinfo;"
                   f"grep MemTotal /proc/meminfo;grep -c '^{DISKS.get(root, ['-'])[0]} / ext4' /proc/mounts;exit 42").replace(" ", "%20")
        bus = "device" if root == "microvm" else "pci"
        append = f"console=ttyS0 loglevel=5 hanok.net hanok.run={command}"
        args = ["-accel", accel, "-machine", "q35", "-m", memory, "-smp", cpus, "-nodefaults", "-no-reboot",
                "-serial", "stdio", "-device", f"virtio-rng-{bus}",
                "-device", f"virtio-balloon-{bus}", "-device", f"virtio-serial-{bus}",
                "-chardev", f"file,id=result,path={result}",
                "-device", "virtserialport,chardev=result,name=org.hanok.result"]
        if "-" in root:
            args += from_network(root, work, directory, append)
        else:
            args += ["-kernel", str(kernel_path(flavour, directory)), "-initrd", str(directory / "initrd.img"),
                     "-netdev", "user,id=n0", "-device", f"virtio-net-{bus},netdev=n0"]
        if root in DISKS:
            disk = Path(work) / "root.img"
            shutil.copyfile(directory / "root.img", disk)
            append += f" root={DISKS[root][0]}"
            args += ["-drive", f"file={disk},format=raw,if=none,id=root"] + DISKS[root][1:]
        if "-" not in root:
            args += ["-append", append]
        with Guest(args + ["-display", "none"], serial=False) as guest:
            status = guest.wait(timeout=240)
            judge(guest, status, result.read_text().strip(), token, root, int(cpus), int(memory))
    web.close()


def judge(guest, status, result, token, root, cpus, memory):
    text = guest.text()
    tail = text[-2500:]
    stderr = guest.stderr.decode("utf-8", "replace")
    if status != 0:
        raise Failure(f"hanok-vm ended with {status}\nstderr: {stderr}\n{tail}")
    if result != "42":
        raise Failure(f"the guest reported {result!r} instead of 42\n{tail}")
    if token not in text:
        raise Failure(f"the HTTP fetch did not bring {token}\n{tail}")
    # the kernel's own messages come in between on the same console
    lines = [line for line in text[text.index(token):].splitlines() if not re.match(r"\[ *\d+\.\d+\]", line)]
    if lines[1].strip() != str(cpus):
        raise Failure(f"the guest sees {lines[1]!r} CPUs instead of {cpus}\n{tail}")
    total = int(lines[2].split()[1]) // 1024
    if not memory * 0.6 - 60 < total <= memory:
        raise Failure(f"the guest sees {total} MiB of {memory}\n{tail}")
    if lines[3].strip() != ("1" if root in DISKS else "0"):
        raise Failure(f"the root file system is not what was asked for: {lines[3]}\n{tail}")
    if stderr.strip():
        raise Failure(f"stderr is not empty: {stderr}")
    for bad in ("Kernel panic", "BUG:", "WARNING: CPU", "Call Trace", "soft lockup", "rcu_sched self-detected"):
        if bad in text:
            raise Failure(f"the kernel complained ({bad})\n" + text[max(0, text.index(bad) - 500):][:3000])


def main():
    cells = sys.argv[1:] or FAST
    if cells == ["--all"]:
        cells = ALL
    run_tests([(cell, lambda c=cell: boot(c)) for cell in cells])


main()
