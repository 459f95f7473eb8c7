"""vnc_client - a small RFB 3.8 viewer: raw rectangles, keys by scan code, the pointer; passwords, WebSocket."""
import base64
import ctypes
import os
import socket
import struct
import time

RAW, DESKTOP_SIZE, EXTENDED_KEY, EXTENDED_SIZE = 0, -223, -258, -308


def read_exactly(sock, n):
    data = b""
    while len(data) < n:
        more = sock.recv(n - len(data))
        if not more:
            raise OSError("the server has closed the connection")
        data += more
    return data


class WebSocket:
    """A socket's sendall() and recv() over binary frames (RFC 6455)."""

    def __init__(self, sock):
        self.sock, self.data = sock, b""
        sock.sendall(b"GET /websockify HTTP/1.1\r\nHost: guest\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Origin: http://guest\r\nSec-WebSocket-Protocol: binary\r\nSec-WebSocket-Version: 13\r\n"
                     b"Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)) + b"\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            more = sock.recv(1)
            if not more:
                raise OSError(f"the server does not speak WebSocket: {head!r}")
            head += more
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise OSError(f"the server refuses WebSocket: {head!r}")

    def close(self):
        self.sock.close()

    def sendall(self, data):
        mask = os.urandom(4)
        length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
        self.sock.sendall(b"\x82" + length + mask + bytes(c ^ mask[i % 4] for i, c in enumerate(data)))

    def recv(self, n):
        while not self.data:
            _, length = read_exactly(self.sock, 2)
            if length == 126:
                length, = struct.unpack(">H", read_exactly(self.sock, 2))
            elif length == 127:
                length, = struct.unpack(">Q", read_exactly(self.sock, 8))
            self.data = read_exactly(self.sock, length)
        out, self.data = self.data[:n], self.data[n:]
        return out


class Viewer:
    def __init__(self, address, timeout=20, password=None, websocket=False):
        self.sock = socket.socket(socket.AF_UNIX) if isinstance(address, str) else socket.socket()
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        if websocket:
            self.sock = WebSocket(self.sock)
        self.extended = self.sized = False
        self.size_answer = None
        if self._read(12)[:4] != b"RFB ":
            raise OSError("not a VNC server")
        self.sock.sendall(b"RFB 003.008\n")
        kinds = self._read(self._read(1)[0])
        self.kinds = list(kinds)
        if 1 in kinds:
            self.sock.sendall(b"\x01")
        elif password is not None:
            self._password(password)
        else:
            return
        self._start()

    def _password(self, password):
        """VNC authentication: a challenge, answered by what real viewers use (RFC 6143 section 7.2.2)."""
        self.sock.sendall(b"\x02")
        challenge = ctypes.create_string_buffer(self._read(16), 16)
        ctypes.CDLL("libvncclient.so.1").rfbClientEncryptBytes(challenge, ctypes.c_char_p(password.encode()))
        self.sock.sendall(challenge.raw)

    def _start(self):
        if struct.unpack(">I", self._read(4))[0] != 0:
            raise PermissionError(self._read(struct.unpack(">I", self._read(4))[0]).decode())
        self.sock.sendall(b"\x01")
        self.width, self.height = struct.unpack(">HH", self._read(4))
        self._read(16)
        self.name = self._read(struct.unpack(">I", self._read(4))[0]).decode()
        # 32 bits, 0x00RRGGBB little-endian
        self.sock.sendall(struct.pack(">B3xBBBBHHHBBB3x", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))
        encodings = [RAW, DESKTOP_SIZE, EXTENDED_KEY, EXTENDED_SIZE]
        self.sock.sendall(struct.pack(">BxH", 2, len(encodings)) + b"".join(struct.pack(">i", e) for e in encodings))
        self.pixels = bytearray(self.width * self.height * 4)

    def __enter__(self):
        return self

    def __exit__(self, failed, *unused):
        if not failed:
            self.leave()
        self.sock.close()

    def leave(self):
        """All that was sent is taken before this returns.

        Closing a socket with data to be read resets the connection, which throws away keys on their way; a server sends
        more than is asked for (its size, that it takes scan codes), so reading an answer is no way to know.
        """
        if isinstance(self.sock, socket.socket) and self.sock.fileno() >= 0:
            self.sock.shutdown(socket.SHUT_WR)
            while self.sock.recv(1 << 16):
                pass

    def _read(self, n):
        return read_exactly(self.sock, n)

    def _rectangle(self):
        x, y, w, h, encoding = struct.unpack(">HHHHi", self._read(12))
        if encoding == DESKTOP_SIZE:
            self.width, self.height = w, h
            self.pixels = bytearray(w * h * 4)
        elif encoding == EXTENDED_SIZE:  # x: why it comes, y: how a wish of ours was answered
            self._read(struct.unpack(">B3x", self._read(4))[0] * 16)
            self.sized = True
            if x == 1:
                self.size_answer = y
            if (self.width, self.height) != (w, h):
                self.width, self.height = w, h
                self.pixels = bytearray(w * h * 4)
        elif encoding == EXTENDED_KEY:
            self.extended = True
        elif encoding == RAW:
            data = self._read(w * h * 4)
            for row in range(h):
                at = ((y + row) * self.width + x) * 4
                self.pixels[at:at + w * 4] = data[row * w * 4:(row + 1) * w * 4]
        else:
            raise OSError(f"encoding {encoding} was not asked for")

    def update(self, incremental=True):
        """Waits for one answer to a request for the whole screen."""
        self.sock.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))
        while True:
            kind = self._read(1)[0]
            if kind == 0:
                for _ in range(struct.unpack(">xH", self._read(3))[0]):
                    self._rectangle()
                return
            if kind == 3:  # clipboard
                self._read(struct.unpack(">3xI", self._read(7))[0])

    def key(self, code, down):
        self.sock.sendall(struct.pack(">BBHII", 255, 0, down, 0, code))

    def press(self, code):
        self.key(code, True)
        self.key(code, False)

    def keysym(self, sym):
        for down in (1, 0):
            self.sock.sendall(struct.pack(">BBxxI", 4, down, sym))

    def wish_size(self, width, height):
        self.sock.sendall(struct.pack(">BxHHBxIHHHHI", 251, width, height, 1, 0, 0, 0, width, height, 0))

    def pointer(self, buttons, x, y):
        self.sock.sendall(struct.pack(">BBHH", 5, buttons, x, y))

    def until(self, condition, seconds):
        """Updates until condition(self) holds; False when time is up."""
        end = time.monotonic() + seconds
        self.update(False)
        while not condition(self):
            if time.monotonic() > end:
                return False
            try:
                self.update()
            except TimeoutError:
                return condition(self)
        return True

    def rgb(self):
        """The screen as a PPM has it."""
        out = bytearray(self.width * self.height * 3)
        out[0::3], out[1::3], out[2::3] = self.pixels[2::4], self.pixels[1::4], self.pixels[0::4]
        return bytes(out)
