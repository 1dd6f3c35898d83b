"""Variables of an OPC UA server that report their changes (by asyncua, which the extra ``sensors`` installs)."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.errors import MissingExtraError, UnavailableError
from edgewise.pipeline.instants import Instants
from edgewise.pipeline.intake import MAX_CHANNELS, Capacity, Channel, IntakeSource, Seconds, Session, flatten

NodeId: TypeAlias = Annotated[str, Meta(pattern=r"^(ns=\d{1,5};)?[isgb]=.+$", max_length=512)]


class OpcUaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="opcua"):
    """Variables of a server, which is reached without encryption and without a name: keep it inside a trusted network.

    Attributes:
        url: ``opc.tcp://HOST:4840/PATH``, without credentials.
        nodes: Node ids by channel, such as ``ns=2;s=Boiler.Temperature``.
        interval_s: How often the server looks whether a value has changed, and tells.
        samples: Changes of one variable that the server keeps between two times it tells.
        timeout_s: A server that has not answered for this long is connected anew.
        queue: Changes that wait at most to be worked on; a newer one pushes the oldest out, which is counted.
    """

    url: Annotated[str, Meta(pattern=r"^opc\.tcp://[^@/\s]+(/[^\s@]*)?$", max_length=1024)]
    nodes: Annotated[dict[Channel, NodeId], Meta(min_length=1, max_length=MAX_CHANNELS)]
    interval_s: Annotated[float, Meta(ge=0.05, le=3600)] = 1.0
    samples: Annotated[int, Meta(ge=1, le=1000)] = 10
    timeout_s: Seconds = 5.0
    queue: Capacity = 1024


class OpcUaSource(IntakeSource):
    """Subscribes to variables. Keeps the ``Source`` seam.

    Each change is a reading with one value, at the time the server's own source gave it. What a server says when it is
    subscribed to, the present value of each variable, comes first.
    """

    Settings = OpcUaSettings

    def __init__(self, name: str, settings: OpcUaSettings, *, clock: Clock) -> None:
        super().__init__(name, settings.queue, clock=clock)
        self._settings = settings

    def _session(self, session: Session) -> None:
        _quieten()
        asyncio.run(self._watch(session))

    async def _watch(self, session: Session) -> None:
        client = _client(self._settings)
        over = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def lost(_error: Exception) -> None:
            over.set()

        client.connection_lost_callback = lost
        session.on_stop(lambda: None if loop.is_closed() else loop.call_soon_threadsafe(over.set))
        try:
            await self._subscribe(client, session)
            await over.wait()
        finally:
            await _leave(client)
        if not session.stopped.is_set():
            raise self._unavailable("broke off", "It is connected again.")

    async def _subscribe(self, client: Any, session: Session) -> None:
        from asyncua.ua.uaerrors import UaError

        settings = self._settings
        period_ms = settings.interval_s * 1000
        try:
            await client.connect()
            subscription = await client.create_subscription(period_ms, _Changes(session, settings.nodes))
            results = await subscription.subscribe_data_change(
                [client.get_node(node) for node in settings.nodes.values()],
                queuesize=settings.samples,
                sampling_interval=period_ms,
            )
        except (OSError, TimeoutError, UaError) as error:
            problem = str(error) or "it does not answer"
            raise self._unavailable(f"cannot be reached: {problem}", "Is it running, and its URL right?") from error
        refused = [
            node for node, result in zip(settings.nodes.values(), results, strict=True) if not isinstance(result, int)
        ]
        if refused:
            raise self._unavailable(f"has no variable {', '.join(refused)}", "Check the node ids.")

    def _unavailable(self, what: str, hint: str) -> UnavailableError:
        return UnavailableError(f"The OPC UA server {self._settings.url} {what}", hint=hint, url=self._settings.url)


class _Changes:
    """Takes what the server tells, in the thread of the loop."""

    def __init__(self, session: Session, nodes: dict[str, str]) -> None:
        from asyncua import ua

        self._session = session
        self._instants = Instants()
        self._channels = {ua.NodeId.from_string(node): channel for channel, node in nodes.items()}

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        """A variable has changed."""
        told = data.monitored_item.Value
        moment = told.SourceTimestamp or told.ServerTimestamp
        try:
            values = flatten(_plain(value if told.StatusCode.is_good() else None), self._channels[node.nodeid])
            self._session.put(values, time_ns=None if moment is None else self._instants.parse(moment))
        except ValueError:
            self._session.count_unreadable()


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
        case list():
            return [_plain(item) for item in value]
    return value


async def _leave(client: Any) -> None:
    """Says goodbye; a server that does not answer is left all the same."""
    from asyncua.ua.uaerrors import UaError

    try:
        await asyncio.wait_for(client.disconnect(), 2.0)
    except (OSError, TimeoutError, UaError):
        logging.getLogger(__name__).debug("%s was left without a goodbye", client)


def _client(settings: OpcUaSettings) -> Any:
    try:
        from asyncua.client.client import Client
    except ImportError as error:
        raise MissingExtraError(
            "OPC UA needs asyncua", hint="pip install 'edgewise[sensors]'", extra="sensors"
        ) from error
    return Client(settings.url, timeout=settings.timeout_s, watchdog_intervall=settings.timeout_s)


def _quieten() -> None:
    """Of a connection that broke asyncua says as much as a stack trace a second; our error says it once."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
