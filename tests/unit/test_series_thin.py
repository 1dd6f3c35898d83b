"""Thinning: what is left out can be rebuilt within the bound, at every time that was measured."""

import itertools
import math

from hypothesis import example, given
from hypothesis import strategies as st

from edgewise.series.thin import Point, SwingingDoor, rebuild, thin

S = 1_000_000_000
BOUNDS = st.one_of(st.just(0.0), st.floats(1e-9, 1e6))
VALUES = st.one_of(
    st.none(),
    st.floats(-1e3, 1e3),
    st.integers(-5, 5).map(float),
    st.floats(allow_nan=False, allow_infinity=False),
)


@st.composite
def series(draw):
    steps = draw(st.lists(st.integers(1, 3600 * S), min_size=1, max_size=60))
    return [Point(time_ns, draw(VALUES)) for time_ns in itertools.accumulate(steps, initial=1_700_000_000 * S)]


@given(series(), st.sampled_from(["dead_band", "swinging_door"]), BOUNDS, st.sampled_from([0, 60 * S, 7200 * S]))
@example([Point(0, 1.0), Point(1, 1.1), Point(2, 1.3), Point(3, 1.2)], "swinging_door", 0.1, 0)
@example([Point(i * S, 1e15 + math.sin(i)) for i in range(50)], "swinging_door", 0.5, 0)
def test_what_is_rebuilt_differs_by_at_most_the_bound(points, method, bound, gap_ns):
    kept = thin(points, method, bound, max_gap_ns=gap_ns)
    assert set(kept) <= set(points)
    assert [point.time_ns for point in kept] == sorted({point.time_ns for point in kept})
    found = rebuild(kept, [point.time_ns for point in points], method)
    for point, value in zip(points, found, strict=True):
        if point.value is None:
            assert value is None
        else:
            assert value is not None
            assert abs(value - point.value) <= bound


@given(st.floats(-1e6, 1e6), st.floats(0.01, 10), st.floats(-5, 5), st.integers(3, 200))
def test_a_straight_line_is_its_two_ends(start, bound, slope, count):
    points = [Point(i * S, start + slope * i) for i in range(count)]
    assert thin(points, "swinging_door", bound) == [points[0], points[-1]]


def test_a_temperature_that_rises_and_falls_is_three_corners_but_many_steps():
    points = [Point(i * S, 20.0 + min(i, 100 - i) * 0.1) for i in range(101)]
    door = thin(points, "swinging_door", 0.05)
    assert [point.time_ns // S for point in door] == [0, 50, 100]
    assert len(thin(points, "dead_band", 0.05)) == 101
    assert len(thin(points, "dead_band", 0.25)) == 33


def test_a_steady_value_is_kept_again_before_the_longest_gap_is_over():
    points = [Point(i * 60 * S, 7.0) for i in range(61)]
    assert [p.time_ns // S for p in thin(points, "dead_band", 0.5, max_gap_ns=900 * S)] == [0, 900, 1800, 2700, 3600]
    assert [p.time_ns // S for p in thin(points, "swinging_door", 0.5, max_gap_ns=900 * S)] == [
        0,
        900,
        1800,
        2700,
        3600,
    ]


def test_a_line_may_not_end_on_a_point_that_lets_it_pass_the_others_too_far_away():
    """Bristol's door is still open at the last point here, but a line to it would miss the others."""
    points = [Point(i * S, value) for i, value in enumerate((0.0, 0.0, 0.9, 1.6, -0.2, -0.3, 0.5))]
    kept = thin(points, "swinging_door", 1.0)
    found = rebuild(kept, [point.time_ns for point in points], "swinging_door")
    assert max(abs(a - b.value) for a, b in zip(found, points, strict=True)) <= 1.0


def test_a_point_right_on_the_bound_is_not_past_it_by_rounding():
    """It would be off by 0.10000000000002274, if the cone were not narrower by what rounding may cost."""
    points = [Point(i * S, value) for i, value in enumerate((1000.1, 999.7, 999.4, 999.1, 998.9))]
    found = rebuild(thin(points, "swinging_door", 0.1), [point.time_ns for point in points], "swinging_door")
    assert max(abs(a - b.value) for a, b in zip(found, points, strict=True)) <= 0.1


def test_what_is_missing_ends_a_line_and_is_known_to_be_missing():
    values = [1.0, 2.0, 3.0, None, None, None, 9.0, 9.0]
    points = [Point(i * S, value) for i, value in enumerate(values)]
    kept = thin(points, "swinging_door", 0.1)
    assert [(point.time_ns // S, point.value) for point in kept] == [(0, 1.0), (2, 3.0), (3, None), (6, 9.0), (7, 9.0)]
    assert rebuild(kept, [point.time_ns for point in points], "swinging_door") == values


def test_nothing_is_known_before_the_first_point():
    assert rebuild([Point(5, 1.0)], [4, 5, 6], "swinging_door") == [None, 1.0, 1.0]


def test_the_door_gives_a_corner_out_once_it_is_known_to_be_one():
    door = SwingingDoor(0.1)
    assert door.add(0, 0.0) == [Point(0, 0.0)]
    assert door.add(S, 1.0) == []
    assert door.add(2 * S, 2.0) == []
    assert door.add(3 * S, 0.0) == [Point(2 * S, 2.0)]
    assert door.flush() == [Point(3 * S, 0.0)]
    assert door.flush() == []
