"""Registers of a real Modbus server: numbers of every type, few requests, and a device that comes and goes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
import pytest
from pymodbus.simulator import DataType, SimData, SimDevice

from edgewise._lib.clock import SystemClock
from edgewise.errors import UnavailableError
from edgewise.pipeline.sources.modbus import ModbusSettings, ModbusSource, spans
from edgewise.testing.industry import ModbusServer

CLOCK = SystemClock()


def boiler(unit: int = 1) -> SimDevice:
    return SimDevice(
        unit,
        simdata=(
            [SimData(0, values=[True, False] * 8, datatype=DataType.BITS)],
            [SimData(0, values=[False, True] * 8, datatype=DataType.BITS)],
            [SimData(0, values=[615, 65535, 0, 1, 2, 3], datatype=DataType.REGISTERS)],
            [SimData(10, values=[21.5], datatype=DataType.FLOAT32), SimData(40, values=[-7], datatype=DataType.INT64)],
        ),
    )


@pytest.fixture
def server() -> Iterator[ModbusServer]:
    """A boiler (unit 1) and a pump (unit 2)."""
    with ModbusServer(boiler(), boiler(2)) as running:
        yield running


def source(server: ModbusServer, registers: dict[str, Any], **settings: Any) -> ModbusSource:
    wanted = {"kind": "modbus", "host": server.host, "port": server.port, "interval_s": 0.05, "registers": registers}
    return ModbusSource("boiler", msgspec.convert({**wanted, **settings}, ModbusSettings), clock=CLOCK)


def test_registers_and_bits_become_numbers_and_truth_values(server: ModbusServer) -> None:
    polled = source(
        server,
        {
            "temperature": {"address": 0, "scale": 0.1},
            "signed": {"address": 1, "type": "int16"},
            "long": {"address": 1, "type": "int32"},
            "swapped": {"address": 2, "type": "uint32", "words": "little"},
            "room": {"address": 10, "table": "input", "type": "float32", "offset": -1.5},
            "energy": {"address": 40, "table": "input", "type": "int64"},
            "burning": {"address": 2, "table": "coil"},
            "fault": {"address": 3, "table": "discrete"},
            "pump": {"address": 0, "unit": 2},
        },
    )
    reading = next(polled.read())
    assert reading.values == {
        "temperature": pytest.approx(61.5),
        "signed": -1,
        "long": -65536,
        "swapped": 65536,
        "room": 20.0,
        "energy": -7,
        "burning": True,
        "fault": True,
        "pump": 615,
    }
    polled.close()


def test_a_poll_asks_once_for_neighbours_and_never_for_what_nobody_wants(server: ModbusServer) -> None:
    polled = source(server, {"a": {"address": 0}, "b": {"address": 1, "type": "uint32"}, "c": {"address": 5}})
    next(polled.read())
    polled.close()
    assert server.asked[:2] == [(3, 0, 3), (3, 5, 1)]


def test_requests_stay_within_what_the_protocol_allows() -> None:
    registers = {f"r{place}": {"address": place} for place in range(300)}
    settings = msgspec.convert({"kind": "modbus", "host": "x", "registers": registers}, ModbusSettings)
    assert [(span.address, span.size) for span in spans(settings)] == [(0, 125), (125, 125), (250, 50)]


def test_what_changes_at_the_device_is_in_the_next_poll(server: ModbusServer) -> None:
    polled = source(server, {"a": {"address": 0}})
    readings = polled.read()
    assert next(readings).values == {"a": 615}
    server.write(unit=1, function=16, address=0, values=[700])
    assert 700 in [reading.values["a"] for reading in islice(readings, 6)]
    polled.close()


@pytest.mark.parametrize("register", [{"address": 100}, {"address": 0, "unit": 9}])
def test_what_the_device_does_not_have_is_told_with_its_address(server: ModbusServer, register: Any) -> None:
    polled = source(server, {"a": register}, timeout_s=0.5)
    with pytest.raises(UnavailableError) as caught:
        next(polled.read())
    assert caught.value.hint
    polled.close()


@pytest.mark.parametrize(
    "register", [{"address": 65536}, {"address": 65535, "type": "int32"}, {"address": 0, "type": "int8"}]
)
def test_registers_that_cannot_be_are_refused(register: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "modbus", "host": "x", "registers": {"a": register}}, ModbusSettings)
