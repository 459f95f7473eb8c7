#!/usr/bin/env python3
"""hanok install and hanok clone: from nothing to running machines, copies of them, and nothing left behind."""
import hashlib
import http.server
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import threading
from xml.etree import ElementTree

from manager import HANOK, Console, Session, need
from vmtest import TOP, Skip, guest_files, run_tests

NETBOOT = pathlib.Path("/usr/lib/debian-installer/images/12/amd64/text")


def tree_of(session):
    """A directory like a small installer's: the test guest's kernel and RAM disk."""
    tree = session.dir / "tree"
    tree.mkdir()
    files = guest_files("cloud")
    shutil.copy(files / "vmlinuz", tree / "vmlinuz")
    shutil.copy(files / "initrd.img", tree / "initrd.img")
    return tree


def sums(tree):
    lines = [f"{hashlib.sha256((tree / n).read_bytes()).hexdigest()}  ./{n}\n" for n in ("vmlinuz", "initrd.img")]
    (tree / "SHA256SUMS").write_text("".join(lines))


class Web:
    def __init__(self, directory):
        handler = type("H", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *a: None})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0),
                                                      lambda *a: handler(*a, directory=str(directory)))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.server.shutdown()
        self.server.server_close()


INSTALL = ["install", "--memory", "160", "--network", "none", "--noautoconsole", "--virt-type", "qemu"]


def tutorial_command_works():
    with Session() as s:
        tree = tree_of(s)
        r = s.run("install", "--name", "ubuntu2004", "--vcpus", "1", "--cpuset=0", "--memory", "192", "--os-variant",
                  "ubuntu20.04", "--graphics", "none", "--extra-args", "console=ttyS0 --- console=ttyS0",
                  "--location", str(tree), "--noautoconsole", "--virt-type", "qemu")
        need(r.returncode == 0, r.stderr)
        need("no --disk is given" in r.stderr, "a disk was made without a word")
        disk = s.dir / "data/hanok/images/ubuntu2004.qcow2"
        need(s.json("domblklist", "ubuntu2004")[0]["source"] == str(disk) and disk.exists(), "the default disk")
        need(os.sched_getaffinity(s.json("vcpuinfo", "ubuntu2004")[0]["thread-id"]) == {0}, "--cpuset")
        Console(s, "ubuntu2004").expect(r"hanok:.*# ")
        live, inactive = s.ok("dumpxml", "ubuntu2004"), s.ok("dumpxml", "ubuntu2004", "--inactive")
        need("<kernel>" in live and "<kernel>" not in inactive, "the installer's kernel belongs to the installation only")
        s.ok("destroy", "ubuntu2004")
        s.ok("undefine", "ubuntu2004", "--remove-all-storage")
        need(not disk.exists() and not list((s.dir / "cache/hanok/boot").iterdir()), "something is left behind")


def tree_on_a_web_server_is_fetched_and_checked():
    with Session() as s:
        tree = tree_of(s)
        sums(tree)
        with Web(tree) as web:
            s.ok(*INSTALL, "--name", "w", "--disk", "none", "--location", web.url, "--extra-args", "console=ttyS0")
            Console(s, "w").expect(r"hanok:.*# ")
            s.ok("destroy", "w")
            text = (tree / "SHA256SUMS").read_text()
            (tree / "SHA256SUMS").write_text(text.replace(text[:8], "00000000", 1))
            text = s.fails(*INSTALL, "--name", "x", "--disk", "size=1", "--location", web.url)
            need("not what the tree's SHA256SUMS says" in text, text)
            need("no installer's kernel" in s.fails(*INSTALL, "--name", "x", "--disk", "none", "--location",
                                                    web.url + "nowhere/"), "404")
        need([m["name"] for m in s.json("list", "--all")] == ["w"], "a failed install left a domain")
        need(not list((s.dir / "data/hanok/images").iterdir()), "a failed install left a disk")


def iso_of(tree, names):
    """The least an ISO 9660 image with files in its root can be."""
    def both(fmt, v):
        return struct.pack("<" + fmt, v) + struct.pack(">" + fmt, v)

    def record(name, sector, size, flags):
        r = bytearray(33) + name + (b"\0" if len(name) % 2 == 0 else b"")
        r[0], r[2:10], r[10:18], r[25], r[28:32], r[32] = len(r), both("I", sector), both("I", size), flags, both("H", 1), len(name)
        return bytes(r)

    root, body, sector = record(b"\0", 17, 2048, 2) + record(b"\1", 17, 2048, 2), b"", 18
    for name, file in names:
        data = (tree / file).read_bytes()
        root += record(name, sector, len(data), 0)
        data += b"\0" * (-len(data) % 2048)
        body += data
        sector += len(data) // 2048
    volume = bytearray(2048)
    volume[0:7] = b"\1CD001\1"
    volume[156:190] = record(b"\0", 17, 2048, 2)
    return bytes(16 * 2048) + bytes(volume) + root.ljust(2048, b"\0") + body


def cd_image_is_a_tree_too():
    with Session() as s:
        tree = tree_of(s)
        image = s.dir / "cd.iso"
        image.write_bytes(iso_of(tree, [(b"INITRD.IMG;1", "initrd.img"), (b"VMLINUZ.;1", "vmlinuz")]))
        s.ok(*INSTALL, "--name", "c", "--disk", "none", "--location", str(image), "--extra-args", "console=ttyS0")
        Console(s, "c").expect(r"hanok:.*# ")
        image.write_bytes(image.read_bytes()[:40000])
        need("what cannot be" in s.fails(*INSTALL, "--name", "d", "--disk", "none", "--location", str(image)),
             "a CD image that is cut off")


PCI = "http://pcisig.com/pci/"
DATABASE = {
    "example.org/old-1.xml": f"""<os id="http://example.org/old/1"><short-id>old1</short-id><name>Old 1</name>
        <resources arch="all"><minimum><ram>268435456</ram></minimum></resources>
        <devices><device id="{PCI}8086/100e"/><device id="{PCI}1af4/1000"/></devices>
        <media arch="x86_64"><iso><volume-id>OLD.*</volume-id></iso></media></os>""",
    "example.org/new-2.xml": f"""<os id="http://example.org/new/2"><short-id>new2</short-id><name>New 2</name>
        <derives-from id="http://example.org/old/1"/><codename>Noble</codename><distro>example</distro>
        <resources arch="all"><recommended><n-cpus>3</n-cpus><ram>805306368</ram><storage>3221225472</storage></recommended>
        </resources><devices><device id="http://qemu.org/chipset/x86/q35"/><device id="{PCI}1af4/1042"/>
        <device id="{PCI}1af4/1000" supported="false"/><device id="{PCI}8086/10d3"/></devices>
        <media arch="x86_64"><iso><volume-id>OLD 2</volume-id></iso></media>
        <media arch="aarch64"><iso><volume-id>OLD 2 but longer.*</volume-id></iso></media></os>""",
    "example.org/broken.xml": "<os id=\"http://example.org/broken\"><short-id>broken</short-id><na",
    "example.org/circle.xml": """<os id="http://example.org/circle"><short-id>circle</short-id><name>C</name><family>winnt</family>
        <derives-from id="http://example.org/circle"/></os>"""}


def volume(path, name):
    sector = bytearray(2048)
    sector[0:6] = b"\x01CD001"
    sector[40:72] = name.encode().ljust(32)
    path.write_bytes(bytes(16 * 2048) + sector)
    return str(path)


def system_to_be_installed_sets_defaults():
    with Session() as s:
        for name, text in DATABASE.items():
            (s.dir / "db/os" / name).parent.mkdir(parents=True, exist_ok=True)
            (s.dir / "db/os" / name).write_text(f"<libosinfo version='0.0.1'>{text}</libosinfo>")
        s.env["OSINFO_SYSTEM_DIR"] = str(s.dir / "db")

        def made(*words):
            r = s.run("install", "--name", "a", "--print-xml", *words)
            need(r.returncode == 0, r.stderr)
            x = ElementTree.fromstring(r.stdout)
            return {"memory": int(x.findtext("memory")) >> 10, "vcpus": x.findtext("vcpu"), "said": r.stderr,
                    "machine": x.find("os/type").get("machine").rsplit("-", 1)[0], "clock": x.find("clock").get("offset"),
                    "bus": x.find("devices/disk/target").get("bus"), "nic": x.find("devices/interface/model").get("type")}
        need(s.ok("install", "--osinfo", "list").split() == ["broken", "circle", "new2", "old1"], "--osinfo list")
        old, new = made("--pxe", "--osinfo", "old1"), made("--pxe", "--os-variant", "http://example.org/new/2")
        need((old["machine"], old["bus"], old["nic"], old["memory"]) == ("pc-i440fx", "ide", "virtio", 256), f"{old}")
        need((new["machine"], new["bus"], new["nic"], new["memory"], new["vcpus"]) == ("pc-q35", "virtio", "e1000e", 768, "3"),
             f"{new}")
        need("3 GiB" in new["said"], new["said"])
        asked = made("--pxe", "--osinfo", "old1", "--machine", "q35", "--memory", "64", "--disk", "size=1,bus=scsi",
                     "--network", "user,model=e1000e")
        need((asked["machine"], asked["bus"], asked["nic"], asked["memory"]) == ("pc-q35", "scsi", "e1000e", 64), f"{asked}")
        need("Old 1 wants 256 MiB" in asked["said"], asked["said"])
        for name, found in (("OLD 1", "Old 1"), ("OLD 2", "New 2"), ("NONE", "")):
            said = made("--cdrom", volume(s.dir / "v.iso", name))["said"]
            need(f"this is {found}" in said if found else "this is" not in said, f"{name}: {said}")
        tree = "http://mirror.invalid/example/dists/noble/main/installer-amd64/"
        need("New 2" in made("--location", tree)["said"], "the tree's code name")
        need("New 2" not in made("--location", tree, "--osinfo", "detect=off")["said"], "detect=off")
        need(made("--pxe", "--osinfo", "circle")["clock"] == "localtime", "an entry that derives from itself")
        for name in ("nobody-knows", "broken", "../../etc/passwd"):
            need("does not know" in made("--pxe", "--osinfo", name)["said"], f"--osinfo {name}")
        need("require=on" in s.fails("install", "--name", "a", "--pxe", "--osinfo", "nobody-knows,require=on"), "require=on")
        s.env["OSINFO_SYSTEM_DIR"] = str(s.dir / "nowhere")
        need("apt install osinfo-db" in made("--pxe", "--osinfo", "old1")["said"], "no database")


def options_become_xml():
    with Session() as s:
        image = s.dir / "i.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "8M"], check=True)
        words = ["install", "--name", "a", "--print-xml", "--import", "--disk", f"{image},cache=none,io=native,discard=unmap,serial=S1",
                 "--ram", "256,maxmemory=512", "--vcpus", "2,maxvcpus=4,sockets=2,cores=2,threads=1", "--cpuset", "0", "--cpu",
                 "qemu64,+aes,-svm", "--description", "D", "--metadata", "title=T", "--graphics", "vnc,port=5901,password=x",
                 "--video", "vga", "--serial", f"file,path={s.dir}/log", "--channel", "none", "--rng", "builtin", "--memballoon",
                 "none", "--watchdog", "i6300esb,action=reset", "--sound", "ich9", "--iothreads", "2", "--qemu-commandline",
                 "-foo 'b r'", "--uuid", "11111111-2222-3333-4444-555555555555", "--hvm", "--debug", "--noreboot"]
        x = ElementTree.fromstring(s.ok(*words))

        def at(path, attribute=None):
            found = x.find(path)
            need(found is not None, f"no {path}")
            return found.get(attribute) if attribute else found.text
        has = {"uuid": "11111111-2222-3333-4444-555555555555", "title": "T", "description": "D", "memory": "524288",
               "currentMemory": "262144", "vcpu": "4", "iothreads": "2", "cpu/model": "qemu64"}
        need({k: at(k) for k in has} == has, f"{ {k: at(k) for k in has} }")
        for path, attribute, value in (
                ("vcpu", "current", "2"), ("vcpu", "cpuset", "0"), ("cpu/topology", "sockets", "2"), ("cpu/feature[2]", "policy", "disable"),
                ("devices/disk/driver", "io", "native"), ("devices/disk/driver", "cache", "none"), ("devices/disk/driver", "discard",
                 "unmap"), ("devices/graphics", "port", "5901"), ("devices/graphics", "passwd", "x"),
                ("devices/video/model", "type", "vga"), ("devices/serial", "type", "file"), ("devices/memballoon", "model", "none"),
                ("devices/watchdog", "action", "reset"), ("devices/sound", "model", "ich9"),
                ("{http://libvirt.org/schemas/domain/qemu/1.0}commandline/*[2]", "value", "b r")):
            need(at(path, attribute) == value, f"{path} {attribute} is {at(path, attribute)}")
        need(x.find("devices/channel") is None and at("devices/disk/serial") == "S1" and at("devices/rng/backend", "model") == "builtin",
             "channel, serial, rng")
        need(s.json("list", "--all") == [] and s.run(*["--dry-run" if w == "--print-xml" else w for w in words]).returncode == 0,
             "--print-xml, --dry-run")
        need("no option '--frobnicate'" in s.fails("install", "--frobnicate"), "an option that does not exist")
        # a disk has one user, unless the user says otherwise
        s.define("other", kernel=False, devices=f"<disk type='file'><driver name='qemu' type='qcow2'/><source file='{image}'/>"
                 "<target dev='vda'/></disk>")
        need("is a disk of domain 'other'" in s.fails(*words), "a disk of two machines")
        s.ok(*words, "--check", "path_in_use=off")
        # without a console: --wait ends in time, the machine stays
        tree = tree_of(s)
        s.ok(*INSTALL, "--name", "w", "--disk", "none", "--transient", "--wait", "0", "--console", "pty", "--boot",
             f"kernel={tree / 'vmlinuz'},initrd={tree / 'initrd.img'}")
        need([(m["name"], m["persistent"]) for m in s.json("list")] == [("w", False)], "--transient, --wait 0")


def injected_file_is_in_the_guest():
    with Session() as s:
        tree = tree_of(s)
        preseed = s.dir / "preseed.cfg"
        preseed.write_text("d-i was here\n")
        s.ok(*INSTALL, "--name", "i", "--disk", "none", "--location", str(tree), "--initrd-inject", str(preseed),
             "--extra-args", "console=ttyS0")
        console = Console(s, "i")
        console.expect(r"hanok:.*# ")
        console.send("cat /preseed.cfg\n")
        console.expect("d-i was here")


def unattended_install_has_all_answers():
    with Session() as s:
        tree = tree_of(s)
        (s.dir / "pw").write_text("s3cret word\n")
        s.ok(*INSTALL, "--name", "un attended", "--disk", "none", "--location", str(tree), "--unattended",
             f"admin-password-file={s.dir}/pw,user-login=ann,timezone=Asia/Seoul", "--extra-args", "console=ttyS0")
        console = Console(s, "un attended")
        console.expect(r"hanok:.*# ")
        console.send("cat /proc/cmdline /preseed.cfg; echo E''ND\n")
        seen = console.expect("END")
        for part in ("auto=true priority=critical console=ttyS0", "netcfg/get_hostname string un-attended",
                     "passwd/root-password password s3cret word", "passwd/username string ann",
                     "time/zone string Asia/Seoul", "partman-auto/disk string /dev/vda"):
            need(part in seen, f"no {part!r} in {seen}")
        text = s.fails(*INSTALL, "--name", "x", "--disk", "none", "--location", str(tree), "--unattended", "nonsense=1")
        need("nonsense" in text, text)
        (s.dir / "pw").write_text("one\ntwo\n")
        text = s.fails(*INSTALL, "--name", "x", "--disk", "none", "--location", str(tree), "--unattended",
                       f"admin-password-file={s.dir}/pw")
        need("line break" in text, text)
        r = s.run(*INSTALL, "--name", "y", "--disk", "none", "--location", str(tree), "--unattended")
        need(r.returncode == 0 and "root's password will be: " in r.stderr, r.stderr)


def debian_installer_reaches_its_first_screen():
    if not NETBOOT.exists():
        raise Skip("the package debian-installer-12-netboot-amd64 is not installed")
    with Session() as s, Web(NETBOOT) as web:
        for name, where in (("dir", str(NETBOOT)), ("web", web.url)):
            s.ok("install", "--name", name, "--memory", "512", "--disk", "size=4", "--network", "user", "--virt-type", "qemu",
                 "--noautoconsole", "--location", where, "--extra-args", "console=ttyS0 priority=critical")
            Console(s, name).expect(r"(Select a language|Choose language|Low memory)", 240)
            s.ok("destroy", name)
            s.ok("undefine", name, "--remove-all-storage")


def cloud_init_seed_tells_the_guest_who_it_is():
    with Session() as s:
        tree = tree_of(s)
        r = s.run(*INSTALL, "--name", "seed me", "--disk", "none", "--cloud-init", "root-password-generate=on",
                  "--boot", f"kernel={tree / 'vmlinuz'},initrd={tree / 'initrd.img'},kernel_args=console=ttyS0")
        need(r.returncode == 0 and "Password for first root login is: " in r.stderr, r.stderr)
        password = r.stderr.rsplit(": ", 1)[1].strip()
        image = (s.dir / "data/hanok/images/seed me-seed.iso").read_bytes()
        need(image[0x8001:0x8006] == b"CD001" and image[0x8028:0x802e] == b"cidata", "not an ISO 9660 volume 'cidata'")
        uuid = s.ok("domuuid", "seed me").strip()
        for part in (f"root:{password}", "hostname: seed-me", f"instance-id: {uuid}", "META-DATA.;1", "USER-DATA.;1"):
            need(part.encode() in image, f"the seed has no {part!r}")
        console = Console(s, "seed me")
        console.expect(r"hanok:.*# ")
        console.send("dd if=/dev/vda bs=1 skip=32808 count=6 2>/dev/null; echo E''ND\n")
        console.expect("cidata(.|\\n)*END")


def copies_run_beside_their_original():
    with Session() as s:
        tree = tree_of(s)
        s.ok(*INSTALL, "--name", "one", "--disk", "size=0.1", "--network", "user",
             "--boot", f"kernel={tree / 'vmlinuz'},initrd={tree / 'initrd.img'},kernel_args=console=ttyS0")
        text = s.fails("clone", "--original", "one", "--auto-clone")
        need("shut it down or suspend it" in text, text)
        s.ok("destroy", "one")
        images = s.dir / "data/hanok/images"
        s.ok("clone", "--original", "one", "--auto-clone")
        s.ok("clone", "-o", "one", "-n", "two", "-f", str(images / "second.qcow2"), "-m", "52:54:00:00:00:02")
        s.ok("clone", "--original", "one", "--name", "three", "--linked", "--auto-clone", "--reset-identity")
        macs = [s.json("domiflist", n)[0]["mac"] for n in ("one", "one-clone", "two", "three")]
        need(len(set(macs)) == 4 and macs[2] == "52:54:00:00:00:02", f"MACs: {macs}")
        uuids = {m["uuid"] for m in s.json("list", "--all")}
        need(len(uuids) == 4, f"UUIDs: {uuids}")
        info = json.loads(subprocess.run(["qemu-img", "info", "--output=json", str(images / "three.qcow2")],
                                         capture_output=True, text=True, check=True).stdout)
        need(info["backing-filename"] == str(images / "one.qcow2"), "--linked is not over the original")
        need((images / "three-seed.iso").exists(), "--reset-identity made no seed")
        need((images / "one-clone.qcow2").exists() and (images / "second.qcow2").exists(), "copies of disks")
        s.ok("start", "one-clone")
        s.ok("start", "two")
        shown = subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True).stdout
        for name in ("one-clone", "two"):
            need(re.search(rf"hanok-vm -name guest={name},", shown), f"ps ax does not show {name}")
        consoles = [Console(s, name) for name in ("one-clone", "two")]
        for console in consoles:
            console.expect(r"hanok:.*# ")
        text = s.fails("clone", "-o", "one", "-n", "four", "-f", str(images / "second.qcow2"))
        need("not replaced" in text, text)
        need("four" not in s.ok("list", "--all"), "a failed clone left a definition")
        for name in ("one-clone", "two"):
            s.ok("destroy", name)
        for name in ("three", "two", "one-clone", "one"):
            s.ok("undefine", name, "--remove-all-storage")
        need([p.name for p in images.iterdir()] == ["three-seed.iso"], f"left: {list(images.iterdir())}")


def copies_by_the_other_options():
    with Session() as s:
        images = s.dir / "data/hanok/images"
        for name in ("a.qcow2", "b.qcow2"):
            s.ok("vol-create-as", "default", name, "8M", "--format", "qcow2")
        disks = "".join(f"<disk type='file'><driver name='qemu' type='qcow2'/><source file='{images}/{n}.qcow2'/><target dev="
                        f"'vd{n}'/></disk>" for n in "ab")
        s.define("one", kernel=False, devices=disks)

        def sources(text):
            return [d.get("file").rsplit("/", 1)[1] for d in ElementTree.fromstring(text).findall("devices/disk/source")]
        need(sources(s.ok("clone", "-o", "one", "--auto-clone", "--print-xml")) == ["a-clone.qcow2", "b-clone.qcow2"], "--print-xml")
        s.ok("clone", "-o", "one", "--auto-clone", "--check")
        need([m["name"] for m in s.json("list", "--all")] == ["one"] and len(list(images.iterdir())) == 2, "--check made something")
        s.ok("clone", "-o", "one", "-n", "two", "--skip-copy", "vdb", "-f", str(images / "c.qcow2"))
        need(sources(s.ok("dumpxml", "two")) == ["c.qcow2", "b.qcow2"], "--skip-copy")
        (images / "d.qcow2").write_bytes(b"mine")
        s.ok("clone", "-o", "one", "-n", "three", "--preserve-data", "-f", str(images / "d.qcow2"), "-f", str(images / "d.qcow2"))
        need((images / "d.qcow2").read_bytes() == b"mine", "--preserve-data wrote into the file")
        xml = s.dir / "o.xml"
        xml.write_text(s.ok("dumpxml", "one"))
        s.ok("clone", "--original-xml", str(xml), "-n", "four", "--auto-clone", "--nonsparse")
        four = set(sources(s.ok("dumpxml", "four")))
        need(len(four) == 2 and not four & {"a.qcow2", "b.qcow2"} and all((images / n).exists() for n in four), f"--original-xml: {four}")
        r = s.run("clone", "-o", "one", "-n", "five", "--auto-clone", "--reflink")
        need(r.returncode == 0 or "share" in r.stderr or "reflink" in r.stderr, r.stderr)
        need(r.returncode == 0 or "five" not in s.ok("list", "--all"), "a failed --reflink left a definition")


# What needs something of the host that not every host has, and the words that say so.
REFUSED = {"bridge": "bridge", "network": "network manager", "hugepages": "hugetlbfs|huge pages"}


def what_virt_install_writes_starts():
    with Session() as s:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(s.dir / "d.qcow2"), "64M"], check=True)
        (s.dir / "c.iso").write_bytes(bytes(1 << 20))
        files = guest_files("cloud")
        started = 0
        for path in sorted((TOP / "tests/xml").glob("made-by-virt-install-*.xml")):
            if path.name.endswith(".out.xml"):
                continue
            what = path.name[len("made-by-virt-install-"):-len(".xml")]
            text = re.sub(r"<emulator>.*?</emulator>", "", path.read_text()).replace("/srv/vm/", f"{s.dir}/")
            text = text.replace("/boot/vmlinuz", str(files / "vmlinuz")).replace("/boot/initrd.img", str(files / "initrd.img"))
            s.ok("define", "-", stdin=text)
            name = re.search("<name>(.*)</name>", text).group(1)
            r = s.run("start", name, "--paused")
            if what in REFUSED and r.returncode:
                need(re.search(REFUSED[what], r.stderr), f"{what}: {r.stderr}")
                continue
            need(r.returncode == 0, f"{what}: {r.stderr}")
            started += 1
            s.ok("destroy", name)
        need(started >= 27, f"only {started} start")


def pool_and_volumes():
    with Session() as s:
        s.ok("vol-create-as", "default", "a.qcow2", "64M", "--format", "qcow2")
        s.ok("vol-create-as", "default", "b.qcow2", "64M", "--format", "qcow2", "--backing-vol", "a.qcow2")
        need([v["name"] for v in s.json("vol-list", "default")] == ["a.qcow2", "b.qcow2"], "vol-list")
        need(s.json("vol-info", "a.qcow2")["capacity"] == 64 << 20, "vol-info")
        need("not replaced" in s.fails("vol-create-as", "default", "a.qcow2", "1M"), "an image was overwritten")
        s.ok("vol-clone", "a.qcow2", "c.qcow2")
        path = s.ok("vol-path", "c.qcow2").strip()
        s.define("u", kernel=False, devices=f"<disk type='file'><driver name='qemu' type='qcow2'/><source file='{path}'/>"
                 "<target dev='vda'/></disk>")
        need("is a disk of domain 'u'" in s.fails("vol-delete", "c.qcow2"), "a disk in use was deleted")
        s.ok("vol-delete", "b.qcow2")
        need("no volume 'b.qcow2'" in s.fails("vol-delete", "b.qcow2"), "deleted twice")
        need("cannot be the name" in s.fails("vol-create-as", "default", "../x", "1M"), "a name that leaves the pool")


def doctor_says_what_to_do():
    with Session() as s:
        r = s.run("doctor", "--json")
        found = {f["what"]: f for f in json.loads(r.stdout)}
        for what in ("emulator", "kvm", "huge pages", "tap", "io_uring", "images", "firmware"):
            need(what in found, f"doctor does not look at {what}")
            need(found[what]["grade"] == "PASS" or found[what].get("fix"), f"{what} has no fix: {found[what]}")


def image_to_nothing():
    """From packages to a machine, its copy, and nothing: what the manager is for."""
    if not shutil.which("mmdebstrap"):
        raise Skip("mmdebstrap is not installed")
    with Session() as s:
        images = s.dir / "data/hanok/images"
        r = s.run("image", "build", "debian12", "--size", "2G", "--root-password", "se'cret", timeout=1500)
        if r.returncode and re.search("Could not (resolve|connect)|Failed to fetch|Temporary failure", r.stderr):
            raise Skip("no Debian mirror can be reached")
        need(r.returncode == 0, r.stderr)
        # the disk boots by itself, from BIOS and from UEFI
        s.ok("install", "--name", "efi", "--memory", "512", "--import", "--disk", str(images / "debian12.qcow2"),
             "--noautoconsole", "--virt-type", "qemu", "--boot", "uefi", "--network", "none", "--graphics", "none")
        Console(s, "efi").expect("login: ", 600)
        s.ok("destroy", "efi")
        s.ok("undefine", "efi", "--nvram")
        s.ok("install", "--name", "deb", "--memory", "512", "--vcpus", "2", "--import", "--disk",
             str(images / "debian12.qcow2"), "--noautoconsole", "--virt-type", "qemu", "--graphics", "none")
        need("<kernel>" not in s.ok("dumpxml", "deb"), "the disk is not what boots")

        def log_in(name):
            console = Console(s, name)
            console.expect("login: ", 400)
            console.send("root\n")
            console.expect("Password: ")
            console.send("se'cret\n")
            console.expect("# ")
            console.send("systemctl is-system-running; nproc; echo E''ND\n")
            console.expect("2(.|\n)*END")

        log_in("deb")
        need(s.json("list")[0]["name"] == "deb" and s.json("dominfo", "deb")["vcpus"] == 2, "list, dominfo")
        need(s.json("guestinfo", "deb")["os.id"] == "debian", "the guest's agent does not answer")
        need(any(a["address"].startswith("10.0.2.15/") for a in s.json("domifaddr", "deb")), "domifaddr")
        s.ok("setvcpus", "deb", "1", "--guest")
        online = json.loads(s.ok("qemu-agent-command", "deb", "guest-get-vcpus"))["return"]
        need(sorted((v["logical-id"], v["online"]) for v in online) == [(0, True), (1, False)], f"setvcpus --guest: {online}")
        s.ok("setvcpus", "deb", "2", "--guest")
        s.ok("vcpupin", "deb", "1", "0")
        tid = s.json("vcpuinfo", "deb")[1]["thread-id"]
        shown = subprocess.run(["taskset", "-p", str(tid)], capture_output=True, text=True, check=True).stdout
        need(shown.strip().endswith("mask: 1"), f"taskset says {shown}")
        need("<domain type='qemu' id=" in s.ok("dumpxml", "deb"), "dumpxml")
        s.ok("shutdown", "deb")
        s.wait_state("deb", "shut off", 120)
        need(s.state("deb")["reason"] == "shutdown", str(s.state("deb")))
        s.ok("clone", "--original", "deb", "--auto-clone")
        for name in ("deb", "deb-clone"):
            s.ok("start", name)
        args = subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True).stdout
        need(all(re.search(rf"hanok-vm -name guest={n},", args) for n in ("deb", "deb-clone")), "ps ax does not show both")
        log_in("deb-clone")
        for name in ("deb", "deb-clone"):
            s.ok("destroy", name)
            s.ok("undefine", name, "--remove-all-storage")
        need(not list(images.iterdir()) and s.leftovers() == [], f"left behind: {list(images.iterdir())} {s.leftovers()}")


def without_root(session):
    """Words before a command that make it a user's who has a range of further user ids, and change nothing else."""
    if os.geteuid():
        return []
    (session.dir / "subids").write_text("nobody:100000:65536\n")
    for path in (session.dir, *session.dir.rglob("*")):
        os.chown(path, 65534, 65534)
    binds = "; ".join(f"mount --bind {session.dir}/subids {f}" for f in ("/etc/subuid", "/etc/subgid"))
    return ["unshare", "-m", "sh", "-ec", f'touch /etc/subuid /etc/subgid; {binds}; exec "$@"', "sh",
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def image_is_made_without_root():
    if not shutil.which("mmdebstrap") or not shutil.which("newuidmap"):
        raise Skip("mmdebstrap or newuidmap is not installed")
    with Session() as s:
        image, note = s.dir / "made/d.qcow2", s.dir / "note"
        (s.dir / "made").mkdir()
        note.write_text("put there")
        note.chmod(0o755)
        r = subprocess.run([*without_root(s), HANOK, "image", "build", "debian12", "--size", "2G", "--output", str(image),
                            "--direct-boot", "--upload", f"{note}:/srv/a place/note", "--run-command",
                            "echo \"it's $(id -un)\" > /srv/who; sed -i 's/^root:[^:]*/root:/' /etc/shadow"],
                           env=s.env, capture_output=True, text=True, timeout=1500)
        if r.returncode and re.search("Could not (resolve|connect)|Failed to fetch|Temporary failure", r.stderr):
            raise Skip("no Debian mirror can be reached")
        need(r.returncode == 0 and "root's password" in r.stderr, r.stderr)
        need(image.stat().st_mode & 0o777 == 0o600, "an image with a password in it can be read by others")
        s.ok("install", "--name", "d", "--memory", "512", "--import", "--disk", str(image), "--noautoconsole",
             "--virt-type", "qemu", "--graphics", "none")
        need("root=UUID=" in s.ok("dumpxml", "d"), "the kernel beside the image is not what boots")
        console = Console(s, "d")
        console.expect("login: ", 400)
        console.send("root\n")
        console.expect("# ")
        console.send("cat /srv/who; stat -c '%U:%a' /srv/a*/note /usr/bin/su; find / -xdev -nouser | wc -l; echo E''ND\n")
        seen = console.expect("END")
        for word in ("it's root", "root:755", "root:4755", "\n0\r"):
            need(word in seen, f"no {word!r} in {seen!r}")


TESTS = [
    ("the tutorial's command works", tutorial_command_works),
    ("a tree on a web server is fetched and checked", tree_on_a_web_server_is_fetched_and_checked),
    ("a CD image is a tree too", cd_image_is_a_tree_too),
    ("options become XML", options_become_xml),
    ("the system to be installed sets defaults", system_to_be_installed_sets_defaults),
    ("an injected file is in the guest", injected_file_is_in_the_guest),
    ("an unattended install has all answers", unattended_install_has_all_answers),
    ("a cloud-init seed tells the guest who it is", cloud_init_seed_tells_the_guest_who_it_is),
    ("copies run beside their original", copies_run_beside_their_original),
    ("copies by the other options", copies_by_the_other_options),
    ("what virt-install writes starts", what_virt_install_writes_starts),
    ("pool and volumes", pool_and_volumes),
    ("doctor says what to do", doctor_says_what_to_do),
]
SLOW = [("Debian's installer reaches its first screen", debian_installer_reaches_its_first_screen),
        ("an image is made without root", image_is_made_without_root),
        ("from an image of packages to a machine, its copy, and nothing", image_to_nothing)]

if __name__ == "__main__":
    wanted = SLOW if "--slow" in sys.argv else TESTS
    words = [w for w in sys.argv[1:] if not w.startswith("-")]
    run_tests([t for t in wanted if not words or any(w in t[0] for w in words)])
