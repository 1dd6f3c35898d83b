"""Video files: frames with their time, by PyAV (FFmpeg), which the extra ``video`` installs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewise.errors import DecodeError, MissingExtraError, NotFoundError, TooLargeError
from edgewise.media.clips import coding_of, packet_of
from edgewise.media.images import MAX_PIXELS
from edgewise.media.packets import Coding, Packet
from edgewise.media.picture import Picture, luma_of

if TYPE_CHECKING:
    from edgewise.types import Array, Image

MAX_BAD_PACKETS = 100
"""Damaged packets in a row that are skipped; recordings that were cut off have a few."""

_PROTOCOLS = "file"
# Pixel formats whose first plane is the luma, a byte each.
_LUMA_FIRST = frozenset(
    {"gray", "nv12", "nv21", "yuv410p", "yuv411p", "yuv420p", "yuv422p", "yuv440p", "yuv444p"}
    | {"yuvj411p", "yuvj420p", "yuvj422p", "yuvj440p", "yuvj444p"}
)


class DecodedPicture(Picture):
    """A frame of PyAV, upright.

    Args:
        frame: An ``av.VideoFrame``.
        packet: What it was decoded from; kept where it is a JPEG that stands alone.
    """

    def __init__(self, frame: Any, packet: Any = None) -> None:
        self._turns = round(frame.rotation / 90) % 4
        sideways = self._turns % 2 == 1
        super().__init__(
            frame.height if sideways else frame.width,
            frame.width if sideways else frame.height,
        )
        self._frame = frame
        if packet is not None and not self._turns and _is_jpeg(packet):
            self.jpeg = bytes(packet)

    def _make_image(self) -> Image:
        return self._upright(self._frame.to_ndarray(format="rgb24"))

    def _make_luma(self) -> Array:
        import numpy as np

        if self._frame.format.name not in _LUMA_FIRST:
            return luma_of(self._image if self._image is not None else self._make_image())
        plane = self._frame.planes[0]
        rows = np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size]
        return self._upright(rows.reshape(plane.height, plane.line_size)[:, : plane.width])

    def _upright(self, pixels: Array) -> Array:
        import numpy as np

        return np.ascontiguousarray(np.rot90(pixels, self._turns)) if self._turns else pixels


def _is_jpeg(packet: Any) -> bool:
    """Whether a packet is a whole JPEG. Some cameras leave out the Huffman tables, which no browser forgives."""
    return packet.stream.codec_context.name == "mjpeg" and b"\xff\xc4" in memoryview(packet)[:4096].tobytes()


class PacketTap:
    """Hands on the packets of a stream that is being decoded, from its first key frame on.

    A stream that is shown turned, as phones record, and one whose packets carry no time hands on nothing: an MP4 made
    of its packets would not show what the frames show.

    Args:
        stream: Of PyAV, being demuxed.
        give: Takes the packets.
    """

    def __init__(self, stream: Any, give: Callable[[Packet], None]) -> None:
        self._stream = stream
        self._give = give
        self._coding: Coding | None = None
        self._held: list[Any] = []  # until the first frame is decoded, which tells how the stream is turned
        self._upright: bool | None = None

    def take(self, packet: Any, decoded: Sequence[Any]) -> None:
        """Takes the next packet, and what was decoded from it."""
        if self._upright is None and decoded:
            self._upright = round(decoded[0].rotation / 90) % 4 == 0
            if not self._upright:
                self._held.clear()
        if packet.size and self._upright is not False:
            self._held.append(packet)
        if self._upright is not None:
            held, self._held = self._held, []
            for one in held:
                self._hand_on(one)

    def _hand_on(self, packet: Any) -> None:
        if self._coding is None:
            if not packet.is_keyframe:
                return
            self._coding = coding_of(self._stream, packet)
        try:
            self._give(packet_of(packet, self._coding))
        except DecodeError:
            self._upright = False


def frames(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> Iterator[tuple[float, Image]]:
    """The frames of a video file in order, upright, as RGB; see ``pictures``."""
    for at, picture in pictures(path, max_pixels=max_pixels):
        yield at, picture.image


def pictures(
    path: Path | str, *, max_pixels: int = MAX_PIXELS, on_packet: Callable[[Packet], None] | None = None
) -> Iterator[tuple[float, Picture]]:
    """The frames of a video file in order, turned into RGB when somebody looks.

    A few damaged packets are skipped, as players do. FFmpeg may open nothing but local files, whatever a playlist
    inside the file says.

    Args:
        path: The file.
        max_pixels: Largest width times height that is accepted.
        on_packet: Called with each packet before the frames decoded from it are given; see ``PacketTap``.

    Yields:
        Seconds from the first frame, and the picture.

    Raises:
        MissingExtraError: PyAV is not installed.
        NotFoundError: There is no such file.
        DecodeError: No video that can be decoded.
        TooLargeError: Frames have more than ``max_pixels``.
    """
    av = load_pyav("Video files")
    if not Path(path).is_file():
        raise NotFoundError(f"There is no video {path}", kind="file", name=str(path))
    try:
        with av.open(str(path), options={"protocol_whitelist": _PROTOCOLS}, metadata_errors="replace") as container:
            if not container.streams.video:
                raise DecodeError(f"{path} holds no video", file=str(path))
            stream = container.streams.video[0]
            check_size(stream.width, stream.height, max_pixels)
            tap = PacketTap(stream, on_packet) if on_packet else None
            yield from _timed(_decoded(container, stream, av, tap), max_pixels)
    except av.error.FFmpegError as error:
        raise DecodeError(f"{path} is no video that can be decoded: {error.strerror}", file=str(path)) from error


def load_pyav(what: str) -> Any:
    """The vendor's library.

    Args:
        what: Needs it, for the message.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(f"{what} need PyAV", hint="pip install 'edgewise[video]'", extra="video") from error
    return av


def _decoded(container: Any, stream: Any, av: Any, tap: PacketTap | None) -> Iterator[tuple[Any, Any]]:
    bad = 0
    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except av.error.InvalidDataError:
            bad += 1
            if bad > MAX_BAD_PACKETS:
                raise
            continue
        bad = 0
        if tap is not None:
            tap.take(packet, decoded)
        for frame in decoded:
            yield frame, packet


def _timed(decoded: Iterator[tuple[Any, Any]], max_pixels: int) -> Iterator[tuple[float, Picture]]:
    first: float | None = None
    for frame, packet in decoded:
        check_size(frame.width, frame.height, max_pixels)
        at = float(frame.time) if frame.time is not None else 0.0
        first = at if first is None else first
        yield at - first, DecodedPicture(frame, packet)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuses frames that are too large.

    Raises:
        TooLargeError: They have more than ``max_pixels``.
    """
    if width * height > max_pixels:
        raise TooLargeError(
            f"The video has {width} x {height} pixels, more than {max_pixels}", limit=max_pixels, actual=width * height
        )
