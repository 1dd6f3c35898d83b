"""The node's parent and children, as the settings and its disk say. Makes the two sides of links."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgewise._lib.clock import Clock
from edgewise.errors import SettingsError
from edgewise.node.settings import Settings

if TYPE_CHECKING:
    from edgewise.fleet.census import NodeState
    from edgewise.fleet.proof import Proof
    from edgewise.fleet.reports import ReportBook
    from edgewise.fleet.store import FleetStore
    from edgewise.journal.disk import DiskJournal
    from edgewise.link.membership import LinkFolder, Membership
    from edgewise.link.reports import Telling
    from edgewise.link.uplink import Uplink
    from edgewise.node.parenting import Parenting
    from edgewise.trust.joining import JoinToken


def link_folder(settings: Settings) -> LinkFolder:
    """What the node keeps of the link to its parent."""
    from edgewise.link.membership import LinkFolder

    return LinkFolder(Path(settings.node.data) / "link")


def open_fleet(settings: Settings, *, clock: Clock) -> FleetStore:
    """The node's children. Several processes may open it.

    Raises:
        CorruptError: The data is damaged.
    """
    from edgewise._lib.state import open_state
    from edgewise.fleet.store import MIGRATIONS, FleetStore

    file = Path(settings.node.data) / "fleet" / "fleet.db"
    state = open_state(settings.state, file, component="fleet", migrations=MIGRATIONS)
    return FleetStore(state, name=settings.node.name, clock=clock)


def open_reports(settings: Settings, *, clock: Clock) -> ReportBook:
    """What the nodes below this one reported. Several processes may open it; the running node writes it.

    Raises:
        CorruptError: The data is damaged.
    """
    from edgewise._lib.state import open_state
    from edgewise.fleet.reports import MIGRATIONS, ReportBook

    file = Path(settings.node.data) / "fleet" / "reports.db"
    state = open_state(settings.state, file, component="reports", migrations=MIGRATIONS)
    try:
        return ReportBook(state, node=settings.node.name, clock=clock)
    except BaseException:
        state.close()
        raise


def read_census(settings: Settings, *, clock: Clock) -> list[NodeState]:
    """The nodes below this one, as the running node wrote them last; for commands beside it."""
    from edgewise.fleet.census import census

    with contextlib.ExitStack() as opened:
        fleet = open_fleet(settings, clock=clock)
        opened.callback(fleet.close)
        reports = open_reports(settings, clock=clock)
        opened.callback(reports.close)
        return census(fleet, reports.newest(lag_s=reports.lag_s()), root=settings.node.name)


def prove_tree(settings: Settings, *, clock: Clock) -> Proof:
    """The audit of this node and all below it, as the running node wrote down what they counted; for commands beside
    it. Errors as ``organs.read_journal``.
    """
    from edgewise.fleet.census import ages_of, census, parents_of
    from edgewise.fleet.proof import prove
    from edgewise.node.organs import read_journal

    root = settings.node.name
    with contextlib.ExitStack() as opened:
        fleet = open_fleet(settings, clock=clock)
        opened.callback(fleet.close)
        reports = open_reports(settings, clock=clock)
        opened.callback(reports.close)
        counted, nodes = reports.counted(), census(fleet, reports.newest(), root=root)
        journal = read_journal(settings)
        opened.callback(journal.close)
        return prove(journal.audit(), counted, root=root, parents=parents_of(nodes), ages=ages_of(nodes))


def authority_folder(settings: Settings) -> Path:
    """Where the node's certificate authority is kept."""
    return Path(settings.node.data) / "authority"


def make_parenting(settings: Settings, journal: DiskJournal, *, clock: Clock) -> Parenting:
    """What the node is to its children."""
    from edgewise.node.parenting import Parenting

    with contextlib.ExitStack() as opened:
        fleet = open_fleet(settings, clock=clock)
        opened.callback(fleet.close)
        reports = open_reports(settings, clock=clock)
        opened.callback(reports.close)
        parenting = Parenting(
            authority_folder(settings),
            fleet=fleet,
            reports=reports,
            journal=journal,
            node=settings.node.name,
            clock=clock,
        )
        opened.pop_all()
        return parenting


def join_parent(settings: Settings, url: str, token: JoinToken) -> Membership:
    """Makes the node a child of another, also while it runs. Errors as ``LinkFolder.join``."""
    from edgewise.journal.database import DATABASE
    from edgewise.node import organs

    if not (Path(settings.node.data) / "journal" / DATABASE).exists():
        organs.open_journal(settings)[0].close()  # its identity is what the parent knows the records by
    journal = organs.read_journal(settings)
    try:
        identity = journal.identity
    finally:
        journal.close()
    return link_folder(settings).join(url, token, node=settings.node.name, journal=identity)


def make_uplink(
    settings: Settings,
    journal: DiskJournal,
    *,
    brings: Callable[[str], bool],
    telling: Callable[[], Telling] | None = None,
    clock: Clock,
) -> Uplink | None:
    """What sends records to the node's parent; None while it has none.

    Args:
        settings: Of the node.
        journal: What is sent.
        brings: Whether a node is below this one.
        telling: Makes what reports how the node is.
        clock: Time.
    """
    import random

    from edgewise import __version__
    from edgewise.link.uplink import Uplink

    folder = link_folder(settings)
    membership = folder.membership
    if membership is None:
        return None
    if membership.node != settings.node.name:
        raise SettingsError(
            f"This node joined {membership.parent} as {membership.node}, and runs as {settings.node.name}",
            hint="Restart it, so that its records have the name; or join again under the other.",
            field="node.name",
        )
    credentials = folder.credentials(membership)
    return Uplink(
        journal,
        node=settings.node.name,
        version=__version__,
        connect=functools.partial(folder.client, membership, credentials),
        brings=brings,
        settings=settings.parent,
        clock=clock,
        random=random.random,
        budget=folder.budget(),
        spent=folder.keep_budget,
        telling=telling() if telling else None,
    )
