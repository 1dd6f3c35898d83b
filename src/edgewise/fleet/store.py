"""Children, invitations and routes in a database; who asks on each request is answered from memory.

Several processes may share the state (a command beside the running node, several centers on one database). What another
process changed is seen at the next ``refresh``, which the node calls every few seconds: revocation takes that long.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import msgspec

from edgewise._lib.clock import Clock
from edgewise._lib.sqlite import read_statements
from edgewise._lib.state import Row, State
from edgewise.errors import AccessError, ConflictError, NotFoundError, TooLargeError
from edgewise.fleet import labels as words
from edgewise.trust import joining, rotation, subtree
from edgewise.trust.joining import Invitation, JoinToken
from edgewise.trust.proof import Stranger
from edgewise.trust.refusals import Reason, refusal

MIGRATIONS = Path(__file__).parent / "migrations"
MAX_INVITATIONS = 10_000
# A used invitation is kept for as long after its end, so that who comes late is told why.
_KEPT_NS = 30 * 86400 * 10**9

_SQL = read_statements(Path(__file__).with_name("queries.sql"))
_NO_LABELS = "{}"


class Child(msgspec.Struct, frozen=True):
    """A node that joined this one.

    Attributes:
        name: Its name.
        key: Its public key, hex.
        rotations: How often it changed its key.
        journal: Identity of the journal whose records are taken: under another one its sequences mean something else.
        labels: What was said about it, when it was invited or later.
        joined_ns: When it joined, nanoseconds since the Unix epoch.
        authority: The fingerprint that it last proved itself to; empty where that was not noted: by an earlier release.
    """

    name: str
    key: str
    rotations: int
    journal: str
    labels: Mapping[str, str]
    joined_ns: int
    authority: str = ""


class FleetStore:
    """Who may call as whom. Safe for threads.

    Args:
        state: Opened with ``MIGRATIONS``; closed with the store.
        name: Of this node: nobody below it is called so.
        clock: The wall clock, by which invitations end.
    """

    def __init__(self, state: State, *, name: str, clock: Clock) -> None:
        self._state = state
        self._name = name
        self._clock = clock
        self._lock = threading.RLock()
        self._revision = 0
        self._children: dict[str, Child] = {}
        self._revoked: frozenset[str] = frozenset()
        self._tree = subtree.Tree(name)
        self._said: dict[str, Mapping[str, str | None]] = {}
        self._told: dict[str, Mapping[str, str]] = {}
        self._load()

    @property
    def state(self) -> State:
        """The database, for what else is kept of children."""
        return self._state

    @property
    def revision(self) -> int:
        """Counts the changes that are known here."""
        return self._revision

    def close(self) -> None:
        """Closes the database. May be called twice."""
        self._state.close()

    # Answered from memory.

    def key(self, node: str) -> str | None:
        """The key (hex) that is taken from a child now; None when there is no such child."""
        child = self._children.get(node)
        return child.key if child else None

    def is_revoked(self, key: str) -> bool:
        """Whether nothing is taken from a key any more."""
        return key in self._revoked

    def child(self, name: str) -> Child:
        """A child.

        Raises:
            NotFoundError: None has that name.
        """
        if child := self._children.get(name):
            return child
        raise NotFoundError(f"No child is named {name!r}", hint="See: edgewise nodes", kind="node", name=name[:64])

    def children(self) -> list[Child]:
        """All children, by name."""
        return sorted(self._children.values(), key=lambda child: child.name)

    def count(self) -> int:
        """How many children there are."""
        return len(self._children)

    def routes(self) -> dict[str, str]:
        """The child by the name of each node below this one, children themselves included."""
        with self._lock:
            return self._tree.routes

    def below(self, child: str) -> list[str]:
        """The nodes that a child brings, itself among them, by name."""
        with self._lock:
            return sorted(node for node, route in self._tree.routes.items() if route == child)

    def nodes(self) -> list[str]:
        """All nodes below this one, children included, by name."""
        return sorted(self._tree.routes)

    def route(self, node: str) -> str | None:
        """The child that brings a node; None when nobody does."""
        return self._tree.route(node)

    def labels(self, node: str) -> Mapping[str, str]:
        """All labels of a node: what was said here over what its way up says. None of who is not below this one."""
        if child := self._children.get(node):
            return child.labels
        return words.overlay(self._told.get(node, {}), self._said.get(node, {}))

    def labelled(self) -> dict[str, Mapping[str, str]]:
        """The nodes that have labels, with these."""
        names = self._children.keys() | self._said.keys() | self._told.keys()
        return {name: labels for name in names if (labels := self.labels(name))}

    def has_learned(self, child: str, told: Mapping[str, Mapping[str, str]]) -> bool:
        """Whether it is known already what a child says of nodes further down."""
        return all(self._told.get(node, {}) == labels for node, labels in told.items() if node != child)

    def check_speaks(self, caller: str, node: str) -> None:
        """Refuses a child that speaks for a node that it does not bring.

        Raises:
            AccessError: ``other_subtree``.
        """
        subtree.check_speaks(caller, node, self._tree)

    # Changes.

    def invite(
        self,
        fingerprint: str,
        *,
        random: Callable[[int], bytes],
        valid_s: float = 3600.0,
        node: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> JoinToken:
        """A join token that may be used once. Arguments and errors as ``trust.joining.invite``.

        Raises:
            TooLargeError: There are ``MAX_INVITATIONS``.
        """
        now_ns = self._clock.time_ns()
        token, invitation = joining.invite(
            fingerprint, random=random, time_ns=now_ns, valid_s=valid_s, node=node, labels=labels
        )
        with self._changing():
            self._state.execute(_SQL["forget_invitations"], before_ns=now_ns - _KEPT_NS)
            row = self._state.one(_SQL["count_invitations"])
            if row and int(row[0]) >= MAX_INVITATIONS:
                raise TooLargeError("Too many join tokens are out", hint="Let some expire.", limit=MAX_INVITATIONS)
            self._state.execute(
                _SQL["add_invitation"],
                digest=invitation.digest,
                expires_ns=invitation.expires_ns,
                node=invitation.node,
                labels=_text(invitation.labels),
            )
        return token

    def invitation(self, secret: bytes) -> Invitation:
        """What is kept of a join token.

        Raises:
            NotFoundError: There is none.
        """
        if row := self._state.one(_SQL["invitation"], digest=joining.digest_of(secret)):
            return _invitation(row)
        raise NotFoundError("There is no such join token", hint="See: edgewise token list", kind="token")

    def withdraw(self, digest: str) -> Invitation:
        """Makes a join token worth nothing; who joined with it stays.

        Args:
            digest: The beginning of the invitation's, as much as tells it from others.

        Raises:
            NotFoundError: No token has it, or several have.
        """
        found = [each for each in self.invitations() if digest and each.digest.startswith(digest)]
        if len(found) != 1:
            raise NotFoundError(
                f"No join token has the id {digest[:64]!r}", hint="See: edgewise token list", kind="token", name=digest
            )
        with self._changing():
            self._state.execute(_SQL["remove_invitation"], digest=found[0].digest)
        return found[0]

    def invitations(self) -> list[Invitation]:
        """What is out, and what was used not long ago; the first to end first."""
        return [_invitation(row) for row in self._state.all(_SQL["invitations"])]

    def admit(self, stranger: Stranger, secret: bytes, *, journal: str) -> Child:
        """Lets a node in that shows a join token. Safe to repeat by the same key, until the node is removed.

        Args:
            stranger: Who asks, proved.
            secret: Of the token.
            journal: Identity of its journal.

        Raises:
            AccessError: ``unknown``, ``used``, ``expired`` or ``wrong_name``.
            ConflictError: A node below this one has the name already.
        """
        self._redeem(stranger, secret)  # anybody may ask: without a token they cost a look, and no transaction
        with self._changing():
            used, invitation = self._redeem(stranger, secret)
            known = self._children.get(stranger.node)
            if used and not known:  # by a key that it changed since, so that is not the one that was revoked
                raise refusal(Reason.USED, "The join token let a node in that was removed since")
            if known and known.key == stranger.key and known.journal == journal:
                return known
            if known:
                raise ConflictError(
                    f"There is a node called {stranger.node} already",
                    hint=f"Choose another name; or, if it is gone for good: edgewise nodes remove {stranger.node}",
                    name=stranger.node,
                )
            self._tree.join(stranger.node)
            self._state.execute(
                _SQL["use_invitation"],
                digest=invitation.digest,
                used_by=invitation.used_by,
                node=invitation.node,
            )
            child = Child(
                stranger.node,
                stranger.key,
                0,
                journal,
                dict(invitation.labels),
                self._clock.time_ns(),
                stranger.audience,
            )
            self._state.execute(
                _SQL["add_child"],
                name=child.name,
                key=child.key,
                journal=journal,
                labels=_text(child.labels),
                now_ns=child.joined_ns,
                authority=child.authority,
            )
            self._state.execute(_SQL["add_route"], node=stranger.node, child=stranger.node)
            self._keep_in_mind(child)
        return child

    def _redeem(self, stranger: Stranger, secret: bytes) -> tuple[bool, Invitation]:
        """Whether an invitation was used before, and the invitation as used; see ``trust.joining.redeem``."""
        row = self._state.one(_SQL["invitation"], digest=joining.digest_of(secret))
        stored = _invitation(row) if row else None
        now_ns = self._clock.time_ns()
        used = joining.redeem(stored, secret, node=stranger.node, key=stranger.key, time_ns=now_ns)
        return bool(stored and stored.used_by), used

    def check_journal(self, child: str, journal: str) -> None:
        """Refuses a child whose journal is another than the one whose records were taken so far.

        Raises:
            ConflictError: It was made anew: its sequences begin again, under numbers that are taken.
        """
        if self.child(child).journal != journal:
            raise ConflictError(
                f"The journal of {child} was made anew; its records cannot be told from those that are here",
                hint="Join again, under another name: edgewise join URL TOKEN --name NAME",
                reason="other_journal",
                name=child,
            )

    def announce(self, child: str, nodes: Collection[str], *, alone: bool = False) -> tuple[str, ...]:
        """A child says which nodes are below it.

        Args:
            child: Who.
            nodes: Those.
            alone: No others are: what it brought before is released.

        Returns:
            Those that it cannot bring: this node is called so, another child is or brings one, or there is no room.

        Raises:
            NotFoundError: There is no such child.
            InputError: No node can be called so; nothing has changed.
        """
        with self._lock:
            missing = [node for node in nodes if self._tree.route(node) != child]
            gone = self._tree.brought(child) - {child, *nodes} if alone else set()
            taken = {node for node in missing if node == self._name or self._tree.route(node)}
        fresh = [node for node in missing if node not in taken]
        if fresh or gone:
            with self._changing():
                for node in gone & self._tree.brought(child):
                    self._release(child, node)
                taken |= {node for node in fresh if not self._bring(child, node)}
        return tuple(sorted(taken))

    def release(self, child: str, node: str) -> None:
        """A node is not below a child any more. Errors as ``trust.subtree.Tree.release``."""
        with self._changing():
            self._release(child, node)

    def rotate(self, child: str, statement: str, *, audiences: Collection[str]) -> Child:
        """Takes the next key of a child. Errors as ``trust.rotation.take``."""
        self.refresh()
        self._rotated(child, statement, audiences)  # a child that states nonsense costs a look, and no transaction
        with self._changing():
            changed = self._rotated(child, statement, audiences)
            self._state.execute(
                _SQL["set_child"],
                name=child,
                key=changed.key,
                rotations=changed.rotations,
                labels=_text(changed.labels),
            )
            self._keep_in_mind(changed)
        return changed

    def _rotated(self, child: str, statement: str, audiences: Collection[str]) -> Child:
        known = self.child(child)
        key = rotation.take(statement, node=child, audiences=audiences, key=known.key, number=known.rotations)
        return msgspec.structs.replace(known, key=key, rotations=known.rotations + 1)

    def note_authorities(self, shown: Mapping[str, str]) -> None:
        """Notes which authority children take this node for: fingerprints by name. Those that are gone are passed
        over.
        """
        with self._changing():
            for name, authority in shown.items():
                if known := self._children.get(name):
                    self._state.execute(_SQL["set_authority"], name=name, authority=authority)
                    self._keep_in_mind(msgspec.structs.replace(known, authority=authority))

    def learn(self, child: str, told: Mapping[str, Mapping[str, str]]) -> None:
        """Notes the labels that a child tells of nodes further down; nothing of those that it does not bring."""
        told = {node: words.fitting(labels) for node, labels in told.items() if node != child}
        if self.has_learned(child, told):
            return
        with self._changing():
            fresh = {node: labels for node, labels in told.items() if self._tree.route(node) == child}
            for node, labels in fresh.items():
                if self._told.get(node, {}) != labels:
                    self._state.execute(_SQL["set_told"], node=node, told=_text(labels))
            self._told = {node: labels for node, labels in {**self._told, **fresh}.items() if labels}

    def label(self, node: str, changes: Mapping[str, str | None]) -> Mapping[str, str]:
        """Changes what is said here about a node below this one.

        Args:
            node: Which, also one further down.
            changes: Values by key; None for what is not to be there.

        Returns:
            All its labels.

        Raises:
            NotFoundError: No node below this one has that name.
            InputError: A node cannot have these labels.
        """
        with self._changing():
            if (way := self._tree.route(node)) is None:
                raise NotFoundError(
                    f"No node below this one is named {node[:64]!r}",
                    hint="See: edgewise nodes list",
                    kind="node",
                    name=node[:64],
                )
            if way == node:
                self._label_child(self.child(node), changes)
            else:
                said = words.change(self._said.get(node, {}), changes, below=self._told.get(node, {}))
                self._state.execute(_SQL["set_labels"], node=node, labels=_text(said))
                self._said = {name: labels for name, labels in {**self._said, node: said}.items() if labels}
            return self.labels(node)

    def remove(self, child: str) -> tuple[str, ...]:
        """Revokes a child: its key counts for nothing any more, and its name and those below it are free.

        Returns:
            The names that are free now. What it sent stays.
        """
        with self._changing():
            known = self.child(child)
            gone = self._tree.leave(child)
            self._state.execute(_SQL["add_revoked"], key=known.key, name=child, now_ns=self._clock.time_ns())
            self._state.execute(_SQL["remove_routes"], child=child)
            self._state.execute(_SQL["remove_child"], name=child)
            self._revoked |= {known.key}
            self._children = {name: each for name, each in self._children.items() if name != child}
            self._forget_labels(set(gone))
        return gone

    def refresh(self) -> bool:
        """Reads anew what another process changed; whether it did."""
        if self._stored_revision() == self._revision:
            return False
        self._load()
        return True

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Makes several changes one: all of them or none, and one wait for the disk."""
        with self._changing():
            yield

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """A transaction, begun on what is in the database now. Inside, memory is changed along with it; when that
        fails it is read anew. Reading all of it after each change would make the thousandth node to join wait for a
        thousand others.
        """
        with self._lock:
            try:
                with self._state.transaction():
                    if self._stored_revision() != self._revision:
                        self._load()  # what another process changed counts as well
                    yield
                    self._state.execute(_SQL["count_up"])
                self._revision += 1
            except BaseException:
                self._load()
                raise

    def _bring(self, child: str, node: str) -> bool:
        """Notes that a child brings a node; whether it can."""
        try:
            self._tree.announce(child, node)
        except (AccessError, TooLargeError):
            return False
        self._state.execute(_SQL["add_route"], node=node, child=child)
        return True

    def _release(self, child: str, node: str) -> None:
        self._tree.release(child, node)
        self._state.execute(_SQL["remove_route"], node=node)
        self._forget_labels({node})

    def _stored_revision(self) -> int:
        row = self._state.one(_SQL["revision"])
        return int(row[0]) if row else 0

    def _keep_in_mind(self, child: Child) -> None:
        self._children = {**self._children, child.name: child}

    def _label_child(self, known: Child, changes: Mapping[str, str | None]) -> None:
        labels = words.overlay({}, words.change(known.labels, changes, below={}))
        self._state.execute(
            _SQL["set_child"], name=known.name, key=known.key, rotations=known.rotations, labels=_text(labels)
        )
        self._keep_in_mind(msgspec.structs.replace(known, labels=labels))

    def _forget_labels(self, nodes: Collection[str]) -> None:
        self._said = {name: labels for name, labels in self._said.items() if name not in nodes}
        self._told = {name: labels for name, labels in self._told.items() if name not in nodes}

    def _load(self) -> None:
        with self._lock, self._state.transaction():
            self._revision = self._stored_revision()
            self._children = {row[0]: _child(row) for row in self._state.all(_SQL["children"])}
            self._revoked = frozenset(row[0] for row in self._state.all(_SQL["revoked"]))
            routes = self._state.all(_SQL["routes"])
            self._tree = subtree.Tree(self._name, {row[0]: row[1] for row in routes})
            self._said = {row[0]: _said(row[2]) for row in routes if row[2] != _NO_LABELS}
            self._told = {row[0]: _labels(row[3]) for row in routes if row[3] != _NO_LABELS}


def _child(row: Row) -> Child:
    name, key, rotations, journal, labels, joined_ns, authority = row
    return Child(name, key, int(rotations), journal, _labels(labels), int(joined_ns), authority)


def _invitation(row: Row) -> Invitation:
    digest, expires_ns, node, labels, used_by = row
    return Invitation(digest, int(expires_ns), node, dict(_labels(labels)), used_by)


def _text(labels: Mapping[str, str | None]) -> str:
    return msgspec.json.encode(dict(labels), order="sorted").decode()


def _labels(text: str) -> Mapping[str, str]:
    return msgspec.json.decode(text, type=dict[str, str])


def _said(text: str) -> Mapping[str, str | None]:
    return msgspec.json.decode(text, type=dict[str, str | None])
