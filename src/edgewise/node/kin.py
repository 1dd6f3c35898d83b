"""The node's parent and children, as the settings and its disk say. Makes the two sides of links."""

from __future__ import annotations

import contextlib
import random
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgewise._lib.clock import Clock
from edgewise.errors import NotFoundError, SettingsError
from edgewise.node.settings import Settings

if TYPE_CHECKING:
    from edgewise.fleet.census import NodeState
    from edgewise.fleet.proof import Proof
    from edgewise.fleet.reports import ReportBook
    from edgewise.fleet.store import FleetStore
    from edgewise.fleet.wishes import WishStore
    from edgewise.journal.blobs import BlobStore
    from edgewise.journal.disk import DiskJournal
    from edgewise.link.consult import Consulting
    from edgewise.link.fetching import BlobFetch
    from edgewise.link.media import MediaUplink
    from edgewise.link.membership import Bond, LinkFolder, Membership
    from edgewise.link.relay import Perform, Relay
    from edgewise.link.reports import Telling
    from edgewise.link.uplink import Uplink
    from edgewise.link.way import Way
    from edgewise.node.handing import Handing
    from edgewise.node.parenting import Parenting
    from edgewise.node.settling import Settling
    from edgewise.node.steering import Steering
    from edgewise.trust.joining import JoinToken


def link_folder(settings: Settings) -> LinkFolder:
    """What the node keeps of the link to its parent."""
    from edgewise.link.membership import LinkFolder

    return LinkFolder(Path(settings.node.data) / "link")


def bond_of(settings: Settings) -> Bond | None:
    """Which parent the node calls, as its disk says now; None for none."""
    membership = link_folder(settings).membership
    return membership.bond if membership else None


def settle_parent(settings: Settings, journal: DiskJournal, blobs: BlobStore, wishes: WishStore | None) -> None:
    """Forgets what is true of a parent alone that was left since: what it has of records and blobs, and what it wanted
    of the nodes below. Nothing may go to a parent meanwhile. What a crash cuts off is done by the next call.
    """
    from edgewise.link.desired import Handed
    from edgewise.link.uplink import CONSUMER
    from edgewise.node import organs

    folder = link_folder(settings)
    bond = bond_of(settings)
    parent, before = bond.parent if bond else "", folder.settled
    if parent == before:
        return
    if before is not None or not parent:  # an earlier release noted nothing, and went on with the parent it had
        organs.forget(journal, lambda consumer: consumer == CONSUMER, node=settings.node.name)
        blobs.forget_upstream()
        if wishes:
            wishes.take(Handed("", whole=True), but=settings.node.name)
    if before is not None or parent:
        folder.settle(parent)


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


def open_wishes(settings: Settings, fleet: FleetStore, *, clock: Clock) -> WishStore:
    """What is wanted of the nodes below. Several processes may open it; a running node sees within a second what
    another one changed.
    """
    from edgewise.fleet.wishes import WishStore

    return WishStore(fleet, name=settings.node.name, clock=clock, epoch=secrets.token_hex(8))


def make_settling(settings: Settings, *, clock: Clock) -> Settling:
    """What makes the node what its parent wants; it knows what that was, and begins with ``start``."""
    from edgewise.node import organs
    from edgewise.node.settling import Settling

    organs.data_folder(settings)
    membership = link_folder(settings).membership
    parent = membership.identity if membership else ""
    return Settling(Path(settings.node.data) / "link" / "desired.json", own=settings, parent=parent, clock=clock)


def open_way(settings: Settings, *, clock: Clock) -> Way | None:
    """The node's way to its parent; None while it has none.

    Raises:
        CorruptError: What it keeps of its link is damaged.
        SettingsError: It joined under another name.
    """
    from edgewise.link.way import Way

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
    return Way(folder, membership, budget=settings.parent.budget, clock=clock)


def make_steering(way: Way, *, settling: Settling, handing: Handing | None, clock: Clock) -> Steering:
    """What asks the node's parent what it wants."""
    from edgewise.node.steering import Steering

    return Steering(way, settling=settling, handing=handing, clock=clock, random=random.random)


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
    """Where the node's certificate authority is kept.

    Raises:
        SettingsError: The node takes no children, so it needs none.
    """
    if settings.https is None:
        raise SettingsError(
            "This node takes no children: it listens on no address for them",
            hint="Add to edgewise.yaml: https: {port: 8471}",
        )
    return Path(settings.node.data) / "authority"


def make_parenting(
    settings: Settings,
    journal: DiskJournal,
    blobs: BlobStore,
    *,
    record: Callable[[str, Mapping[str, Any]], None],
    clock: Clock,
) -> Parenting:
    """What the node is to its children; ``record`` writes what changes into the audit log."""
    from edgewise.node.parenting import Parenting

    with contextlib.ExitStack() as opened:
        fleet = open_fleet(settings, clock=clock)
        opened.callback(fleet.close)
        reports = open_reports(settings, clock=clock)
        opened.callback(reports.close)
        parenting = Parenting(
            authority_folder(settings),
            fleet=fleet,
            wishes=open_wishes(settings, fleet, clock=clock),
            reports=reports,
            journal=journal,
            blobs=blobs,
            receiving=Path(settings.node.data) / "journal" / "receiving",
            node=settings.node.name,
            record=record,
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


def change_key(settings: Settings) -> Membership:
    """Gives the node another key towards its parent, also while it runs. Errors as ``LinkFolder.change_key``.

    Raises:
        NotFoundError: It has no parent.
    """
    from edgewise.node import organs

    folder = link_folder(settings)
    membership = folder.membership
    if membership is None:
        raise NotFoundError("This node is nobody's child", hint="First: edgewise join URL TOKEN", kind="parent")
    changed = folder.change_key(membership)
    what = {"parent": membership.parent, "key": changed.key, "changes": changed.changes}
    with contextlib.closing(organs.open_account_store(settings)) as store:
        organs.leave_change(store, settings, "key.changed", what)
    return membership


def make_fetch(clock: Clock) -> BlobFetch:
    """What asks the parent for blobs, once there is one."""
    from edgewise.link.fetching import BlobFetch

    return BlobFetch(clock)


class Links(NamedTuple):
    """All that calls the parent by itself.

    Attributes:
        uplink: Sends records.
        media: Sends blobs; None where they stay on the node.
    """

    uplink: Uplink
    media: MediaUplink | None

    def start(self) -> None:
        """Begins."""
        self.uplink.start()
        if self.media:
            self.media.start()

    def stop(self) -> None:
        """Ends."""
        if self.media:
            self.media.stop()
        self.uplink.stop()


def make_links(
    settings: Settings,
    journal: DiskJournal,
    blobs: BlobStore,
    *,
    way: Way,
    fleet: FleetStore | None,
    telling: Telling,
    clock: Clock,
) -> Links:
    """What goes to the node's parent.

    Args:
        settings: Of the node.
        journal: What is sent.
        blobs: What its records point to.
        way: To the parent.
        fleet: The node's children; None where it takes none.
        telling: Reports how the node is.
        clock: Time.
    """
    from edgewise import __version__
    from edgewise.link.media import MediaUplink
    from edgewise.link.uplink import Uplink

    def brings(node: str) -> bool:
        return fleet is not None and fleet.route(node) is not None

    uplink = Uplink(
        journal,
        node=settings.node.name,
        version=__version__,
        connect=way.connect,
        brings=brings,
        below=fleet.nodes if fleet else tuple,
        settings=settings.parent,
        clock=clock,
        random=random.random,
        spending=way.spending,
        telling=telling,
    )
    media = MediaUplink(
        blobs,
        journal,
        node=settings.node.name,
        settings=settings.parent,
        brings=brings,
        connect=way.connect,
        spending=way.spending,
        clock=clock,
        random=random.random,
    )
    return Links(uplink, media if settings.parent.media else None)


def make_relay(settings: Settings, perform: Perform, *, way: Way, fleet: FleetStore | None, clock: Clock) -> Relay:
    """What answers requests of the node's parent.

    Args:
        settings: Of the node.
        perform: Answers.
        way: To the parent.
        fleet: Its own children.
        clock: Time.
    """
    from edgewise.link.relay import Relay
    from edgewise.node import organs

    return Relay(
        connect=way.connect,
        spending=way.spending,
        perform=perform,
        most=settings.parent.asked_at_once,
        workers=organs.workers(settings),
        brings=fleet.nodes if fleet else None,
        clock=clock,
        random=random.random,
    )


def make_consulting(way: Way, *, clock: Clock) -> Consulting:
    """What asks models of the node's parent."""
    from edgewise.link.consult import Consulting

    return Consulting(connect=way.connect, spending=way.spending, clock=clock, random=random.random)
