"""Recorded readings played again: times, missing cells, speed, and files of every condition."""

from __future__ import annotations

import threading
import tracemalloc
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pytest
from pyarrow import parquet

from edgewise._lib.clock import ManualClock
from edgewise.errors import DecodeError, NotFoundError
from edgewise.pipeline.base import Reading
from edgewise.pipeline.sources.replay import ReplaySettings, ReplaySource

SECOND = 10**9
NOON_NS = 1_772_366_400 * SECOND  # 2026-03-01T12:00:00Z


class TurningClock(ManualClock):
    """Moves on by itself for as long as a source waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def watch(self, source: ReplaySource) -> ReplaySource:
        def wait(timeout: float | None = None) -> bool:
            self.waits.append(round(timeout or 0.0, 6))
            self.advance(timeout or 0.0)
            return False

        source._closed.wait = wait  # type: ignore[method-assign]
        return source


def play(path: Path, *, clock: ManualClock | None = None, **settings: Any) -> tuple[list[Reading], ReplaySource]:
    settings = {"speed": "max", **settings}
    source = ReplaySource("boiler", ReplaySettings(str(path), **settings), clock=clock or ManualClock())
    return list(source.read()), source


def write(folder: Path, text: str, name: str = "boiler.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_file_gives_its_rows_with_their_times_and_missing_cells(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "\ufefftime,temperature,burning,state\n"
        "2026-03-01T12:00:00Z,61.5,true,on\n"
        "2026-03-01 13:00:01+01:00,,NaN,off\n"
        "2026-03-01T12:00:02.5,inf,false,\n",
    )
    readings, source = play(path)
    assert [(reading.time_ns - NOON_NS, dict(reading.values)) for reading in readings] == [
        (0, {"temperature": 61.5, "burning": True, "state": "on"}),
        (SECOND, {"temperature": None, "burning": None, "state": "off"}),
        (2_500_000_000, {"temperature": None, "burning": False, "state": None}),
    ]
    assert [reading.number for reading in readings] == [1, 2, 3]
    assert source.unreadable == 0


def test_rows_that_are_broken_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "time,a\n1772366400,1\nsoon,2\n1772366402\n\n1772366403,4,4\n-5,5\n1772366405,6\n")
    readings, source = play(path)
    assert [reading.values["a"] for reading in readings] == [1, 6]
    assert source.unreadable == 4


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("auto", "1772366400"),
        ("auto", "1772366400000"),
        ("auto", "1772366400000000000"),
        ("s", "1772366400.0"),
        ("ms", "1772366400000"),
        ("us", "1772366400000000"),
        ("ns", "1772366400000000000"),
        ("iso", "2026-03-01T13:00:00"),
        ("%d %m %Y %H:%M", "01 03 2026 13:00"),
        ("%d.%m.%Y %H:%M:%S %z", "01.03.2026 17:30:00 +0530"),
    ],
)
def test_times_are_read_in_every_format(tmp_path: Path, form: str, written: str) -> None:
    readings, _ = play(write(tmp_path, f"when,a\n{written},1\n"), time="when", time_format=form, zone="Europe/Berlin")
    assert readings[0].time_ns == NOON_NS


def test_wanted_columns_are_picked_and_a_wrong_name_is_told_with_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, "time;temperature;pressure;flow\n1772366400;1;2;3\n")
    readings, _ = play(path, columns=("flow", "temperature"), delimiter=";")
    assert list(readings[0].values.items()) == [("flow", 3), ("temperature", 1)]
    with pytest.raises(NotFoundError) as caught:
        play(path, columns=("temprature",), delimiter=";")
    assert caught.value.hint == "Did you mean 'temperature'?"


@pytest.mark.parametrize(("speed", "waits"), [(1.0, [60.0, 30.0]), (60.0, [1.0, 0.5]), ("max", [])])
def test_speed_shortens_what_lies_between_rows(tmp_path: Path, speed: Any, waits: list[float]) -> None:
    path = write(tmp_path, "time,a\n1772366400,1\n1772366460,2\n1772366490,3\n")
    clock = TurningClock()
    source = clock.watch(ReplaySource("boiler", ReplaySettings(str(path), speed=speed), clock=clock))
    assert len(list(source.read())) == 3
    assert clock.waits == waits


def test_rows_without_times_are_an_interval_apart_and_may_loop_stamped_now(tmp_path: Path) -> None:
    path = write(tmp_path, "a\n1\n2\n")
    clock = TurningClock()
    settings = ReplaySettings(str(path), time="", interval_s=5, loop=True, stamped="now")
    source = clock.watch(ReplaySource("boiler", settings, clock=clock))
    begin = clock.time_ns()
    readings = list(islice(source.read(), 4))
    assert [reading.values["a"] for reading in readings] == [1, 2, 1, 2]
    assert [(reading.time_ns - begin) // SECOND for reading in readings] == [0, 5, 5, 10]
    with pytest.raises(ValueError, match="loop needs stamped: now"):
        ReplaySettings("x", loop=True)


def test_closing_ends_a_long_wait(tmp_path: Path) -> None:
    from edgewise._lib.clock import SystemClock

    path = write(tmp_path, "time,a\n0,1\n9000000000,2\n")
    source = ReplaySource("boiler", ReplaySettings(str(path), time_format="s"), clock=SystemClock())
    readings = source.read()
    next(readings)
    threading.Timer(0.05, source.close).start()
    assert list(readings) == []


def test_a_parquet_file_gives_the_same_as_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "boiler.parquet"
    moments = [datetime(2026, 3, 1, 12, 0, second, tzinfo=UTC) for second in range(3)]
    parquet.write_table(
        arrow.table(
            {
                "time": arrow.array([*moments, None], arrow.timestamp("ns", "Europe/Berlin")),
                "temperature": arrow.array([61.5, None, float("nan"), 1.0]),
                "burning": arrow.array([True, False, None, True]),
                "state": arrow.array(["on", "off", "x", "y"]).dictionary_encode(),
                "day": arrow.array([date(2026, 3, 1)] * 4),
                "price": arrow.array([Decimal("1.25")] * 4),
            }
        ),
        path,
    )
    readings, source = play(path)
    assert [reading.time_ns - NOON_NS for reading in readings] == [0, SECOND, 2 * SECOND]
    assert dict(readings[0].values) == {
        "temperature": 61.5,
        "burning": True,
        "state": "on",
        "day": "2026-03-01",
        "price": 1.25,
    }
    assert [reading.values["temperature"] for reading in readings] == [61.5, None, None]
    assert source.unreadable == 1


def test_times_of_a_parquet_file_that_carry_no_zone_are_in_that_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "boiler.parquet"
    naive = arrow.array([datetime(2026, 3, 1, 13)], arrow.timestamp("ms"))  # noqa: DTZ001
    parquet.write_table(arrow.table({"time": naive, "a": [1]}), path)
    assert play(path, zone="Europe/Berlin")[0][0].time_ns == NOON_NS


def test_a_large_parquet_file_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    rows = 60_000
    table = arrow.table({"time": list(range(rows)), "text": [f"a longer text {row}" for row in range(rows)]})
    parquet.write_table(table, path, row_group_size=2_000)
    del table
    source = ReplaySource("boiler", ReplaySettings(str(path), speed="max", time_format="s"), clock=ManualClock())
    held = arrow.total_allocated_bytes()
    tracemalloc.start()
    count = 0
    for reading in source.read():
        count = reading.number
        if count % 10_000 == 0:
            assert arrow.total_allocated_bytes() - held < 512 * 1024
    assert count == rows
    assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("boiler.csv", b"time,a\n\xff\xfe,1\n"),
        ("boiler.csv", b"time,a\n"),
        ("boiler.csv", b"time\n1\n"),
        ("boiler.csv", b"time,a\nnever,1\n"),
        ("boiler.csv", b'time,a\n1,"' + b"x" * 140_000),
        ("boiler.parquet", b"PAR1 is not enough"),
    ],
)
def test_a_file_that_holds_no_readings_is_told_with_a_hint(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DecodeError) as caught:
        play(path)
    assert caught.value.hint
    assert str(path) in str(caught.value)


def test_settings_that_lead_nowhere_are_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        ReplaySettings("x", zone="Europe/Nowhere")
