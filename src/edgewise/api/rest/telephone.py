"""The node's WebRTC calls, for the routes: nothing of them is loaded before the first."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from edgewise.pipeline.broadcast import Broadcast

if TYPE_CHECKING:
    from edgewise.api.webrtc import Calls
    from edgewise.node.node import Node


class Telephone:
    """The node's calls, made when the first comes."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._calls: Calls | None = None
        self._broadcasts: dict[tuple[str, str], Broadcast] = {}

    async def calls(self) -> Calls:
        """All calls; the vendor's library is loaded in a thread, since it takes its time.

        Raises:
            MissingExtraError: It is not installed.
        """
        return self._calls if self._calls is not None else await asyncio.to_thread(self._load)

    def _load(self) -> Calls:
        from edgewise.api.webrtc import Calls

        with self._lock:
            calls = self._calls or Calls(self._broadcast)
            self._calls = calls
        return calls

    def _broadcast(self, camera: str, encoder: str) -> Broadcast:
        with self._lock:
            if (camera, encoder) not in self._broadcasts:
                frames = self._node.pipeline(camera).frames
                lane = self._node.scheduler.lane()
                self._broadcasts[camera, encoder] = Broadcast(camera, frames, encoder=encoder, turn=lane.turn)
            return self._broadcasts[camera, encoder]
