"""A network camera, by RTSP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise._lib.secrets import read_secret
from edgewise.media.packets import Packet
from edgewise.pipeline.base import Frame, Gives

if TYPE_CHECKING:
    from edgewise.media.rtsp import LiveVideo


class RtspSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="rtsp"):
    """A network camera.

    Attributes:
        url: ``rtsp://`` or, encrypted, ``rtsps://``; without credentials.
        username: Empty for none.
        password_file: File whose first line is the password.
        transport: ``tcp`` loses no packets; ``udp`` is for cameras that cannot do otherwise.
        ca_file: PEM file of the authorities that the camera's certificate is checked against (``rtsps``); empty: the
            system's.
        open_timeout_s: How long the camera may take to begin.
        frozen_s: A camera that has sent nothing for this long is connected anew.
    """

    url: Annotated[str, Meta(pattern=r"^rtsps?://[^@/\s]+(/[^\s]*)?$", max_length=2048)]
    username: Annotated[str, Meta(max_length=256)] = ""
    password_file: str = ""
    transport: Literal["tcp", "udp"] = "tcp"
    ca_file: str = ""
    open_timeout_s: Annotated[float, Meta(ge=0.5, le=120)] = 10.0
    frozen_s: Annotated[float, Meta(ge=0.5, le=120)] = 5.0

    def __post_init__(self) -> None:
        if self.url.startswith("rtsps:") and self.transport != "tcp":
            raise ValueError("rtsps encrypts only what goes by tcp")


class RtspSource:
    """Watches a network camera. Keeps the ``Source`` and ``Encoded`` seams.

    Of the pictures that came since the last one was taken it gives the newest and counts the others as dropped.
    """

    gives = Gives.FRAME
    Settings = RtspSettings

    def __init__(self, name: str, settings: RtspSettings, *, clock: Clock) -> None:
        self.name = name
        self.live = True
        self._settings = settings
        self._clock = clock
        self._given = 0
        self._dropped = 0
        self._unreadable = 0
        self._lock = threading.Lock()
        self._closed = False
        self._video: LiveVideo | None = None
        self._take: Callable[[Packet], None] | None = None

    @property
    def dropped(self) -> int:
        """Pushed out by newer ones."""
        with self._lock:
            return self._dropped + (self._video.dropped if self._video else 0)

    @property
    def unreadable(self) -> int:
        """Damaged on the way, or not to be decoded because one before was."""
        with self._lock:
            return self._unreadable + (self._video.unreadable if self._video else 0)

    def tap(self, take: Callable[[Packet], None]) -> None:
        """Hands on the camera's packets as they come, also those whose pictures are dropped; see ``Encoded``."""
        self._take = take

    def read(self) -> Iterator[Frame]:
        """Yields what the camera sees; see ``Source``."""
        video = self._open()
        if video is None:
            return
        try:
            with closing(video.read()) as shots:
                for shot in shots:
                    self._given += 1
                    yield Frame(self.name, self._given + self.dropped, shot.time_ns, shot.picture)
        finally:
            with self._lock:
                self._dropped += video.dropped
                self._unreadable += video.unreadable
                self._video = None

    def close(self) -> None:
        """Ends ``read``."""
        with self._lock:
            self._closed = True
            if self._video is not None:
                self._video.close()

    def _open(self) -> LiveVideo | None:
        from edgewise.media.rtsp import Address, LiveVideo, Timeouts

        settings = self._settings
        secret = read_secret(settings.password_file, what="password_file") if settings.password_file else ""
        address = Address(settings.url, settings.username, secret, settings.transport, settings.ca_file)
        timeouts = Timeouts(settings.open_timeout_s, settings.frozen_s)
        with self._lock:
            if not self._closed:
                self._video = LiveVideo(address, timeouts, time_ns=self._clock.time_ns, on_packet=self._take)
            return self._video
