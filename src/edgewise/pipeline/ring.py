"""The newest seconds of encoded video, in memory: what a clip shows of the time before its event.

Bounded in seconds and bytes. It begins with a key frame and lets go of whole groups of pictures, since a picture
without its key frame shows nothing.
"""

from __future__ import annotations

from collections import deque

import msgspec

from edgewise.media.packets import Coding, Packet

# Between packets of two codings nobody knows the time exactly; at least so much lies between them.
_LEAST_GAP_S = 0.001


class Placed(msgspec.Struct, frozen=True, eq=False):
    """A packet and where it stands.

    Attributes:
        packet: The packet.
        at_s: When it is decoded, seconds from an arbitrary start; grows over all codings.
        time_ns: When it came, nanoseconds since the Unix epoch.
        gap_s: Seconds since the packet before when its coding is another; else None.
    """

    packet: Packet
    at_s: float
    time_ns: int
    gap_s: float | None = None


class PacketRing:
    """The newest packets. Not safe for threads.

    Args:
        keep_s: Seconds kept; up to the key frame before them.
        max_bytes: Bytes kept; when they are used up, less than ``keep_s`` is kept.

    Attributes:
        shortened: How often groups were let go of for the bytes.
    """

    def __init__(self, *, keep_s: float, max_bytes: int) -> None:
        self.shortened = 0
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._packets: deque[Placed] = deque()
        self._keys: deque[float] = deque()
        self._bytes = 0
        self._coding: Coding | None = None
        self._base_s = 0.0
        self._last: Placed | None = None

    @property
    def kept_bytes(self) -> int:
        """Bytes kept now."""
        return self._bytes

    @property
    def newest(self) -> Placed | None:
        """The packet that was added last, also when it is not kept."""
        return self._last

    def add(self, packet: Packet, *, time_ns: int) -> Placed:
        """Adds a packet, and lets go of old ones."""
        placed = self._place(packet, time_ns)
        self._last = placed
        if not packet.keyframe and not self._packets:
            return placed  # its key frame is not here
        if packet.keyframe:
            self._keys.append(placed.at_s)
        self._packets.append(placed)
        self._bytes += len(packet.data)
        while len(self._keys) > 1 and self._keys[1] <= placed.at_s - self._keep_s:
            self._drop_group()
        while self._bytes > self._max_bytes:
            self.shortened += 1
            self._drop_group()
        return placed

    def position(self, time_ns: int) -> float | None:
        """Where a moment stands: that of the newest packet that had come by then. None while nothing has come."""
        if self._last is None:
            return None
        if time_ns >= self._last.time_ns:
            return self._last.at_s
        for placed in reversed(self._packets):
            if placed.time_ns <= time_ns:
                return placed.at_s
        return self._packets[0].at_s if self._packets else self._last.at_s

    def since(self, at_s: float) -> list[Placed]:
        """All from the last key frame at or before ``at_s`` on; from the first that is kept when there is none."""
        start = max((key for key in self._keys if key <= at_s), default=None)
        return [placed for placed in self._packets if start is None or placed.at_s >= start]

    def clear(self) -> None:
        """Lets go of everything."""
        self._packets.clear()
        self._keys.clear()
        self._bytes = 0

    def _place(self, packet: Packet, time_ns: int) -> Placed:
        before, at_s = self._last, self._base_s + packet.dts_s
        if before is not None and packet.coding is self._coding and at_s >= before.at_s:
            return Placed(packet, at_s, time_ns)
        gap_s = _LEAST_GAP_S
        if before is not None:
            gap_s = max(_LEAST_GAP_S, (time_ns - before.time_ns) / 1e9)
        at_s = before.at_s + gap_s if before is not None else 0.0
        self._coding, self._base_s = packet.coding, at_s - packet.dts_s
        return Placed(packet, at_s, time_ns, gap_s=gap_s if before is not None else None)

    def _drop_group(self) -> None:
        if len(self._keys) < 2:
            self.clear()
            return
        self._keys.popleft()
        while self._packets[0].at_s < self._keys[0]:
            self._bytes -= len(self._packets.popleft().packet.data)
