"""Accounts, sessions and API tokens in a database, and the changes that the journal has not got yet.

Secrets are stored as hashes only. Every rule about what there may be (bounds, the last admin) holds in the transaction
that writes. Whoever reads often keeps a copy and asks ``revision`` whether it is still true (``directory``).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgewise._lib.clock import Clock
from edgewise._lib.documents import nearest
from edgewise._lib.sqlite import read_statements
from edgewise._lib.state import Row, State
from edgewise.accounts.names import check_name, fold
from edgewise.accounts.passwords import check_password, hash_password
from edgewise.accounts.permissions import Permission, Role
from edgewise.errors import ConflictError, InputError, NotFoundError, StorageFullError, TooLargeError

PREFIX = "edgewise_"
MAX_ACCOUNTS = 1000
MAX_TOKENS = 1000
MAX_SESSIONS = 20
MAX_TOKEN_NAME = 64
MAX_TOKEN_S = 10 * 366 * 86400.0
MAX_CHANGES = 10_000
_SECRET_BYTES = 32

MIGRATIONS = Path(__file__).parent / "migrations"
_SQL = read_statements(Path(__file__).with_name("queries.sql"))


class Account(msgspec.Struct, frozen=True):
    """Somebody, or something, that may use the node."""

    name: str
    role: Role
    disabled: bool
    created_ns: int
    changed_ns: int


class Token(msgspec.Struct, frozen=True):
    """An API token, but for the secret itself.

    Attributes:
        id: What it is revoked by.
        account: Whose it is; it may never do more.
        name: What it is for.
        scopes: What it is limited to.
        expires_ns: Nanoseconds since the Unix epoch; 0 for never.
        used_ns: When it was last used, to a few minutes; 0 for never.
        digest: SHA-256 of the secret.
    """

    id: str
    account: str
    name: str
    scopes: frozenset[Permission]
    created_ns: int
    expires_ns: int
    used_ns: int
    digest: str


class Session(msgspec.Struct, frozen=True):
    """A browser that is signed in; ``token`` is the id of the token it was begun with, None for a password."""

    digest: str
    account: str
    token: str | None
    address: str
    created_ns: int
    expires_ns: int
    used_ns: int


class Change(msgspec.Struct, frozen=True):
    """Something that was changed beside the node."""

    id: str
    time_ns: int
    kind: str
    facts: dict[str, Any]


class AccountStore:
    """The stored accounts. Safe for threads and for several processes.

    Args:
        state: Opened with ``MIGRATIONS``; closed with the store.
        clock: For the times of changes, and for what has expired.
    """

    def __init__(self, state: State, *, clock: Clock) -> None:
        self.state = state
        self._clock = clock

    def close(self) -> None:
        """Closes the database. May be called twice."""
        self.state.close()

    def revision(self) -> int:
        """A number that is another after each change, whoever made it."""
        row = self.state.one(_SQL["revision"])
        return int(row[0]) if row else 0

    def accounts(self) -> list[Account]:
        """All accounts, by name."""
        return [_account(row) for row in self.state.all(_SQL["accounts"])]

    def get(self, name: str) -> Account:
        """One account.

        Raises:
            NotFoundError: None has that name.
        """
        row = self.state.one(_SQL["account"], name=fold(name))
        if row is None:
            known = [account.name for account in self.accounts()]
            raise NotFoundError(f"No account is named {name!r}", hint=nearest(name, known), kind="account", name=name)
        return _account(row)

    def add(self, name: str, password: str, *, role: Role) -> Account:
        """Makes an account.

        Raises:
            InputError: The name or the password cannot be used; or it is the first, and no admin.
            ConflictError: There is one of that name, in whatever spelling.
            TooLargeError: There are ``MAX_ACCOUNTS``.
        """
        folded = check_name(name)
        check_password(password, name=folded)
        hashed = hash_password(password)
        with self.state.transaction():
            accounts = self.accounts()
            if len(accounts) >= MAX_ACCOUNTS:
                raise TooLargeError(f"A node has {MAX_ACCOUNTS} accounts at most", limit=MAX_ACCOUNTS)
            if not accounts and role is not Role.ADMIN:
                raise InputError("The first account is an admin's, who can make the others", field="role")
            if any(account.name == folded for account in accounts):
                raise ConflictError(f"There is an account {folded!r} already", name=folded)
            now_ns = self._clock.time_ns()
            self._write("add_account", name=folded, role=role.value, password=hashed, now_ns=now_ns)
        return self.get(folded)

    def set_role(self, name: str, role: Role) -> Account:
        """Changes what an account may do, and signs it out everywhere.

        Raises:
            NotFoundError: None has that name.
            ConflictError: It is the last admin.
        """
        with self.state.transaction():
            account = self.get(name)
            if role is not Role.ADMIN:
                self._leave_an_admin(account)
            self._write("set_role", name=account.name, role=role.value, now_ns=self._clock.time_ns())
            self._write("remove_sessions", account=account.name)
        return self.get(name)

    def set_password(self, name: str, password: str) -> Account:
        """Changes a password, and signs the account out everywhere.

        Raises:
            NotFoundError: None has that name.
            InputError: The password cannot be used.
        """
        account = self.get(name)
        check_password(password, name=account.name)
        hashed = hash_password(password)
        with self.state.transaction():
            self.get(account.name)
            self._write("set_password", name=account.name, password=hashed, now_ns=self._clock.time_ns())
            self._write("remove_sessions", account=account.name)
        return self.get(name)

    def set_disabled(self, name: str, *, disabled: bool) -> Account:
        """Shuts an account out, with its tokens and sessions, or lets it in again.

        Raises:
            NotFoundError: None has that name.
            ConflictError: It is the last admin.
        """
        with self.state.transaction():
            account = self.get(name)
            if disabled:
                self._leave_an_admin(account)
                self._write("remove_sessions", account=account.name)
            self._write("set_disabled", name=account.name, disabled=int(disabled), now_ns=self._clock.time_ns())
        return self.get(name)

    def remove(self, name: str, *, last: bool = False) -> None:
        """Removes an account with its tokens and sessions.

        Args:
            name: Of the account.
            last: Whether it may be the only one there is, after which the node has none.

        Raises:
            NotFoundError: None has that name.
            ConflictError: It is the last admin.
        """
        with self.state.transaction():
            account = self.get(name)
            if not (last and len(self.accounts()) == 1):
                self._leave_an_admin(account)
            self._write("remove_account", name=account.name)

    def password_hash(self, name: str) -> str:
        """The hash of a password; empty when nobody has that name."""
        row = self.state.one(_SQL["password"], name=fold(name))
        return str(row[0]) if row else ""

    def renew_password_hash(self, name: str, *, before: str, password: str) -> None:
        """Stores the same password under today's costs, unless it was changed meanwhile."""
        self.state.execute(_SQL["renew_password"], name=fold(name), before=before, password=hash_password(password))

    def tokens(self) -> list[Token]:
        """All API tokens, oldest first."""
        return [_token(row) for row in self.state.all(_SQL["tokens"])]

    def add_token(
        self, account: str, name: str, scopes: Iterable[Permission], *, valid_s: float | None = None
    ) -> tuple[Token, str]:
        """Makes an API token.

        Args:
            account: Whose it is.
            name: What it is for: 1 to ``MAX_TOKEN_NAME`` characters.
            scopes: What it may do, as far as its account may.
            valid_s: Seconds until it expires; None for never.

        Returns:
            What is stored, and the secret, which nobody can tell afterwards.

        Raises:
            NotFoundError: No account has that name.
            InputError: The name, the scopes or the time cannot be used.
            TooLargeError: There are ``MAX_TOKENS``.
        """
        label = name.strip()
        if not 1 <= len(label) <= MAX_TOKEN_NAME or not label.isprintable():
            raise InputError(f"A token's name has 1 to {MAX_TOKEN_NAME} characters", field="name")
        words = " ".join(sorted({Permission(scope).value for scope in scopes}))
        if not words:
            raise InputError("A token needs a scope", hint=f"One of {', '.join(Permission)}.", field="scopes")
        if valid_s is not None and not 0 < valid_s <= MAX_TOKEN_S:
            raise InputError("A token is valid for up to ten years", limit=MAX_TOKEN_S, field="valid_s")
        secret = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        token_id = secrets.token_hex(8)
        with self.state.transaction():
            owner = self.get(account)
            if len(self.tokens()) >= MAX_TOKENS:
                raise TooLargeError(f"A node has {MAX_TOKENS} tokens at most", hint="Revoke some.", limit=MAX_TOKENS)
            now_ns = self._clock.time_ns()
            expires_ns = 0 if valid_s is None else now_ns + int(valid_s * 1e9)
            self._write(
                "add_token",
                id=token_id,
                digest=digest_of(secret),
                account=owner.name,
                name=label,
                scopes=words,
                now_ns=now_ns,
                expires_ns=expires_ns,
            )
        return next(token for token in self.tokens() if token.id == token_id), secret

    def revoke_token(self, token_id: str) -> Token:
        """Ends a token and the sessions begun with it; returns what it was.

        Raises:
            NotFoundError: There is none with that id.
        """
        with self.state.transaction():
            token = next((token for token in self.tokens() if token.id == token_id), None)
            if token is None:
                raise NotFoundError(f"There is no token {token_id!r}", kind="token", name=token_id)
            self._write("remove_token", id=token_id)
        return token

    def sessions(self) -> list[Session]:
        """All sessions, oldest first."""
        return [Session(*row) for row in self.state.all(_SQL["sessions"])]

    def add_session(
        self, account: str, *, address: str, valid_s: float, idle_s: float, token: Token | None = None
    ) -> tuple[Session, str]:
        """Begins a session. The longest unused of an account end when it has ``MAX_SESSIONS``; expired ones go too.

        Args:
            account: Who signed in.
            address: Where from.
            valid_s: Seconds until it ends in any case.
            idle_s: Sessions that were not used for so long are removed.
            token: What it was begun with, and ends with.

        Returns:
            What is stored, and the secret for the cookie.
        """
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        with self.state.transaction():
            owner = self.get(account)
            now_ns = self._clock.time_ns()
            self._write("remove_expired", now_ns=now_ns, idle_ns=now_ns - int(idle_s * 1e9))
            held = self.state.all(_SQL["sessions_of"], account=owner.name)
            for (digest,) in held[: max(0, len(held) + 1 - MAX_SESSIONS)]:
                self._write("remove_session", digest=digest)
            expires_ns = now_ns + int(valid_s * 1e9)
            if token is not None and token.expires_ns:
                expires_ns = min(expires_ns, token.expires_ns)
            session = Session(
                digest=digest_of(secret),
                account=owner.name,
                token=token.id if token else None,
                address=address[:64],
                created_ns=now_ns,
                expires_ns=expires_ns,
                used_ns=now_ns,
            )
            self._write(
                "add_session",
                digest=session.digest,
                account=session.account,
                token=session.token,
                address=session.address,
                now_ns=now_ns,
                expires_ns=expires_ns,
            )
        return session, secret

    def end_session(self, digest: str) -> None:
        """Ends one session; it may have ended before."""
        with self.state.transaction():
            self._write("remove_session", digest=digest)

    def end_sessions(self, account: str) -> int:
        """Signs an account out everywhere; returns of how many sessions.

        Raises:
            NotFoundError: No account has that name.
        """
        with self.state.transaction():
            return self._write("remove_sessions", account=self.get(account).name)

    def note_use(self, *, tokens: Mapping[str, int], sessions: Mapping[str, int]) -> None:
        """Writes down when tokens and sessions were last used, by digest. That is no change of who may do what."""
        with self.state.transaction():
            for digest, used_ns in tokens.items():
                self.state.execute(_SQL["token_used"], digest=digest, used_ns=used_ns)
            for digest, used_ns in sessions.items():
                self.state.execute(_SQL["session_used"], digest=digest, used_ns=used_ns)

    def leave_change(self, kind: str, facts: Mapping[str, Any], *, node: str) -> None:
        """Leaves word of a change made beside the node, for its audit log. Within a transaction it is a part of that.

        Raises:
            StorageFullError: The node has not come for ``MAX_CHANGES`` of them.
        """
        with self.state.transaction():
            row = self.state.one(_SQL["count_changes"])
            if row and row[0] >= MAX_CHANGES:
                raise StorageFullError(
                    f"{MAX_CHANGES} changes wait for the audit log", hint="Start the node, which writes them into it."
                )
            values = {"id": secrets.token_hex(8), "node": node, "time_ns": self._clock.time_ns(), "kind": kind}
            self.state.execute(_SQL["add_change"], **values, facts=msgspec.json.encode(facts).decode())

    def changes(self, *, node: str) -> Sequence[Change]:
        """The changes of a node that wait for its audit log, oldest first."""
        rows = self.state.all(_SQL["changes"], node=node)
        return [Change(name, time_ns, kind, msgspec.json.decode(facts)) for name, time_ns, kind, facts in rows]

    def forget_changes(self, changes: Iterable[Change]) -> None:
        """Forgets changes that the audit log has."""
        with self.state.transaction():
            for change in changes:
                self.state.execute(_SQL["remove_change"], id=change.id)

    def _write(self, statement: str, **values: Any) -> int:
        """A statement that changes who may do what; within a transaction."""
        changed = self.state.execute(_SQL[statement], **values)
        if changed:
            self.state.execute(_SQL["count_up"])
        return changed

    def _leave_an_admin(self, account: Account) -> None:
        others = [other for other in self.accounts() if other.name != account.name]
        if account.role is Role.ADMIN and not any(one.role is Role.ADMIN and not one.disabled for one in others):
            raise ConflictError(
                f"{account.name!r} is the last admin",
                hint="Make another account an admin first: edgewise user role NAME admin",
                name=account.name,
            )


def digest_of(secret: str) -> str:
    """What is stored of a token or of a session's cookie."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _account(row: Row) -> Account:
    name, role, disabled, created_ns, changed_ns = row
    return Account(name, Role(role), bool(disabled), created_ns, changed_ns)


def _token(row: Row) -> Token:
    token_id, digest, account, name, scopes, created_ns, expires_ns, used_ns = row
    allowed = frozenset(Permission(word) for word in scopes.split())
    return Token(token_id, account, name, allowed, created_ns, expires_ns, used_ns, digest)
