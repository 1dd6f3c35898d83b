"""A program: an RTSP server (GStreamer) whose pictures carry their number. Run by ``rtsp.RtspServer``, under a Python
that has GStreamer's bindings; it uses nothing of Edgewise.

A picture has ``BITS`` upright stripes, white for 1 and black for 0, the first for the highest bit of its number. Where
a line ``size WIDTHxHEIGHT`` comes in, pictures have that size from then on; to a line ``count`` the answer is the
number of the newest picture.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import threading
import time
from typing import Any

BITS = 16
_GREY = b"\x80"


def main() -> None:
    """Serves until standard input ends."""
    options = _options()
    gst, glib, rtsp = _bindings()
    camera = _Camera(gst, options)
    server = rtsp.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(str(options.port))
    if options.username:
        _protect(rtsp, server, options)
    factory = rtsp.RTSPMediaFactory.new()
    factory.set_shared(True)
    factory.set_suspend_mode(rtsp.RTSPSuspendMode.NONE)
    encoder = f"openh264enc gop-size={options.gop} complexity=low"
    factory.set_launch(
        "( appsrc name=camera is-live=true do-timestamp=true format=time ! queue max-size-buffers=2 ! "
        f"{encoder} ! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 )"
    )
    if options.username:
        _permit(gst, factory)
    factory.connect("media-configure", camera.configure)
    server.get_mount_points().add_factory("/camera", factory)
    server.attach(None)
    loop = glib.MainLoop()
    threading.Thread(target=_obey, args=(camera, loop), daemon=True).start()
    _say("ready")
    loop.run()


class _Camera:
    def __init__(self, gst: Any, options: argparse.Namespace) -> None:
        self.size = options.size
        self.number = 0
        self._gst = gst
        self._fps = options.fps

    def configure(self, _factory: Any, media: Any) -> None:
        source = media.get_element().get_child_by_name("camera")
        threading.Thread(target=self._push, args=(source,), daemon=True).start()

    def _push(self, source: Any) -> None:
        size = (0, 0)
        due = time.monotonic()
        while True:
            wanted = self.size
            if size != wanted:
                size = wanted
                text = f"video/x-raw,format=I420,width={size[0]},height={size[1]},framerate={self._fps}/1"
                source.set_property("caps", self._gst.Caps.from_string(text))
            self.number += 1
            picture = _picture(self.number, size)
            if source.emit("push-buffer", self._gst.Buffer.new_wrapped(picture)) != self._gst.FlowReturn.OK:
                return
            due += 1 / self._fps
            time.sleep(max(0.0, due - time.monotonic()))


def _picture(number: int, size: tuple[int, int]) -> bytes:
    width, height = size
    stripe = width // BITS
    row = b"".join((b"\xeb" if number >> bit & 1 else b"\x10") * stripe for bit in reversed(range(BITS)))
    return row * height + _GREY * (width * height // 2)


def _obey(camera: _Camera, loop: Any) -> None:
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "size":
            camera.size = _size(rest)
        _say(str(camera.number))
    loop.quit()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _protect(rtsp: Any, server: Any, options: argparse.Namespace) -> None:
    auth = rtsp.RTSPAuth.new()
    token = rtsp.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(rtsp.RTSPAuth.make_basic(options.username, options.password), token)
    server.set_auth(auth)


def _permit(gst: Any, factory: Any) -> None:
    allowed = ",".join(f"media.factory.{right}=(boolean)true" for right in ("access", "construct"))
    factory.add_role_from_structure(gst.Structure.from_string(f"viewer,{allowed}")[0])


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--size", type=_size, default=(160, 128))
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--gop", type=int, default=10)
    parser.add_argument("--username", default="")
    parser.add_argument("--password", default="")
    return parser.parse_args()


def _bindings() -> tuple[Any, Any, Any]:
    gi: Any = importlib.import_module("gi")
    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    gst: Any = importlib.import_module("gi.repository.Gst")
    gst.init(None)
    return gst, importlib.import_module("gi.repository.GLib"), importlib.import_module("gi.repository.GstRtspServer")


if __name__ == "__main__":
    main()
