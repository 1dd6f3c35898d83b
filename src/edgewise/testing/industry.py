"""Real industrial servers for tests, each on a free port of the loopback, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from edgewise.errors import UnavailableError
from edgewise.testing.broker import free_port

if TYPE_CHECKING:
    from pymodbus.simulator import SimDevice

T = TypeVar("T")
# An OPC UA server builds its whole address space before it answers, which takes seconds on a quiet machine.
PATIENCE_S = 90.0


class _Server:
    """A server of asyncio that can be stopped and started again. A context manager."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.port = free_port()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts it and returns when it answers."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._open())

    def stop(self) -> None:
        """Ends it; its connections break."""
        if self._loop is None or self._thread is None:
            return
        self._call(self._shut())
        self._call(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()
        self._loop = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _open(self) -> None:
        raise NotImplementedError

    async def _shut(self) -> None:
        raise NotImplementedError


async def _cancel_others() -> None:
    """Ends what a server left running."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class ModbusServer(_Server):
    """A Modbus TCP server (pymodbus).

    Args:
        devices: What it serves.
    """

    def __init__(self, *devices: SimDevice) -> None:
        super().__init__()
        self._devices = list(devices)
        self._server: Any = None
        self.asked: list[tuple[int, int, int]] = []
        self._changed = threading.Condition()
        self._silent = threading.Event()

    def write(self, *, unit: int, function: int, address: int, values: list[Any]) -> None:
        """Sets registers or bits."""
        self._call(self._server.async_setValues(unit, function, address, values))

    def hush(self) -> None:
        """Its connections stay, and it answers nothing any more."""
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._silent.wait)

    def wait_asked(self, count: int) -> None:
        """Waits until it has been asked that often."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.asked) >= count, PATIENCE_S):
                raise UnavailableError(f"asked {len(self.asked)} times, not {count}")

    def stop(self) -> None:
        """Ends it; its connections break."""
        self._silent.set()
        super().stop()

    async def _open(self) -> None:
        from pymodbus.server import ModbusTcpServer

        self._server = ModbusTcpServer(self._devices, address=(self.host, self.port), trace_pdu=self._note)
        await self._server.serve_forever(background=True)

    async def _shut(self) -> None:
        await self._server.shutdown()

    def _note(self, sending: bool, pdu: Any) -> Any:
        if not sending:
            with self._changed:
                self.asked.append((pdu.function_code, pdu.address, pdu.count))
                self._changed.notify_all()
        return pdu


class OpcUaServer(_Server):
    """An OPC UA server (asyncua) with variables ``ns=2;s=NAME``, in namespace 2.

    Args:
        values: The variables, with what they are at first.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__()
        self._values = dict(values)
        self._server: Any = None
        self._nodes: dict[str, Any] = {}
        self._silent = threading.Event()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"opc.tcp://{self.host}:{self.port}/edgewise"

    def write(self, name: str, *values: Any) -> None:
        """Sets a variable to these values, one after the other."""
        for value in values:
            self._values[name] = value
            self._call(self._nodes[name].write_value(value))

    def hush(self) -> None:
        """Its connections stay, and it answers nothing any more until ``answer``."""
        self._silent.clear()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._silent.wait)

    def answer(self) -> None:
        """It answers again."""
        self._silent.set()

    def stop(self) -> None:
        """Ends it; its connections break."""
        self._silent.set()
        super().stop()

    async def _open(self) -> None:
        from asyncua import ua
        from asyncua.server.server import Server

        self._silent.clear()
        self._server = Server()
        await self._server.init()
        self._server.set_endpoint(self.url)
        self._server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        space = await self._server.register_namespace("https://edgewise.test")
        for name, value in self._values.items():
            objects = self._server.nodes.objects
            self._nodes[name] = await objects.add_variable(ua.NodeId.from_string(f"ns={space};s={name}"), name, value)
        await self._server.start()

    async def _shut(self) -> None:
        await self._server.stop()
