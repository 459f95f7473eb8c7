"""bitmaps - reads the dirty bitmaps of a qcow2 file (its format's description, "Bitmaps extension").  Standard library only."""
import struct

IN_USE, AUTO = 1, 2
BITMAPS = 0x23852875


class Bitmap:
    """One entry of the directory (qcow2's description, "Bitmaps"), and the numbers of the bits that are set."""

    def __init__(self, data, at, cluster):
        self.at = at
        self.table, self.entries, self.flags, self.type, self.bits, name, extra = struct.unpack_from(">QIIBBHI", data, at)
        self.name = data[at + 24 + extra:at + 24 + extra + name].decode()
        self.size = -(-(24 + extra + name) // 8) * 8
        self.dirty = set()
        for index in range(self.entries):
            entry = struct.unpack_from(">Q", data, self.table + 8 * index)[0]
            place = entry & 0x00fffffffffffe00
            raw = data[place:place + cluster].ljust(cluster, b"\0") if place else (b"\xff" if entry & 1 else b"\0") * cluster
            number = int.from_bytes(raw, "little")
            self.dirty |= {index * cluster * 8 + bit for bit in range(cluster * 8) if number >> bit & 1} if number else set()


def bitmaps(path):
    data = path.read_bytes()
    cluster = 1 << struct.unpack_from(">I", data, 20)[0]
    at = struct.unpack_from(">I", data, 100)[0]
    found = {}
    while at + 8 <= cluster:
        kind, length = struct.unpack_from(">II", data, at)
        if kind == 0:
            break
        if kind == BITMAPS:
            count, _, size, place = struct.unpack_from(">IIQQ", data, at + 8)
            for _ in range(count):
                b = Bitmap(data, place, cluster)
                found[b.name] = b
                place += b.size
        at += 8 + -(-length // 8) * 8
    return found
