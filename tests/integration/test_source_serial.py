"""Lines of sensors on a serial port: JSON, cells and patterns, noise on the wire, and a plug that is pulled."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
import pytest

from edgewise._lib.clock import SystemClock
from edgewise.errors import UnavailableError
from edgewise.pipeline.base import Reading
from edgewise.pipeline.sources.serial import MAX_LINE_BYTES, SerialSettings, SerialSource, _Lines
from edgewise.testing.line import SerialLine

CLOCK = SystemClock()


@pytest.fixture
def line() -> Iterator[SerialLine]:
    """A port with a sensor."""
    with SerialLine(f"/dev/shm/edgewise-{uuid.uuid4().hex}") as plugged:
        yield plugged


def source(line: SerialLine, lines: dict[str, Any], **settings: Any) -> SerialSource:
    wanted = {"kind": "serial", "device": line.device, "lines": lines, **settings}
    return SerialSource("scale", msgspec.convert(wanted, SerialSettings), clock=CLOCK)


def listening(line: SerialLine, heard: SerialSource, hello: bytes) -> Iterator[Reading]:
    """Its readings, once it listens: what was written before a port is opened is gone."""
    readings = heard.read()
    line.talk(hello)
    next(readings)
    line.hush()
    return readings


def after_hello(readings: Iterator[Reading], hello: dict[str, Any]) -> Iterator[Reading]:
    return (reading for reading in readings if reading.values != hello)


@pytest.mark.parametrize(
    ("lines", "written", "values"),
    [
        ({"as": "json"}, b'{"air": {"hum": 40}, "t": 21.5}\r', {"air.hum": 40, "t": 21.5}),
        ({"as": "csv", "columns": ["t", "hum", "state"]}, b"21.5,,on", {"t": 21.5, "hum": None, "state": "on"}),
        ({"as": "csv", "columns": ["t", "hum"], "delimiter": " "}, b" 21.5\t 40 ", {"t": 21.5, "hum": 40}),
        (
            {"as": "pattern", "pattern": r"(?P<weight>[-+.\d]+) *(?P<unit>kg|g)"},
            b"ST,GS,  +12.50 kg",
            {"weight": 12.5, "unit": "kg"},
        ),
    ],
)
def test_a_line_becomes_a_reading(line: SerialLine, lines: Any, written: bytes, values: Any) -> None:
    heard = source(line, lines)
    line.talk(written)
    assert [reading.values for reading in islice(heard.read(), 2)] == [values, values]
    heard.close()


def test_noise_is_counted_and_what_follows_is_read(line: SerialLine) -> None:
    heard = source(line, {"as": "json"})
    readings = after_hello(listening(line, heard, b'{"t": 0}'), {"t": 0})
    line.write(b"\xff\xfe\x00", b"", b"[1]", b'{"t": 1}', b"{" * 9000, b'{"t": 2}')
    assert [reading.values for reading in islice(readings, 2)] == [{"t": 1}, {"t": 2}]
    assert heard.unreadable == 3 + 1
    heard.close()


def test_what_began_before_it_was_heard_is_left_out() -> None:
    lines = _Lines()
    assert list(lines.feed(b".5\n2")) == []
    assert list(lines.feed(b"1.5\n\n2")) == [b"21.5", b""]
    assert list(lines.feed(b"x" * MAX_LINE_BYTES)) == []
    assert list(lines.feed(b"y\n3\n")) == [None, b"3"]


def test_a_plug_that_was_pulled_is_told_and_read_again_when_it_is_back(line: SerialLine) -> None:
    heard = source(line, {"as": "csv", "columns": ["t"]})
    readings = heard.read()
    line.talk(b"1")
    last = next(readings).number
    line.stop()
    with pytest.raises(UnavailableError) as caught:
        last += len(list(readings))
    assert caught.value.hint
    with pytest.raises(UnavailableError, match="cannot be opened"):
        next(heard.read())
    line.start()
    line.talk(b"2")
    assert next(heard.read()).number > last
    heard.close()


def test_two_cannot_read_one_port(line: SerialLine) -> None:
    first, second = (source(line, {"as": "csv", "columns": ["t"]}) for _ in range(2))
    readings = first.read()
    line.talk(b"1")
    next(readings)
    with pytest.raises(UnavailableError, match="cannot be opened"):
        next(second.read())
    first.close()


def test_it_waits_for_a_silent_sensor_without_turning(line: SerialLine) -> None:
    heard = source(line, {"as": "csv", "columns": ["t"]})
    readings = listening(line, heard, b"1")
    before = os.times()
    threading.Timer(0.5, heard.close).start()
    assert all(reading.values == {"t": 1} for reading in readings)
    used = os.times()
    assert used.user + used.system - before.user - before.system < 0.25


@pytest.mark.parametrize(
    "lines",
    [
        {"as": "pattern", "pattern": "(?P<a>"},
        {"as": "pattern", "pattern": "[0-9]+"},
        {"as": "csv", "columns": []},
        {"as": "xml"},
    ],
)
def test_lines_that_cannot_be_read_are_refused(lines: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "serial", "device": "/dev/ttyUSB0", "lines": lines}, SerialSettings)
