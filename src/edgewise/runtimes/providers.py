"""Picking the hardware a session runs on: the best that starts, and the reasons why not a better one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, TypeVar

from edgewise.errors import EngineError
from edgewise.runtimes.base import Provider

Started = TypeVar("Started")


class Choice(NamedTuple):
    """A provider and why it is not the one asked for (empty when it is)."""

    provider: str
    fallback: str


def start_best(
    providers: Sequence[Provider],
    wanted: str,
    start: Callable[[str], Started],
    *,
    not_auto: Collection[str] = (),
) -> tuple[Started, Choice]:
    """Starts on the wanted provider, else on the CPU.

    Args:
        providers: Those of the engine, best first.
        wanted: A provider's name; ``auto`` for the best available one.
        start: Starts on the provider it is given, or raises EngineError. On ``cpu`` its error is the caller's.
        not_auto: Providers that are taken only when asked for by name.
    """
    reasons = []
    known = {provider.name: provider for provider in providers}
    if wanted == "auto":
        names = [name for name, provider in known.items() if provider.available and name not in not_auto]
    else:
        names = [wanted]
    for name in names:
        if name == "cpu":
            break
        provider = known.get(name)
        if provider is None or not provider.available:
            reasons.append(f"{name}: {provider.reason if provider else 'no such provider in this engine'}")
            continue
        try:
            return start(name), Choice(name, "; ".join(reasons))
        except EngineError as error:
            reasons.append(f"{name}: {error.message}")
    return start("cpu"), Choice("cpu", "; ".join(reasons))
