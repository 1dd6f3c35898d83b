"""Labels of nodes: which ones there may be, and what counts of what was said here and further down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import InputError
from edgewise.fleet.labels import change, check_labels, fitting, overlay
from edgewise.trust.joining import MAX_LABELS

keys = st.integers(0, 30).map(lambda number: f"k{number}")
below = st.dictionaries(keys, st.just("below"), max_size=MAX_LABELS)
here = st.dictionaries(keys, st.sampled_from(["here", None]), max_size=MAX_LABELS)
many = st.lists(keys, min_size=9, max_size=MAX_LABELS, unique=True)


@pytest.mark.parametrize("labels", [{"A": "b"}, {"a": ""}, {"a": "b" * 64}, {f"k{n}": "v" for n in range(17)}])
def test_labels_that_no_node_can_have_are_refused_and_not_learned_from_a_child(labels: dict[str, str]) -> None:
    with pytest.raises(InputError):
        check_labels(labels)
    with pytest.raises(InputError):
        change({}, labels, below={})
    with pytest.raises(InputError, match="A=b cannot be a label"):
        check_labels({"a": "b", "A": "b"})
    assert fitting(labels) == {}


@given(below, here)
def test_what_was_said_here_counts_and_a_node_never_has_more_labels_than_one_can(
    below: dict[str, str], here: dict[str, str | None]
) -> None:
    labels = overlay(below, here)
    assert check_labels(labels) == labels
    assert {key: labels.get(key) for key in here} == here
    assert labels.items() <= {**below, **here}.items()


@given(many, many)
def test_labels_of_below_give_way_when_there_are_too_many(below: list[str], here: list[str]) -> None:
    labels = overlay(dict.fromkeys(below, "below"), dict.fromkeys(here, "here"))
    assert list(labels.values()).count("here") == len(here)
    assert len(labels) == min(MAX_LABELS, len({*below, *here}))


@given(below, here, keys)
def test_a_key_that_was_removed_is_gone_whoever_had_said_it(
    below: dict[str, str], here: dict[str, str | None], key: str
) -> None:
    after = change(here, {key: None}, below=below)
    assert key not in overlay(below, after)
    assert (key in after) is (key in below)  # nothing is kept of what nobody says


def test_a_removal_counts_as_long_as_somebody_below_says_the_contrary() -> None:
    said = change({}, {"role": None}, below={"role": "camera"})
    assert said == {"role": None}
    assert change(said, {"site": "hall"}, below={}) == {"site": "hall"}
    assert change(said, {"role": "door"}, below={"role": "camera"}) == {"role": "door"}
