"""Live video of network cameras by RTSP (RFC 2326, RFC 7826), by PyAV (FFmpeg), which the extra ``video`` installs.

A thread takes packets off the network as they come; whoever reads decodes them. So for a slow reader packets wait here,
where they can be left out, and not in the camera or the network, where they would become delay. Of the pictures that
wait the newest is given and the others count as dropped; where packets hold a later picture that can be decoded by
itself (a key frame), decoding goes on from there. A picture is whole or it is not given: after damage the stream is
skipped up to its next key frame.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec
from msgspec import Meta

from edgewise.errors import UnavailableError
from edgewise.media.clips import coding_of, packet_of
from edgewise.media.images import MAX_PIXELS
from edgewise.media.packets import Coding, Packet
from edgewise.media.video import DecodedPicture, check_size, load_pyav

if TYPE_CHECKING:
    from edgewise.media.picture import Picture

# What may wait for a slow reader: some seconds of a busy camera. Past it all up to the next key frame is left out.
MAX_WAITING_PACKETS = 256
MAX_WAITING_BYTES = 64 * 1024 * 1024
# Packets that are skipped while a key frame is waited for. Cameras send one every few seconds; one that sends none is
# asked anew, and begins with one.
MAX_SKIPPED_PACKETS = 2000
_PROTOCOLS = "rtsp,rtp,rtcp,tcp,tls,udp"


class Address(msgspec.Struct, frozen=True):
    """Where a stream is.

    Attributes:
        url: ``rtsp://`` or ``rtsps://``, without credentials.
        username: Empty for none.
        password: Its secret.
        transport: What carries the pictures.
        ca_file: PEM file of the authorities that a camera's certificate is checked against (``rtsps``).
    """

    url: str
    username: str = ""
    password: str = ""
    transport: Literal["tcp", "udp"] = "tcp"
    ca_file: str = ""

    @property
    def shown(self) -> str:
        """The URL for people: a query may hold a key, and is left out."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    @property
    def whole(self) -> str:
        """The URL with credentials, for FFmpeg alone."""
        if not self.username:
            return self.url
        credentials = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}"
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=f"{credentials}@{parts.netloc}"))


class Timeouts(msgspec.Struct, frozen=True):
    """How long to wait, in seconds: for the camera to begin, and for the next picture once it has."""

    open_s: Annotated[float, Meta(gt=0)] = 10.0
    frozen_s: Annotated[float, Meta(gt=0)] = 5.0


class Shot(NamedTuple):
    """A picture, and when its packet came (nanoseconds since the Unix epoch)."""

    picture: Picture
    time_ns: int


class _Waiting(NamedTuple):
    packet: Any
    time_ns: int


class Backlog:
    """Packets between the network and the decoder. Safe for one thread that puts and one that takes.

    Attributes:
        dropped: Packets that were left out for newer ones.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._packets: deque[_Waiting] = deque()
        self._bytes = 0
        self._gap = False
        self._closed = False
        self._error: Exception | None = None
        self._changed = threading.Condition()

    def put(self, packet: Any, time_ns: int) -> bool:
        """Adds a packet, leaving out older ones when too much waits; False once it was closed."""
        with self._changed:
            if self._closed:
                return False
            if len(self._packets) >= MAX_WAITING_PACKETS or self._bytes + packet.size > MAX_WAITING_BYTES:
                self._skip_to_key(or_empty=True)
            self._packets.append(_Waiting(packet, time_ns))
            self._bytes += packet.size
            self._changed.notify_all()
        return True

    def take(self) -> tuple[bool, list[_Waiting]]:
        """What waits, from its newest key frame on; waits for a packet.

        Returns:
            Whether packets before these were left out, and the packets; none once it was closed.

        Raises:
            Exception: What ``fail`` was given, once nothing waits any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._packets or self._error)
            if self._error is not None and not self._packets and not self._closed:
                raise self._error
            self._skip_to_key(or_empty=False)
            packets, self._packets = list(self._packets), deque()
            gap, self._gap = self._gap, False
            self._bytes = 0
            return gap, packets

    def fail(self, error: Exception) -> None:
        """Nothing more will come."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def close(self) -> None:
        """Lets both sides go."""
        with self._changed:
            self._closed = True
            self._packets.clear()
            self._changed.notify_all()

    def _skip_to_key(self, *, or_empty: bool) -> None:
        newest = max((place for place, each in enumerate(self._packets) if each.packet.is_keyframe), default=0)
        left_out = newest or (len(self._packets) if or_empty else 0)
        for _ in range(left_out):
            self._bytes -= self._packets.popleft().packet.size
        self.dropped += left_out
        self._gap = self._gap or left_out > 0


class LiveVideo:
    """One connection to a camera. ``read`` once, from one thread; ``close`` from any.

    Args:
        address: Where.
        timeouts: How long to wait.
        time_ns: The wall clock.
        on_packet: Takes every packet as it comes, from the first key frame on, in the network's thread.
        max_pixels: Largest width times height that is accepted.

    Attributes:
        unreadable: Packets that were damaged, or could not be decoded because one before them was.
    """

    def __init__(
        self,
        address: Address,
        timeouts: Timeouts,
        *,
        time_ns: Callable[[], int],
        on_packet: Callable[[Packet], None] | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.unreadable = 0
        self._address = address
        self._timeouts = timeouts
        self._time_ns = time_ns
        self._on_packet = on_packet
        self._coding: Coding | None = None
        self._max_pixels = max_pixels
        self._backlog = Backlog()
        self._passed_over = 0
        # Until the next key frame: why packets are left out, "" when they are decoded.
        self._skipping: Literal["", "start", "gap", "damage"] = "start"
        self._decoder: Any = None
        self._av = load_pyav("Network cameras")
        self._thread = threading.Thread(target=self._receive, name="rtsp", daemon=True)

    @property
    def dropped(self) -> int:
        """Pictures that newer ones pushed out."""
        return self._backlog.dropped + self._passed_over

    def read(self) -> Generator[Shot, None, None]:
        """Yields the newest picture each time, until closed.

        Raises:
            UnavailableError: It cannot be opened, broke off, or gave nothing for too long.
            TooLargeError: Pictures have more than ``max_pixels``.
        """
        self._thread.start()
        undecoded = 0
        try:
            while (taken := self._backlog.take())[1]:
                newest = self._newest(*taken)
                if newest is not None:
                    check_size(newest.picture.width, newest.picture.height, self._max_pixels)
                    yield newest
                undecoded = 0 if newest is not None else undecoded + len(taken[1])
                if undecoded > MAX_SKIPPED_PACKETS:
                    raise self._unavailable("sends nothing that can be decoded", "Is its codec H.264, H.265 or JPEG?")
        finally:
            self.close()

    def close(self) -> None:
        """Ends ``read`` at once; the connection ends with the next packet, or after ``frozen_s``."""
        self._backlog.close()

    def _newest(self, gap: bool, packets: list[_Waiting]) -> Shot | None:
        if gap and not self._skipping:
            self._skipping = "gap"
        newest: Shot | None = None
        for packet, time_ns in packets:
            if self._skipping and not self._resume(packet):
                continue
            for frame in self._decode(packet):
                self._passed_over += newest is not None
                newest = Shot(DecodedPicture(frame, packet), time_ns)
        return newest

    def _resume(self, packet: Any) -> bool:
        """Whether decoding goes on with this packet; counts it otherwise."""
        if packet.is_keyframe:
            self._decoder.flush_buffers()
            self._skipping = ""
            return True
        self._passed_over += self._skipping == "gap"
        self.unreadable += self._skipping == "damage"
        return False

    def _decode(self, packet: Any) -> list[Any]:
        try:
            frames = list(self._decoder.decode(packet))
            if not packet.is_corrupt and not any(frame.is_corrupt for frame in frames):
                return frames
        except self._av.error.FFmpegError:
            pass
        self.unreadable += 1
        self._skipping = "damage"
        return []

    def _receive(self) -> None:
        try:
            with self._open() as container:
                stream = container.streams.video[0]
                self._decoder = self._make_decoder(stream)
                for packet in container.demux(stream):
                    if not packet.size:
                        continue
                    self._hand_on(stream, packet)
                    if not self._backlog.put(packet, self._time_ns()):
                        return
            self._backlog.fail(self._unavailable("broke off", "It is connected again."))
        except self._av.error.FFmpegError as fault:
            self._backlog.fail(self._translate(fault))
        except Exception as error:  # noqa: BLE001 - the reader raises it
            self._backlog.fail(error)

    def _hand_on(self, stream: Any, packet: Any) -> None:
        if self._on_packet is None or packet.dts is None:  # the first may come before the camera has told the time
            return
        if self._coding is None and packet.is_keyframe:
            self._coding = coding_of(stream, packet)
        if self._coding is not None:
            self._on_packet(packet_of(packet, self._coding))

    def _open(self) -> Any:
        options = {
            "rtsp_transport": self._address.transport,
            "allowed_media_types": "video",
            "protocol_whitelist": _PROTOCOLS,
            "fflags": "nobuffer",
            "fpsprobesize": "0",  # its rate does not matter, and finding it takes a second of pictures
            "tls_verify": "1",
        }
        if self._address.ca_file:
            options["ca_file"] = self._address.ca_file
        timeout = (self._timeouts.open_s, self._timeouts.frozen_s)
        container = self._av.open(
            self._address.whole, format="rtsp", options=options, timeout=timeout, metadata_errors="replace"
        )
        if container.streams.video:
            return container
        container.close()
        raise self._unavailable("gives no video", "Check the path of its URL.")

    def _make_decoder(self, stream: Any) -> Any:
        """A decoder of its own, since the container is another thread's."""
        theirs = stream.codec_context
        decoder = self._av.CodecContext.create(theirs.name, "r")
        decoder.extradata = theirs.extradata
        decoder.thread_count = 1  # more would each hold a picture back
        return decoder

    def _translate(self, fault: Any) -> UnavailableError:
        errors = self._av.error
        match fault:
            case errors.ExitError() | errors.TimeoutError():
                return self._unavailable(
                    f"gives nothing for {self._timeouts.frozen_s:g} s" if self._decoder else "does not answer",
                    "Is it switched on and reachable from this machine?",
                )
            case errors.HTTPUnauthorizedError() | errors.HTTPForbiddenError():
                return self._unavailable("refuses the credentials", "Check username and password_file.")
            case errors.HTTPNotFoundError():
                return self._unavailable("has no such stream", "Check the path of its URL.")
            case errors.OSError() if self._address.url.startswith("rtsps:") and not self._decoder:
                return self._unavailable(
                    "does not answer, or its certificate is not trusted", "Name its authority with ca_file."
                )
        return self._unavailable(f"cannot be read: {fault.strerror}", "Check its URL, and whether it is switched on.")

    def _unavailable(self, what: str, hint: str) -> UnavailableError:
        return UnavailableError(f"Camera {self._address.shown} {what}", hint=hint, url=self._address.shown)
