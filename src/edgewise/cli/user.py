"""``edgewise user``: who may use the node. Works on the node's own files, also while it runs or has no network."""

from __future__ import annotations

import contextlib
import getpass
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from edgewise.accounts.store import AccountStore

app = cyclopts.App(
    name="user",
    help="Who may use the node. A running node sees changes within a second.",
    result_action="return_value",
)
RoleName = Literal["viewer", "operator", "admin"]
# More than this is no password; reading stops there.
_MAX_LINE = 1024


@app.command
def add(
    name: str,
    /,
    *,
    role: Annotated[RoleName, Parameter(help="What the account may do.")] = "viewer",
    config: ConfigFile = None,
) -> None:
    """Make an account. Its password is asked for, or read as one line from standard input.

    The first account must be an admin. From then on everybody signs in, also on this machine.

    Parameters
    ----------
    name:
        Whose it is.
    """
    from edgewise.accounts.permissions import Role

    password = _new_password(name)
    with changing(config, "accounts.added", {"role": role}) as (store, what):
        account = store.add(name, password, role=Role(role))
        what["account"] = account.name
    output.out().print(f"{account.name}: {account.role}", markup=False)


@app.command(name="list")
def list_(*, config: ConfigFile = None, json: JsonFlag = False) -> None:
    """List the accounts."""
    with opened(config) as store:
        accounts = store.accounts()
    if json:
        output.show_json(accounts)
        return
    if not accounts:
        output.note("There is no account yet: edgewise user add NAME --role admin")
        return
    output.show_table(
        ("name", "role", "disabled", "changed"),
        [(one.name, one.role, "yes" if one.disabled else "", output.moment(one.changed_ns)) for one in accounts],
    )


@app.command
def role(name: str, role: RoleName, /, *, config: ConfigFile = None) -> None:
    """Change what an account may do, and sign it out everywhere."""
    from edgewise.accounts.permissions import Role

    with changing(config, "accounts.changed", {"role": role}) as (store, what):
        account = store.set_role(name, Role(role))
        what["account"] = account.name
    output.out().print(f"{account.name}: {account.role}", markup=False)


@app.command
def password(name: str, /, *, config: ConfigFile = None) -> None:
    """Set a new password, asked for or read from standard input, and sign the account out everywhere."""
    with opened(config) as store:
        store.get(name)
    chosen = _new_password(name)
    with changing(config, "accounts.changed", {"password": "changed"}) as (store, what):
        what["account"] = store.set_password(name, chosen).name
    output.out().print(f"{what['account']}: the password is changed", markup=False)


@app.command
def disable(name: str, /, *, config: ConfigFile = None) -> None:
    """Shut an account out, with its tokens and sessions."""
    _set_disabled(name, config, disabled=True)


@app.command
def enable(name: str, /, *, config: ConfigFile = None) -> None:
    """Let an account in again."""
    _set_disabled(name, config, disabled=False)


@app.command(name="sign-out")
def sign_out(name: str, /, *, config: ConfigFile = None) -> None:
    """End all sessions of an account. Its tokens go on."""
    with changing(config, "accounts.signed_out", {}) as (store, what):
        what["account"] = store.get(name).name
        ended = store.end_sessions(name)
    output.out().print(f"{what['account']}: {output.counted(ended, 'session')} ended", markup=False)


@app.command
def remove(
    name: str,
    /,
    *,
    last: Annotated[
        bool,
        Parameter(negative="", help="Also the only account there is; the node then trusts this machine alone again."),
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Remove an account with its tokens and sessions. The last admin stays."""
    with changing(config, "accounts.removed", {}) as (store, what):
        what["account"] = store.get(name).name
        store.remove(name, last=last)
    output.out().print(f"{what['account']} is removed", markup=False)


@contextlib.contextmanager
def opened(config: Path | None) -> Iterator[AccountStore]:
    """The accounts of the settings, closed afterwards."""
    from edgewise.node.organs import open_account_store

    store = open_account_store(load_settings(config))
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def changing(config: Path | None, kind: str, what: dict[str, Any]) -> Iterator[tuple[AccountStore, dict[str, Any]]]:
    """A change to the accounts: it happens together with its word for the audit log, or not at all."""
    from edgewise.node.organs import leave_change, open_account_store

    settings = load_settings(config)
    store = open_account_store(settings)
    try:
        with store.state.transaction():
            yield store, what
            leave_change(store, settings, kind, what)
    finally:
        store.close()


def _set_disabled(name: str, config: Path | None, *, disabled: bool) -> None:
    with changing(config, "accounts.changed", {"disabled": disabled}) as (store, what):
        what["account"] = store.set_disabled(name, disabled=disabled).name
    output.out().print(f"{what['account']} is {'disabled' if disabled else 'enabled'}", markup=False)


def _new_password(name: str) -> str:
    """A password from the terminal, typed twice, or from standard input; never from the command line, which other
    users of the machine can read.
    """
    from edgewise.accounts.names import check_name
    from edgewise.accounts.passwords import check_password
    from edgewise.errors import InputError

    folded = check_name(name)
    if not sys.stdin.isatty():
        chosen = sys.stdin.readline(_MAX_LINE).rstrip("\r\n")
        check_password(chosen, name=folded)
        return chosen
    chosen = getpass.getpass(f"Password of {folded}: ")
    check_password(chosen, name=folded)
    if getpass.getpass("Once more: ") != chosen:
        raise InputError("The two are not the same", field="password")
    return chosen
