"""Choosing nodes by their labels: ``site=hall,role!=camera,spare,!broken``. Pure.

Terms are joined by commas, and all of them must hold. ``KEY=VALUE``: the label is that; ``KEY!=VALUE``: it is another,
or there is none; ``KEY``: there is one; ``!KEY``: there is none. (As Kubernetes selects, without its sets.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from edgewise.errors import InputError

MAX_SELECTOR = 1024

_WORD = r"[a-z0-9]+(?:[-_.][a-z0-9]+)*"
_TERM = re.compile(
    rf"\s*(?:(?P<absent>!)(?P<none>{_WORD})|(?P<key>{_WORD})(?:\s*(?P<sign>!?=)\s*(?P<value>{_WORD}))?)\s*"
)


class Term(msgspec.Struct, frozen=True):
    """One condition: a label has a value (None: any value at all), or the contrary."""

    key: str
    value: str | None
    holds: bool

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether it is true of a node's labels."""
        found = self.key in labels if self.value is None else labels.get(self.key) == self.value
        return found is self.holds


class Selector(msgspec.Struct, frozen=True):
    """Conditions that must all hold; none hold for every node."""

    terms: tuple[Term, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels is meant."""
        return all(term.matches(labels) for term in self.terms)

    def __str__(self) -> str:
        return ",".join(map(_text, self.terms))


def parse(text: str) -> Selector:
    """The selector that a text writes; an empty one selects all.

    Raises:
        InputError: It is none.
    """
    if len(text) > MAX_SELECTOR:
        raise InputError(f"A selector has at most {MAX_SELECTOR} characters", limit=MAX_SELECTOR)
    return Selector(tuple(map(_term, text.split(",")))) if text.strip() else Selector()


def _term(text: str) -> Term:
    found = _TERM.fullmatch(text)
    if found is None:
        raise InputError(
            f"{text.strip()[:80]!r} selects no nodes",
            hint="Write KEY=VALUE, KEY!=VALUE, KEY or !KEY, joined by commas.",
        )
    if found["absent"]:
        return Term(found["none"], None, holds=False)
    return Term(found["key"], found["value"], holds=found["sign"] != "!=")


def _text(term: Term) -> str:
    if term.value is None:
        return term.key if term.holds else f"!{term.key}"
    return f"{term.key}{'=' if term.holds else '!='}{term.value}"
