"""boot_parts - what firmware boots from the network."""
import os
from pathlib import Path

from vmtest import Skip


def tftp_folder(work, directory, append):
    """WORK/tftp with a script for iPXE that boots the kernel and the initramfs of directory."""
    if not Path("/usr/lib/ipxe/qemu").exists():
        raise Skip("there is no boot code for network cards: scripts/packages.sh guest")
    tftp = Path(work) / "tftp"
    tftp.mkdir()
    for name in ("vmlinuz", "initrd.img"):
        os.symlink(directory / name, tftp / name)
    (tftp / "boot.ipxe").write_text(f"#!ipxe\nkernel vmlinuz initrd=initrd.img {append}\ninitrd initrd.img\nboot\n")
    return tftp
