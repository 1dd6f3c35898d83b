"""Choosing nodes by their labels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import InputError
from edgewise.fleet.selector import Selector, Term, parse

words = st.from_regex(r"[a-z0-9]{1,5}([-_.][a-z0-9]{1,3})?", fullmatch=True)
terms = st.builds(Term, key=words, value=st.none() | words, holds=st.booleans())
selectors = st.lists(terms, max_size=5).map(lambda found: Selector(tuple(found)))


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", "door hall yard"),
        ("site=hall", "hall"),
        ("site!=hall", "door yard"),
        ("site", "hall yard"),
        ("!site", "door"),
        ("site, role != camera", "yard"),
        ("site=hall,role!=camera", ""),
    ],
)
def test_labels_select(text: str, chosen: str) -> None:
    nodes = {"door": {}, "hall": {"site": "hall", "role": "camera"}, "yard": {"site": "yard"}}
    assert [name for name, labels in nodes.items() if parse(text).matches(labels)] == chosen.split()


@given(selectors)
def test_what_is_written_is_what_is_read(selector: Selector) -> None:
    assert parse(str(selector)) == selector


@given(terms, st.dictionaries(words, words))
def test_a_term_or_its_contrary_holds(term: Term, labels: dict[str, str]) -> None:
    contrary = Term(term.key, term.value, holds=not term.holds)
    assert term.matches(labels) is not contrary.matches(labels)


@pytest.mark.parametrize("text", ["=hall", "site=", "a,,b", "site==hall", "!", "!a=b", "Site=hall", "a;b", "x" * 2000])
def test_what_selects_nothing_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse(text)
