"""What a node says of itself: to its parent, and to people who ask for the whole tree."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING

from edgewise import __version__
from edgewise.journal.custody import key_of
from edgewise.link.reports import (
    EVERY_S,
    METERED_EVERY_S,
    JournalReport,
    LinkReport,
    PipelineReport,
    Report,
    ResourceReport,
    Telling,
)
from edgewise.link.uplink import CONSUMER

if TYPE_CHECKING:
    from edgewise.journal.base import Standing
    from edgewise.node.node import Node

_MOST = 64  # pipelines and models that are named
_TEXT = 256
_ENDS_HERE = -1


def make_telling(node: Node) -> Telling:
    """What tells the node's parent how it is."""

    def goes_up() -> Mapping[str, tuple[int, int]]:
        links = node.links  # renewed when the settings of the way up change
        return links.uplink.ends() if links else {}

    def ends() -> Mapping[str, tuple[int, int]]:
        up = goes_up()
        return {**_stays(node, up), **up}

    def count(streams: Collection[str]) -> Iterable[Standing]:
        up = goes_up()
        yield from node.journal.standings([key for key in streams if key in up], CONSUMER)
        yield from node.journal.standings([key for key in streams if key not in up], "")

    return Telling(
        report=lambda: make_report(node),
        count=count,
        ends=ends,
        alarm=lambda: _alarm(node),
        below=node.parenting.reports if node.parenting else None,
        clock=node.clock,
        every_s=lambda: _every_s(node),
    )


def make_report(node: Node) -> Report:
    """How the node is now."""
    links = node.links
    uplink = links.uplink.state if links else None
    totals = node.journal.totals()
    return Report(
        node=node.settings.node.name,
        version=__version__,
        uptime_s=max(0.0, (node.clock.time_ns() - node.started_ns) / 1e9),
        every_s=_every_s(node),
        clock_ahead_s=links.uplink.clock_ahead_s if links else 0.0,
        pipelines=tuple(_pipelines(node)),
        models=tuple(model.name[:_MOST] for model in node.repository.index() if model.state == "READY")[:_MOST],
        rules=len(node.settings.rules),
        resources=_resources(node),
        journal=JournalReport(totals.bytes, uplink.pending if uplink else 0, totals.dropped),
        link=LinkReport(uplink.link.phase, uplink.link.failures, uplink.used_today) if uplink else LinkReport(),
    )


def _every_s(node: Node) -> float:
    metered = node.settings.parent.budget.metered
    return METERED_EVERY_S if metered or (node.way and node.way.spending.is_sparing) else EVERY_S


def _stays(node: Node, up: Collection[str]) -> dict[str, tuple[int, int]]:
    """Streams of nodes below that end here: what those handed over is looked for here then, and not further up."""
    own = node.settings.node.name
    held = {key_of(each.node, each.stream): each for each in node.journal.streams() if each.node != own}
    return {key: (each.last, _ENDS_HERE) for key, each in held.items() if key not in up}


def _pipelines(node: Node) -> Iterable[PipelineReport]:
    for name, runner in list(node.pipelines.items())[:_MOST]:
        now = runner.state()
        yield PipelineReport(name, now.phase.value, round(max(0.0, now.fps), 2), now.problem[:_TEXT])


def _resources(node: Node) -> ResourceReport:
    samples = node.resources.samples()
    newest = samples[-1] if samples else node.resources.sample()
    try:
        free: int | None = shutil.disk_usage(node.settings.node.data).free
    except OSError:  # the disk is gone; all else can still be told
        free = None
    return ResourceReport(
        round(max(0.0, newest.cpu), 3), newest.machine_cpu, newest.rss_bytes, free, newest.temperature_c
    )


def _alarm(node: Node) -> Hashable:
    return tuple((name, runner.state().phase) for name, runner in list(node.pipelines.items()))
