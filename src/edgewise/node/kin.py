"""The node's parent and children, as the settings and its disk say. Makes the two sides of links."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgewise._lib.clock import Clock
from edgewise.errors import ConflictError, SettingsError
from edgewise.node.settings import Settings

if TYPE_CHECKING:
    from edgewise.fleet.store import FleetStore
    from edgewise.journal.disk import DiskJournal
    from edgewise.link.client import Client
    from edgewise.link.consult import Consulting
    from edgewise.link.membership import LinkFolder, Membership
    from edgewise.link.relay import Perform, Relay
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


def authority_folder(settings: Settings) -> Path:
    """Where the node's certificate authority is kept."""
    return Path(settings.node.data) / "authority"


def make_parenting(settings: Settings, journal: DiskJournal, *, clock: Clock) -> Parenting:
    """What the node is to its children."""
    from edgewise.node.parenting import Parenting

    fleet = open_fleet(settings, clock=clock)
    try:
        return Parenting(authority_folder(settings), fleet=fleet, journal=journal, node=settings.node.name, clock=clock)
    except BaseException:
        fleet.close()
        raise


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
    settings: Settings, journal: DiskJournal, *, brings: Callable[[str], bool], clock: Clock
) -> Uplink | None:
    """What sends records to the node's parent; None while it has none.

    Args:
        settings: Of the node.
        journal: What is sent.
        brings: Whether a node is below this one.
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
    )


def make_relay(settings: Settings, perform: Perform, *, fleet: FleetStore | None, clock: Clock) -> Relay:
    """What answers requests of the node's parent.

    Args:
        settings: Of a node that has joined one.
        perform: Answers.
        fleet: Its own children.
        clock: Time.

    Raises:
        ConflictError: It has joined none.
    """
    import random

    from edgewise.link.relay import Relay
    from edgewise.node import organs

    return Relay(
        connect=_connect(settings),
        perform=perform,
        most=settings.parent.asked_at_once,
        workers=organs.workers(settings),
        brings=fleet.nodes if fleet else None,
        clock=clock,
        random=random.random,
    )


def make_consulting(settings: Settings, *, clock: Clock) -> Consulting | None:
    """What asks models of the node's parent; None where each byte to it costs. Errors as ``make_relay``."""
    import random

    from edgewise.link.consult import Consulting

    if settings.parent.budget.metered:
        return None
    return Consulting(connect=_connect(settings), clock=clock, random=random.random)


def _connect(settings: Settings) -> Callable[[], Client]:
    """Makes connections to the parent, with credentials that they share."""
    folder = link_folder(settings)
    membership = folder.membership
    if membership is None:
        raise ConflictError("This node has no parent", hint="First: edgewise join URL TOKEN")
    return functools.partial(folder.client, membership, folder.credentials(membership))
