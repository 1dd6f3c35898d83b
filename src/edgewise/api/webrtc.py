"""Live view by WebRTC, on aiortc, which the extra ``webrtc`` installs. Nothing imports this before somebody calls.

Calls run on an event loop of their own, in a thread that lives while there are any: what they do never holds up a
request. A camera is encoded once for all who watch it, in a thread of its own; its packets are sent as they are. Only
addresses of this machine are offered (no STUN, no TURN).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from edgewise.errors import BusyError, InputError, MissingExtraError, NotFoundError

try:
    import aiortc
    import av
    from aiortc.mediastreams import MediaStreamError
except ImportError as error:
    raise MissingExtraError("WebRTC needs aiortc", hint="pip install 'edgewise[webrtc]'", extra="webrtc") from error

if TYPE_CHECKING:
    from edgewise.media.packets import Packet
    from edgewise.pipeline.broadcast import Broadcast

MAX_CALLS = 16
# A call that is not connected by then, and one whose peer is silent, is ended.
CONNECT_S = 20.0
# Packets that wait for a slow peer; past it all are left out up to the next key frame.
_WAITING = 30
# FFmpeg's encoder for what browsers call a codec, the better first.
ENCODERS = {"video/H264": "libx264", "video/VP8": "libvpx"}

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Calls:
    """All calls of a node. Its coroutines run on the caller's loop, whichever that is.

    Args:
        broadcast: Gives the broadcast of a camera for one of FFmpeg's encoders.
    """

    def __init__(self, broadcast: Callable[[str, str], Broadcast]) -> None:
        self._broadcast = broadcast
        self._lock = threading.Lock()
        self._calls: dict[str, _Call] = {}
        self._expected = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def begin(self, camera: str, offer: str) -> tuple[str, str]:
        """Answers an offer.

        Args:
            camera: Whose pictures are sent.
            offer: SDP (RFC 8866) of a browser that wants to receive video.

        Returns:
            The call's name, and the answer as SDP, with all addresses in it.

        Raises:
            BusyError: There are too many calls.
            InputError: It is no offer, or asks for no video that can be sent.
        """
        with self._lock:
            if len(self._calls) + self._expected >= MAX_CALLS:
                raise BusyError(f"{MAX_CALLS} calls are open", hint="End one first.", limit=MAX_CALLS)
            self._expected += 1
        try:
            return await self._run(self._begin(camera, offer))
        finally:
            with self._lock:
                self._expected -= 1
                self._stop_when_idle()

    async def end(self, name: str) -> None:
        """Ends a call.

        Raises:
            NotFoundError: There is none of that name.
        """
        with self._lock:
            call = self._calls.get(name)
        if call is None:
            raise NotFoundError("There is no such call; it may have ended", kind="call", name=name[:64])
        await self._run(call.close())

    @property
    def open(self) -> int:
        """How many there are."""
        return len(self._calls)

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_serve, args=(self._loop,), name="webrtc", daemon=True).start()
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        return await asyncio.wrap_future(future)

    async def _begin(self, camera: str, offer: str) -> tuple[str, str]:
        name = secrets.token_urlsafe(18)
        call = _Call(lambda encoder: self._broadcast(camera, encoder), on_end=lambda: self._ended(name))
        with self._lock:
            self._calls[name] = call
        try:
            return name, await call.answer(offer)
        except BaseException:
            await call.close()
            raise

    def _ended(self, name: str) -> None:
        with self._lock:
            self._calls.pop(name, None)
            self._stop_when_idle()

    def _stop_when_idle(self) -> None:
        if not self._calls and not self._expected and self._loop is not None:
            loop, self._loop = self._loop, None
            # What a closing call still has to say is said first.
            loop.call_soon_threadsafe(loop.call_later, 0.5, loop.stop)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


class _Call:
    """One peer that watches one camera. All of it runs on the calls' loop."""

    def __init__(self, broadcast: Callable[[str], Broadcast], *, on_end: Callable[[], None]) -> None:
        self._broadcast = broadcast
        self._on_end = on_end
        # Without this aiortc asks a server of somebody else for this machine's address.
        self._peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        self._watching = contextlib.ExitStack()
        self._ended = False
        self._patience: asyncio.TimerHandle | None = None
        self._closing: asyncio.Future[None] | None = None
        self._peer.add_listener("connectionstatechange", self._on_state)

    async def answer(self, offer: str) -> str:
        """Makes the answer; from then on pictures are sent as soon as the peer is there."""
        self._patience = asyncio.get_running_loop().call_later(CONNECT_S, self._give_up)
        codec = _codec_of(offer)
        broadcast = self._broadcast(ENCODERS[codec.mimeType])
        track = _PacketTrack(broadcast.ask_for_key)
        sending = self._peer.addTransceiver(track, direction="sendonly")
        sending.setCodecPreferences([codec])  # aiortc settles on one when it reads the offer
        try:
            await self._peer.setRemoteDescription(aiortc.RTCSessionDescription(sdp=offer, type="offer"))
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except Exception as error:  # whatever a parser says of bytes from outside
            raise InputError(f"This is no offer that can be answered: {error}", field="body") from error
        if sending.mid is None:
            raise InputError("The offer asks for no video", hint="Add a video transceiver that receives.", field="body")
        loop = asyncio.get_running_loop()

        def take(packet: Packet) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(track.put, packet)

        watching: AbstractContextManager[None] = broadcast.watching(take)
        self._watching.enter_context(watching)
        return str(self._peer.localDescription.sdp)

    async def close(self) -> None:
        """Ends it; may be called twice."""
        if self._ended:
            return
        self._ended = True
        if self._patience is not None:
            self._patience.cancel()
        self._watching.close()
        await self._peer.close()
        self._on_end()

    def _give_up(self) -> None:
        if self._peer.connectionState != "connected":
            self._closing = asyncio.ensure_future(self.close())

    def _on_state(self) -> None:
        if self._peer.connectionState in ("failed", "closed", "disconnected"):
            self._closing = asyncio.ensure_future(self.close())


class _PacketTrack(aiortc.MediaStreamTrack):
    """Packets that are encoded already; aiortc only cuts them to size."""

    kind = "video"

    def __init__(self, ask_for_key: Callable[[], None]) -> None:
        super().__init__()
        self._ask_for_key = ask_for_key
        self._packets: asyncio.Queue[Packet] = asyncio.Queue(_WAITING)
        self._started = False  # the peer is there
        self._decodable = False

    def put(self, packet: Packet) -> None:
        """Takes a packet, on the loop."""
        if not self._started:
            return
        if self._packets.full():
            while not self._packets.empty():
                self._packets.get_nowait()
            self._decodable = False
            self._ask_for_key()
        self._decodable = self._decodable or packet.keyframe
        if self._decodable:
            self._packets.put_nowait(packet)

    async def recv(self) -> av.Packet[Any]:
        """The next packet."""
        if self.readyState != "live":
            raise MediaStreamError
        if not self._started:
            self._started = True
            self._ask_for_key()
        packet = await self._packets.get()
        sent = av.Packet(packet.data)
        sent.pts = packet.pts
        sent.time_base = packet.coding.time_base
        return sent


def _codec_of(offer: str) -> Any:
    """The codec to send: the first of ours that the peer takes and FFmpeg encodes here."""
    offered = offer.lower()
    for codec in sorted(aiortc.RTCRtpSender.getCapabilities("video").codecs, key=_preference):
        wanted = f"{codec.mimeType.partition('/')[2]}/{codec.clockRate}".lower()
        if ENCODERS.get(codec.mimeType) in av.codecs_available and wanted in offered:
            return codec
    raise InputError("The offer takes neither H.264 nor VP8", field="body")


def _preference(codec: Any) -> tuple[int, str]:
    order = list(ENCODERS)
    place = order.index(codec.mimeType) if codec.mimeType in order else len(order)
    # Of the H.264 profiles the constrained baseline, 42e01f, is what all browsers take.
    return place, "" if str(codec.parameters.get("profile-level-id", "")).startswith("42e0") else "other"
