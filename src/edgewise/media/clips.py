"""Clips: packets written as MP4 without being decoded, and pictures encoded to packets where there are none.

What is written here any browser can play as far as its codec goes, and can seek in: the index stands at the front.
"""

from __future__ import annotations

import io
import logging
import math
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise.errors import DecodeError, MissingExtraError, StorageFullError, UnavailableError
from edgewise.media.packets import Coding, Packet

if TYPE_CHECKING:
    from edgewise.types import Image

PLAYABLE = frozenset({"h264", "hevc", "vp9", "av1"})
"""Codecs that browsers play in MP4 (HEVC: Safari, and others where the machine decodes it)."""

ENCODERS = ("libx264", "libopenh264", "libvpx-vp9")
"""Encoders for pictures, the best first; the first that FFmpeg has here is used."""

TIME_BASE = Fraction(1, 90_000)
KEYFRAME_S = 2.0
# Bits a second of a live view.
_LIVE_RATE = 2_500_000
_FULL = {28, 122}  # ENOSPC, EDQUOT


def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("Clips need PyAV", hint="pip install 'edgewise[video]'", extra="video") from error
    return av


@cache
def mp4_codecs() -> frozenset[str]:
    """FFmpeg's names of the codecs that MP4 can hold.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    av = _pyav()
    with av.open(io.BytesIO(), "w", format="mp4") as container:
        # Names of encoders and decoders; both may stand in place of the codec's.
        return frozenset(container.supported_codecs)


def coding_of(stream: Any, first: Any) -> Coding:
    """How a stream that PyAV reads or encodes is coded.

    Args:
        stream: Of a container, with its decoder or encoder.
        first: A key packet of it; not changed.
    """
    av = _pyav()
    carrier = io.BytesIO()
    with av.open(carrier, "w", format="nut") as container:
        copied = container.add_stream_from_template(stream, opaque=True)
        packet = av.Packet(bytes(first))
        packet.pts = packet.dts = 0
        packet.time_base = Fraction(1, 1000)
        packet.is_keyframe = True
        packet.stream = copied
        container.mux_one(packet)
    context = stream.codec_context
    codec = context.codec.canonical_name
    return Coding(codec, context.width, context.height, first.time_base, carrier.getvalue())


def packet_of(packet: Any, coding: Coding) -> Packet:
    """A packet of PyAV as ours; one without a time of decoding has none to be written with.

    Raises:
        DecodeError: It has no time.
    """
    if packet.dts is None and packet.pts is None:
        raise DecodeError("A packet of the video has no time")
    dts = packet.dts if packet.dts is not None else packet.pts
    pts = packet.pts if packet.pts is not None else packet.dts
    return Packet(coding, bytes(packet), pts, dts, packet.duration or 0, packet.is_keyframe)


class ClipWriter:
    """Writes packets of one or more codings of the same codec and size as an MP4 file. Not safe for threads.

    Args:
        path: The file; it is made at once, and whole only after ``finish``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.packets = 0
        self.bytes = 0
        self._output: Any = None
        self._stream: Any = None
        self._coding: Coding | None = None
        self._offset = 0
        self._last_dts: int | None = None
        self._key_pts = 0
        self._step = 1
        self._end = 0
        path.touch(mode=0o600)

    @property
    def duration_s(self) -> float:
        """From the first picture to the end of the last."""
        return float(self._end * self._time_base) if self._coding else 0.0

    @property
    def coding(self) -> Coding | None:
        """Of what was written first; None before."""
        return self._coding

    def fits(self, coding: Coding) -> bool:
        """Whether packets of this coding can follow what was written."""
        first = self._coding
        return first is None or (first.codec, first.width, first.height) == (coding.codec, coding.width, coding.height)

    def write(self, packet: Packet, *, gap_s: float | None = None) -> None:
        """Adds a packet. Pictures that cannot be decoded, since they lean on one before the first, are left out.

        Args:
            packet: The first is a key frame.
            gap_s: Given when its coding is another than that of the packet before: seconds between the two.

        Raises:
            StorageFullError: The disk is full.
        """
        try:
            if self._coding is None:
                self._open(packet)
            elif gap_s is not None:
                self._follow(packet, gap_s)
            if packet.pts < self._key_pts:
                return
            self._mux(packet)
        except OSError as error:
            raise _translated(error, self.path) from error

    def finish(self) -> None:
        """Writes the index; the file is whole then, though not yet synced.

        Raises:
            StorageFullError: The disk is full.
        """
        try:
            if self._output is not None:
                self._output.close()
                self._carrier.close()
        except OSError as error:
            raise _translated(error, self.path) from error

    def abandon(self) -> None:
        """Closes and removes the file."""
        try:
            self.finish()
        except Exception:
            logging.getLogger(__name__).debug("an abandoned clip could not be closed", exc_info=True)
        self.path.unlink(missing_ok=True)

    def _open(self, packet: Packet) -> None:
        av = _pyav()
        self._coding = packet.coding
        self._carrier = av.open(io.BytesIO(packet.coding.carrier), format="nut")
        # The index goes to the front, so that a browser can seek before it has everything.
        self._output = av.open(str(self.path), "w", format="mp4", options={"movflags": "faststart"})
        self._stream = self._output.add_stream_from_template(self._carrier.streams.video[0], opaque=True)
        self._time_base = packet.coding.time_base
        self._stream.time_base = self._time_base
        self._offset = -packet.pts
        self._key_pts = packet.pts

    def _follow(self, packet: Packet, gap_s: float) -> None:
        """Puts a new coding's packets behind those before."""
        gap = max(1, round(gap_s / self._time_base))
        at = (self._last_dts or 0) + max(gap, self._step)
        self._offset = at - round(packet.dts * packet.coding.time_base / self._time_base)
        self._key_pts = packet.pts

    def _mux(self, packet: Packet) -> None:
        scale = packet.coding.time_base / self._time_base
        dts = round(packet.dts * scale) + self._offset
        pts = round(packet.pts * scale) + self._offset
        if self._last_dts is not None:
            dts = max(dts, self._last_dts + 1)
            self._step = dts - self._last_dts
        muxed = _pyav().Packet(packet.data)
        muxed.dts, muxed.pts = dts, max(pts, dts)
        muxed.duration = round(packet.duration * scale)
        muxed.time_base = self._time_base
        muxed.is_keyframe = packet.keyframe
        muxed.stream = self._stream
        self._output.mux_one(muxed)
        self._last_dts = dts
        self._end = max(self._end, pts + (round(packet.duration * scale) or self._step))
        self.packets += 1
        self.bytes += len(packet.data)


def _translated(error: OSError, path: Path) -> Exception:
    if error.errno in _FULL:
        return StorageFullError(f"No space left to write {path.name}", hint="Free disk space.")
    return UnavailableError(f"A clip cannot be written: {error}", hint="Look at the disk of node.data.")


class FrameEncoder:
    """Encodes pictures of one size to packets, with a key frame every two seconds and no picture held back. One thread.

    Args:
        width: Of the pictures it is given, pixels.
        height: Of the pictures it is given, pixels.
        max_height: Higher pictures are made smaller.
        quality: 1..100; more is better and larger.
        encoder: One of FFmpeg's; empty for the best there is.
        live: For a call rather than a file: H.264 in its plainest profile, a bounded rate, and key frames that stand
            alone.

    Raises:
        MissingExtraError: PyAV is not installed, or has no encoder that browsers could play.
    """

    def __init__(
        self,
        width: int,
        height: int,
        *,
        max_height: int = 2160,
        quality: int = 60,
        encoder: str = "",
        live: bool = False,
    ) -> None:
        av = _pyav()
        self.size = (width, height)
        scale = min(1.0, max_height / height)
        self.width, self.height = max(2, math.ceil(width * scale / 2) * 2), max(2, math.ceil(height * scale / 2) * 2)
        name = encoder or best_encoder()
        # Only encodes; nothing is ever written through this container.
        self._container = av.open(io.BytesIO(), "w", format="nut")
        self._stream: Any = self._container.add_stream(
            name, rate=Fraction(30), options=_options(name, quality, live=live)
        )
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = self.width, self.height, "yuv420p"
        context.time_base = TIME_BASE
        context.thread_count = 1  # a turn of the scheduler is one core
        context.gop_size = 10_000  # key frames are set by time, below
        context.max_b_frames = 0
        self._live = live
        self._coding: Coding | None = None
        self._start_ns: int | None = None
        self._last_pts = -1
        self._key_pts: int | None = None

    @property
    def extradata(self) -> bytes:
        """What a decoder needs before the first key frame (H.264: parameter sets)."""
        return bytes(self._stream.codec_context.extradata or b"")

    def encode(self, image: Image, *, time_ns: int, key: bool = False) -> list[Packet]:
        """Encodes one picture.

        Args:
            image: RGB, of the encoder's size.
            time_ns: When it was taken.
            key: Asks for a key frame.
        """
        av = _pyav()
        if self._start_ns is None:
            self._start_ns = time_ns
        pts = max(self._last_pts + 1, round((time_ns - self._start_ns) * 9 / 100_000))
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(self.width, self.height, format="yuv420p")
        frame.pts, frame.time_base = pts, TIME_BASE
        frame.pict_type = av.video.frame.PictureType.NONE
        if key or self._key_pts is None or (pts - self._key_pts) * TIME_BASE >= KEYFRAME_S:
            frame.pict_type = av.video.frame.PictureType.I
            self._key_pts = pts
        self._last_pts = pts
        return [self._given(packet) for packet in self._stream.encode(frame)]

    def close(self) -> None:
        """Releases the encoder."""
        if self._coding is not None:
            self._container.close()
        self._stream = self._container = None

    def _given(self, packet: Any) -> Packet:
        if self._coding is None:
            self._container.start_encoding()  # copies the encoder's set-up to the stream
            self._coding = coding_of(self._stream, packet)
        given = packet_of(packet, self._coding)
        if self._live and given.keyframe and self.extradata:
            return msgspec.structs.replace(given, data=self.extradata + given.data)
        return given


@cache
def best_encoder() -> str:
    """The first of ``ENCODERS`` that FFmpeg has here.

    Raises:
        MissingExtraError: PyAV is not installed, or it has none of them.
    """
    av = _pyav()
    for name in ENCODERS:
        if name in av.codecs_available:
            return name
    raise MissingExtraError(
        f"This FFmpeg has no encoder for clips (one of {', '.join(ENCODERS)})",
        hint="Install PyAV from its wheel: pip install --force-reinstall av",
        extra="video",
    )


def _options(encoder: str, quality: int, *, live: bool) -> dict[str, str]:
    """Fast and without delay; quality 1..100 mapped to what the encoder calls it."""
    constant = str(round(45 - 0.35 * quality))  # 60 -> 24, near what people take for the original
    bounded = {"maxrate": str(_LIVE_RATE), "bufsize": str(_LIVE_RATE)} if live else {}
    match encoder:
        case "libx264":
            options = {"preset": "veryfast", "tune": "zerolatency", "crf": constant, "forced-idr": "1", **bounded}
            return {**options, "profile": "baseline"} if live else options
        case "libvpx":
            return {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "b": str(_LIVE_RATE)}
        case "libvpx-vp9":
            return {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "crf": constant, "b": "0"}
    return {"rc_mode": "quality", "allow_skip_frames": "0"}
