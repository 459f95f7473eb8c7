#!/usr/bin/env python3
"""The VNC server's doors: TCP displays, a password that can be changed, WebSocket, several viewers at once."""
import socket
import tempfile

from firmware_parts import Qmp
from vmtest import Failure, Guest, run_tests
from vnc_client import Viewer


def lit(viewer):
    return sum(1 for i in range(0, len(viewer.pixels), 4) if any(viewer.pixels[i:i + 3]))


def sees(viewer, what):
    if not viewer.until(lambda s: lit(s) > 500, 60):
        raise Failure(f"{what} sees {viewer.width} x {viewer.height} dots, {lit(viewer)} of them lit")


def need(condition, what):
    if not condition:
        raise Failure(what)


def machine(work, *vnc):
    guest = Guest(["-m", "64", "-nic", "none", "-qmp", f"unix:{work}/qmp,server=on,wait=off", *vnc])
    guest.expect("SeaBIOS")
    return guest


def displays_and_several_viewers():
    """The display asked for is taken: the next free one is, and QMP says which."""
    with tempfile.TemporaryDirectory() as work, socket.create_server(("127.0.0.1", 0)) as taken:
        display = taken.getsockname()[1] - 5900
        with machine(work, "-vnc", f"127.0.0.1:{display},to={display + 90}") as _, Qmp(f"{work}/qmp") as q:
            info = q.run("query-vnc")
            port = int(info["service"])
            need(info["host"] == "127.0.0.1" and display < port - 5900 <= display + 90, f"query-vnc says {info}")
            with Viewer(("127.0.0.1", port)) as first, Viewer(("127.0.0.1", port)) as second:
                sees(first, "the first viewer")
                sees(second, "the second viewer")
                need(q.run("query-vnc")["viewers"] == 2, "there are not two viewers")
                first.sock.close()
                second.update(False)
                sees(second, "the one that stays")
            with Viewer(("127.0.0.1", port)) as late:
                sees(late, "one that comes later")


def password():
    with tempfile.TemporaryDirectory() as work:
        path = f"{work}/vnc"
        with machine(work, "-vnc", f"unix:{path},password=on") as _, Qmp(f"{work}/qmp") as q:
            def refused(word):
                try:
                    with Viewer(path, password=word):
                        return False
                except PermissionError:
                    return True

            need(refused("sesame"), "without a password anybody gets in")
            q.run("set_password", protocol="vnc", password="sesame")
            need(refused("wrong"), "a wrong password gets in")
            with Viewer(path, password="sesame") as v:
                sees(v, "who knows the password")
            q.run("change-vnc-password", password="open")
            need(refused("sesame"), "the old password gets in")
            with Viewer(path, password="open") as v:
                sees(v, "who knows the new password")
            q.run("expire_password", protocol="vnc", time="now")
            need(refused("open"), "an expired password gets in")


def web_socket():
    with tempfile.TemporaryDirectory() as work:
        path = f"{work}/vnc"
        with machine(work, "-vnc", f"unix:{path}") as _:
            with Viewer(path, websocket=True) as browser, Viewer(path) as plain:
                sees(browser, "a viewer in a browser")
                sees(plain, "a plain viewer beside it")


run_tests([("displays, several viewers", displays_and_several_viewers), ("passwords come, change and expire", password),
           ("WebSocket at the same port", web_socket)])
