"""What readings may hold, how JSON becomes channels, and what a missing extra says."""

from __future__ import annotations

import math
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise._lib.clock import ManualClock
from edgewise.errors import MissingExtraError
from edgewise.pipeline import catalog
from edgewise.pipeline.intake import MAX_CHANNELS, MAX_DEPTH, Intake, Session, clean, flatten
from edgewise.pipeline.settings import SourceSettings

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_whatever_json_holds_is_refused_or_may_be_kept(value: Any) -> None:
    try:
        found = flatten(value, "a")
    except ValueError:
        return
    assert found
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found)) == found
    assert all(math.isfinite(kept) for kept in found.values() if isinstance(kept, float))


def test_values_that_cannot_be_kept_are_missing_or_refused() -> None:
    assert [clean(value) for value in (float("nan"), float("-inf"), 2**63, True, "on")] == [
        None,
        None,
        float(2**63),
        True,
        "on",
    ]
    for value in ("x" * 1025, b"x", object(), 10**400):
        with pytest.raises(ValueError, match="no value of a reading"):
            clean(value)


def test_what_is_nested_too_deep_or_too_much_is_refused() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH + 1):
        deep = {"a": deep}
    for value in (deep, list(range(MAX_CHANNELS + 1)), {}, {"": 1}, {"a" * 129: 1}):
        with pytest.raises(ValueError, match=r"."):
            flatten(value, "")


def test_a_session_that_failed_is_told_after_what_it_gave_and_the_next_goes_on_counting() -> None:
    intake = Intake("porch", 10, clock=ManualClock())

    def work(session: Session) -> None:
        session.put({"a": 1})
        session.put({"a": 2})
        raise OSError("the cable")

    for numbers in ([1, 2], [3, 4]):
        readings = intake.read(work)
        assert [next(readings).number for _ in numbers] == numbers
        with pytest.raises(OSError, match="the cable"):
            next(readings)


def test_what_was_lent_is_given_back_unless_it_was_taken() -> None:
    intake = Intake("porch", 10, clock=ManualClock())
    acknowledged: list[int] = []

    def work(session: Session) -> None:
        for number in (1, 2, 3):
            session.lend({"a": number}, taken=lambda number=number: acknowledged.append(number))
        session.put({"a": 4})

    readings = intake.read(work)
    assert next(readings).values == {"a": 1}
    assert next(readings).values == {"a": 2}
    assert acknowledged == [1]
    while intake.forget() == 0:
        pass
    assert next(readings).values == {"a": 4}
    assert acknowledged == [1, 2]


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        ("av", {"kind": "rtsp", "url": "rtsp://127.0.0.1:1/"}),
        ("pymodbus.client", {"kind": "modbus", "host": "127.0.0.1", "registers": {"a": {"address": 0}}}),
        ("asyncua.client.client", {"kind": "opcua", "url": "opc.tcp://127.0.0.1:1/", "nodes": {"a": "i=1"}}),
        ("serial", {"kind": "serial", "device": "/dev/null", "lines": {"as": "json"}}),
    ],
)
def test_a_missing_extra_is_told_with_the_line_that_installs_it(
    module: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    source = catalog.make_source("porch", msgspec.convert(settings, SourceSettings), clock=ManualClock())
    with pytest.raises(MissingExtraError) as caught:
        next(source.read())
    assert caught.value.hint.startswith("pip install 'edgewise[")
    source.close()
