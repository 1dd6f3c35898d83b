"""Who is calling: the stored accounts, kept in memory so that no request waits for a database.

A change made through this directory counts from the next request on. One made by another process (a command beside the
node, another node on the same database) counts once ``refresh`` was called, which the node does every second. When the
database cannot be asked for ``MAX_STALE_S``, nobody is known any more: what was revoked meanwhile must not go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.accounts.limiter import SignInLimiter
from edgewise.accounts.names import fold
from edgewise.accounts.passwords import is_outdated, verify_password
from edgewise.accounts.permissions import Principal, Via
from edgewise.accounts.store import PREFIX, Account, AccountStore, Session, Token, digest_of
from edgewise.errors import AccessError, StorageFullError, UnavailableError

T = TypeVar("T")
logger = logging.getLogger(__name__)

MAX_STALE_S = 60.0
# When something was last used is written down this coarsely.
_USE_NS = 5 * 60 * 10**9
# Even without a change all is read again so often: another node's clients keep their sessions in use there.
_REREAD_S = 60.0
_MAX_SECRET = 256


class AccountSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long somebody stays signed in at the console.

    Attributes:
        session_max_s: A session ends so long after signing in, whatever it is used for.
        session_idle_s: A session that is not used for so long ends.
    """

    session_max_s: Annotated[float, Meta(ge=60, le=366 * 86400)] = 7 * 86400.0
    session_idle_s: Annotated[float, Meta(ge=60, le=366 * 86400)] = 12 * 3600.0


class _Copy(msgspec.Struct, frozen=True):
    """The stored accounts as they were at one revision; tokens and sessions by digest."""

    revision: int
    accounts: dict[str, Account]
    tokens: dict[str, Token]
    by_id: dict[str, Token]
    sessions: dict[str, Session]


class Directory:
    """Knows callers, signs them in and out. Safe for threads.

    Args:
        store: Where they are.
        limiter: How often somebody may try to sign in.
        clock: Time.
        settings: How long sessions last.

    Attributes:
        epoch: Another number after each change: what was found out under an earlier one is to be asked again.
        store: For reading; changes go through ``change``, so that they count at once.
    """

    def __init__(
        self, store: AccountStore, *, limiter: SignInLimiter, clock: Clock, settings: AccountSettings | None = None
    ) -> None:
        self.store = store
        self.epoch = 0
        self._settings = settings or AccountSettings()
        self._limiter = limiter
        self._clock = clock
        self._lock = threading.Lock()
        self._used: dict[str, int] = {}
        self._asked_s = self._read_s = clock.monotonic()
        self._copy = self._read()

    @property
    def in_use(self) -> bool:
        """Whether there is any account."""
        return bool(self._copy.accounts)

    def by_token(self, shown: str) -> Principal | None:
        """Whose API token it is; None when it is nobody's, or has expired.

        Raises:
            UnavailableError: The database was not reached for too long.
        """
        if not shown.startswith(PREFIX) or len(shown) > _MAX_SECRET:
            return None
        token = self._current().tokens.get(digest_of(shown))
        return None if token is None else self._principal(token.account, token=token, digest=token.digest)

    def by_session(self, shown: str) -> Principal | None:
        """Whose session it is; None when it is nobody's, or has ended.

        Raises:
            UnavailableError: The database was not reached for too long.
        """
        if not shown or len(shown) > _MAX_SECRET:
            return None
        copy = self._current()
        session = copy.sessions.get(digest_of(shown))
        if session is None:
            return None
        idle_ns = self._clock.time_ns() - max(session.used_ns, self._used.get(session.digest, 0))
        if idle_ns >= int(self._settings.session_idle_s * 1e9):
            return None
        token = copy.by_id.get(session.token) if session.token else None
        if session.token and token is None:
            return None
        return self._principal(session.account, token=token, digest=session.digest, session=session)

    def sign_in(self, name: str, password: str, *, address: str) -> tuple[Principal, str]:
        """Signs somebody in with a password; also returns the secret for the cookie.

        Raises:
            ThrottledError: It was tried too often.
            AccessError: There is no such account, it is disabled, or the password is wrong: one answer for all, after
                about the same work.
        """
        folded = fold(name)
        self._limiter.attempt(folded, address, now_s=self._clock.monotonic())
        stored = self.store.password_hash(folded)
        right = verify_password(stored, password)
        if right:
            self.refresh()
        account = self._copy.accounts.get(folded)
        if not right or account is None or account.disabled:
            raise AccessError("Name or password is wrong", hint="An admin can set another: edgewise user password NAME")
        if is_outdated(stored):
            self.store.renew_password_hash(folded, before=stored, password=password)
        self._limiter.succeeded(folded, address)
        return self._begin(account.name, address)

    def sign_in_with_token(self, shown: str, *, address: str) -> tuple[Principal, str]:
        """Begins a session with an API token; it may do what the token may, and ends with it.

        Raises:
            ThrottledError: It was tried too often.
            AccessError: It is nobody's token.
        """
        self._limiter.attempt("", address, now_s=self._clock.monotonic())
        principal = self.by_token(shown)
        if principal is None or not principal.permissions(now_ns=self._clock.time_ns()):
            raise AccessError("That token is not known here", hint="Make one: edgewise api-token create")
        self._limiter.succeeded("", address)
        return self._begin(principal.name, address, token=self._copy.tokens[principal.credential])

    def attempt(self, *, address: str) -> Callable[[], None]:
        """Counts a try with a secret that the directory does not know; call what it returns when it was the right one.

        Raises:
            ThrottledError: It was tried too often.
        """
        self._limiter.attempt("", address, now_s=self._clock.monotonic())
        return lambda: self._limiter.succeeded("", address)

    def confirm(self, name: str, password: str, *, address: str) -> None:
        """Checks the password of somebody who is signed in, before it is changed.

        Raises:
            ThrottledError: It was tried too often.
            AccessError: It is wrong.
        """
        self._limiter.attempt(fold(name), address, now_s=self._clock.monotonic())
        if not verify_password(self.store.password_hash(name), password):
            raise AccessError("That is not the password", field="current")
        self._limiter.succeeded(fold(name), address)

    def change(self, act: Callable[[AccountStore], T]) -> T:
        """Makes a change that counts from now on."""
        try:
            return act(self.store)
        finally:
            self.refresh(anew=True)

    def refresh(self, *, anew: bool = False) -> None:
        """Takes in what others changed, and writes down what was used.

        Raises:
            RetryError: The database does not answer.
        """
        with self._lock:
            now_s = self._clock.monotonic()
            try:
                stale = anew or now_s - self._read_s >= _REREAD_S or self.store.revision() != self._copy.revision
                self._write_use()
                if stale:
                    self._take(self._read(), anew=True)
                    self._read_s = now_s
            except BaseException:
                if anew:  # what was changed is not known, so nobody is
                    self._asked_s = float("-inf")
                    self.epoch += 1
                raise
            self._asked_s = now_s

    def _begin(self, account: str, address: str, *, token: Token | None = None) -> tuple[Principal, str]:
        session, secret = self.change(
            lambda store: store.add_session(
                account,
                address=address,
                valid_s=self._settings.session_max_s,
                idle_s=self._settings.session_idle_s,
                token=token,
            )
        )
        principal = self._principal(session.account, token=token, digest=session.digest, session=session)
        if principal is None:
            raise AccessError("The account was removed")
        return principal, secret

    def _principal(
        self, account: str, *, token: Token | None, digest: str, session: Session | None = None
    ) -> Principal | None:
        found = self._copy.accounts.get(account)
        now_ns = self._clock.time_ns()
        ends = [one.expires_ns for one in (token, session) if one is not None and one.expires_ns]
        if found is None or found.disabled or (ends and min(ends) <= now_ns):
            return None
        self._used[digest] = now_ns
        if token is not None:
            self._used[token.digest] = now_ns
        return Principal(
            found.name,
            found.role,
            Via.API_TOKEN if session is None else Via.SESSION,
            scopes=None if token is None else token.scopes,
            expires_ns=min(ends, default=0),
            credential=digest,
        )

    def _current(self) -> _Copy:
        if self._clock.monotonic() - self._asked_s > MAX_STALE_S:
            raise UnavailableError(
                "The accounts' database has not answered for a while", hint="See whether it runs, and the node's log."
            )
        return self._copy

    def _read(self) -> _Copy:
        store = self.store
        with store.state.transaction():
            tokens, sessions = store.tokens(), store.sessions()
            return _Copy(
                revision=store.revision(),
                accounts={account.name: account for account in store.accounts()},
                tokens={token.digest: token for token in tokens},
                by_id={token.id: token for token in tokens},
                sessions={session.digest: session for session in sessions},
            )

    def _take(self, copy: _Copy, *, anew: bool = False) -> None:
        """Goes by another copy; whoever remembers what the one before said has to ask again if that may differ."""
        differs = anew or copy.revision != self._copy.revision
        self._copy = copy
        if differs:
            self.epoch += 1

    def _write_use(self) -> None:
        """Writes down what was used, as coarsely as it is kept; what is not stored any more is forgotten."""
        noted, self._used = self._used, {}
        used = dict(noted)  # a request that began before may still write into what was taken
        copy = self._copy
        tokens = {
            one: at for one, at in used.items() if one in copy.tokens and at - copy.tokens[one].used_ns >= _USE_NS
        }
        sessions = {
            one: at for one, at in used.items() if one in copy.sessions and at - copy.sessions[one].used_ns >= _USE_NS
        }
        if tokens or sessions:
            try:
                self.store.note_use(tokens=tokens, sessions=sessions)
            except StorageFullError as error:  # nobody is shut out for that; it stays in memory
                logger.debug("when sessions and tokens were used is not written down: %s", error)
            else:
                self._take(self._read())
        kept = {one: at for one, at in used.items() if one in copy.tokens or one in copy.sessions}
        self._used = {**kept, **self._used}
