"""Points, lines and zones."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.pipeline.base import Frame
from edgewise.pipeline.places import Line, Polygon, crosses, foot, inside, side
from edgewise.testing.pipeline import picture
from edgewise.types import Box

share = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)
point = st.tuples(share, share)
line = st.tuples(point, point).filter(lambda ends: ends[0] != ends[1]).map(lambda ends: Line(*ends))
ACROSS = Line((0.2, 0.5), (0.8, 0.5))
SQUARE = ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8))


def test_forward_is_from_the_left_hand_to_the_right_hand_of_who_walks_along_the_line() -> None:
    assert side(ACROSS, (0.5, 0.75)) == pytest.approx(0.25)
    assert crosses(ACROSS, (0.5, 0.4), (0.5, 0.6)) == 1
    assert crosses(ACROSS, (0.5, 0.6), (0.5, 0.4)) == -1


def test_passing_beside_the_line_is_not_crossing_it() -> None:
    assert crosses(ACROSS, (0.1, 0.4), (0.1, 0.6)) == 0
    assert crosses(ACROSS, (0.9, 0.4), (0.9, 0.6)) == 0
    assert crosses(ACROSS, (0.5, 0.3), (0.6, 0.4)) == 0


@given(line, point, point)
def test_the_way_back_crosses_the_other_way(
    line: Line, before: tuple[float, float], after: tuple[float, float]
) -> None:
    assert crosses(line, before, after) == -crosses(line, after, before)


@given(line, st.lists(point, min_size=2, max_size=20))
def test_who_walks_a_closed_round_about_an_endless_line_has_crossed_it_as_often_each_way(
    line: Line, way: list[tuple[float, float]]
) -> None:
    (x1, y1), (x2, y2) = line.start, line.end
    ends = ((x1 - 1e9 * (x2 - x1), y1 - 1e9 * (y2 - y1)), (x1 + 1e9 * (x2 - x1), y1 + 1e9 * (y2 - y1)))
    endless = Line(*ends)
    crossings = [crosses(endless, a, b) for a, b in zip(way, [*way[1:], way[0]], strict=True)]
    assert sum(crossings) == 0


@given(st.floats(0.21, 0.79), st.floats(0.21, 0.79), st.booleans())
def test_inside_a_square(x: float, y: float, turned: bool) -> None:
    square = SQUARE[::-1] if turned else SQUARE
    assert inside(square, (x, y))
    assert not inside(square, (x + 0.6, y))
    assert not inside(square, (x, y - 0.6))


def test_a_notch_is_outside() -> None:
    notched = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.2), (0.0, 1.0))
    assert inside(notched, (0.1, 0.5))
    assert not inside(notched, (0.5, 0.5))


def test_an_object_stands_where_its_box_ends_below() -> None:
    frame = Frame("porch", 1, 0, picture(width=200, height=100))
    assert foot(Box(20, 10, 40, 50), frame) == (0.15, 0.5)


def test_settings_are_bounded() -> None:
    assert msgspec.convert([[0, 0], [1, 0], [0.5, 1]], Polygon) == ((0, 0), (1, 0), (0.5, 1))
    assert msgspec.convert([[0, 0.5], [1, 0.5]], Line) == Line((0, 0.5), (1, 0.5))
    for wrong, kind in (([[0, 0], [1, 1]], Polygon), ([[0, 0], [2, 0], [1, 1]], Polygon), ([[0, 0], [0, 0]], Line)):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, kind)
