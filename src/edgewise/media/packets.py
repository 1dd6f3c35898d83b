"""Encoded video as it travels: packets, and what a decoder must know of the stream they belong to. No decoding here."""

from __future__ import annotations

from fractions import Fraction

import msgspec


class Coding(msgspec.Struct, frozen=True, eq=False):
    """How one encoded stream is coded. Each time a source is opened it makes a new one: packets of another coding do
    not follow on those before.

    Attributes:
        codec: FFmpeg's name, such as ``h264``.
        width: Pixels.
        height: Pixels.
        time_base: Seconds per unit of the packets' times.
        carrier: A NUT file of one packet: the decoder's set-up (extradata) as the source has it, unchanged.
    """

    codec: str
    width: int
    height: int
    time_base: Fraction
    carrier: bytes


class Packet(msgspec.Struct, frozen=True, eq=False):
    """One coded picture.

    Attributes:
        coding: Of its stream.
        data: As the source has it.
        pts: When it is shown, in units of the time base.
        dts: When it is decoded; grows from packet to packet of one coding.
        duration: 0 when the source does not say.
        keyframe: Whether decoding can begin here.
    """

    coding: Coding
    data: bytes
    pts: int
    dts: int
    duration: int
    keyframe: bool

    @property
    def dts_s(self) -> float:
        """When it is decoded, seconds."""
        return float(self.dts * self.coding.time_base)
