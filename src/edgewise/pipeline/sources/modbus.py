"""Registers of industrial devices, polled by Modbus TCP (by pymodbus, which the extra ``sensors`` installs)."""

from __future__ import annotations

import enum
import logging
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.errors import MissingExtraError, UnavailableError
from edgewise.pipeline.base import Value
from edgewise.pipeline.intake import MAX_CHANNELS, Channel, Host, IntakeSource, Port, Seconds, Session, clean

# Modbus Application Protocol 1.1b3, 6.1 to 6.4: what one request may ask for.
_MAX_REGISTERS = 125
_MAX_BITS = 2000
# Polls that wait for a slow reader: a few, since an old one says little when a newer is there.
_CAPACITY = 4

Unit = Annotated[int, Meta(ge=0, le=255)]


class Table(enum.StrEnum):
    """Where a value stands; the four tables of Modbus."""

    HOLDING = "holding"
    INPUT = "input"
    COIL = "coil"
    DISCRETE = "discrete"

    @property
    def bits(self) -> bool:
        """Whether its values are single bits."""
        return self in {Table.COIL, Table.DISCRETE}


class Number(enum.StrEnum):
    """How registers of 16 bits make a number."""

    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"

    @property
    def registers(self) -> int:
        """How many it takes."""
        return int(self.value[-2:]) // 16


class RegisterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One value of a device.

    Attributes:
        address: From 0, as in the protocol (manuals often count from 1, or from 40001).
        table: ``holding`` and ``input`` registers, or the single bits of ``coil`` and ``discrete``.
        type: Of the number; bits have none.
        scale: The number is multiplied by it.
        offset: Then this is added.
        words: ``big`` when the highest register comes first.
        unit: Unit identifier of the device behind a gateway; null is the source's.
    """

    address: Annotated[int, Meta(ge=0, le=65535)]
    table: Table = Table.HOLDING
    type: Number = Number.UINT16
    scale: float = 1.0
    offset: float = 0.0
    words: Annotated[str, Meta(pattern="^(big|little)$")] = "big"
    unit: Unit | None = None

    def __post_init__(self) -> None:
        if self.address + self.count > 65536:
            raise ValueError("it reaches past address 65535")

    @property
    def count(self) -> int:
        """Registers or bits that it takes."""
        return 1 if self.table.bits else self.type.registers


class ModbusSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="modbus"):
    """A device on the network, or a gateway with several behind it.

    Attributes:
        host: Name or address.
        port: 502 by custom.
        unit: Unit identifier.
        registers: What is read, by channel.
        interval_s: Between polls.
        timeout_s: How long the device may take to answer.
    """

    host: Host
    registers: Annotated[dict[Channel, RegisterSettings], Meta(min_length=1, max_length=MAX_CHANNELS)]
    port: Port = 502
    unit: Unit = 1
    interval_s: Annotated[float, Meta(ge=0.05, le=86400)] = 1.0
    timeout_s: Seconds = 3.0


class Span(NamedTuple):
    """Neighbours that one request reads."""

    unit: int
    table: Table
    address: int
    size: int


class ModbusSource(IntakeSource):
    """Polls a device. Keeps the ``Source`` seam.

    All values of a poll are one reading. Each poll is due a whole number of intervals after the first, and one that
    would come too late is left out.
    """

    Settings = ModbusSettings

    def __init__(self, name: str, settings: ModbusSettings, *, clock: Clock) -> None:
        super().__init__(name, _CAPACITY, clock=clock, live=True)
        self._settings = settings
        self._spans = spans(settings)
        self._clock = clock

    def _session(self, session: Session) -> None:
        settings = self._settings
        client = _client(settings)
        try:
            if not client.connect():
                raise self._unavailable("does not answer", "Is it switched on, and does host and port fit?")
            due = self._clock.monotonic()
            while not session.stopped.is_set():
                session.put(self._values(client), time_ns=self._clock.time_ns())
                late = self._clock.monotonic() - due
                due += settings.interval_s * (late // settings.interval_s + 1)
                session.stopped.wait(max(0.0, due - self._clock.monotonic()))
        finally:
            client.close()

    def _values(self, client: Any) -> Mapping[str, Value]:
        words = {span: self._ask(client, span) for span in self._spans}
        return {name: self._value(client, each, words) for name, each in self._settings.registers.items()}

    def _ask(self, client: Any, span: Span) -> list[Any]:
        from pymodbus.exceptions import ModbusException

        ask = {
            Table.HOLDING: client.read_holding_registers,
            Table.INPUT: client.read_input_registers,
            Table.COIL: client.read_coils,
            Table.DISCRETE: client.read_discrete_inputs,
        }[span.table]
        try:
            answer = ask(span.address, count=span.size, device_id=span.unit)
        except (ModbusException, OSError) as error:
            raise self._unavailable("broke off or does not answer in time", "It is connected again.") from error
        if answer.isError():
            last = span.address + span.size - 1
            raise self._unavailable(
                f"refuses {span.table} {span.address} to {last} of unit {span.unit} "
                f"(exception {answer.exception_code})",
                "Does it have these addresses (they count from 0) and this unit?",
            )
        return list((answer.bits if span.table.bits else answer.registers)[: span.size])

    def _value(self, client: Any, register: RegisterSettings, words: Mapping[Span, list[Any]]) -> Value:
        span = next(each for each in words if _holds(each, register, self._settings.unit))
        start = register.address - span.address
        found = words[span][start : start + register.count]
        if register.table.bits:
            return bool(found[0])
        number = client.convert_from_registers(found, client.DATATYPE[register.type.name], word_order=register.words)
        return clean(
            number if register.scale == 1 and register.offset == 0 else number * register.scale + register.offset
        )

    def _unavailable(self, what: str, hint: str) -> UnavailableError:
        where = f"{self._settings.host}:{self._settings.port}"
        return UnavailableError(f"The Modbus device {where} {what}", hint=hint, host=where)


def spans(settings: ModbusSettings) -> list[Span]:
    """The requests of one poll: registers that touch or overlap are read together, others are not, since devices refuse
    addresses that they do not have.
    """
    found: list[Span] = []
    wanted = sorted(
        Span(settings.unit if each.unit is None else each.unit, each.table, each.address, each.count)
        for each in settings.registers.values()
    )
    for each in wanted:
        last = found[-1] if found else None
        end = each.address + each.size
        if (
            last is not None
            and (last.unit, last.table) == (each.unit, each.table)
            and each.address <= last.address + last.size
            and end - last.address <= (_MAX_BITS if each.table.bits else _MAX_REGISTERS)
        ):
            found[-1] = last._replace(size=max(last.size, end - last.address))
        else:
            found.append(each)
    return found


def _holds(span: Span, register: RegisterSettings, unit: int) -> bool:
    return (
        span.unit == (unit if register.unit is None else register.unit)
        and span.table == register.table
        and span.address <= register.address
        and register.address + register.count <= span.address + span.size
    )


def _client(settings: ModbusSettings) -> Any:
    try:
        from pymodbus.client import ModbusTcpClient
    except ImportError as error:
        raise MissingExtraError(
            "Modbus needs pymodbus", hint="pip install 'edgewise[sensors]'", extra="sensors"
        ) from error
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # our error says it once
    return ModbusTcpClient(settings.host, port=settings.port, timeout=settings.timeout_s, retries=0)
