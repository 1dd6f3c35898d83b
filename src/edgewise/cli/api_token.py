"""``edgewise api-token``: tokens by which programs use the node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
from cyclopts import Parameter

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag
from edgewise.cli.user import changing, opened

if TYPE_CHECKING:
    from edgewise.accounts.store import Token

app = cyclopts.App(
    name="api-token",
    help="Tokens by which programs use the node. A running node sees changes within a second.",
    result_action="return_value",
)
Scope = Literal["predict", "read", "operate", "admin"]
_DAY_S = 86400.0


@app.command
def create(
    name: str,
    /,
    *,
    user: Annotated[str, Parameter(help="The account it belongs to; it may never do more.")],
    scope: Annotated[list[Scope], Parameter(help="What it may do; may be repeated.")],
    days: Annotated[float, Parameter(help="Days until it expires; 0 for never.")] = 365,
    config: ConfigFile = None,
    json: JsonFlag = False,
) -> None:
    """Make a token and print it. It is told this once: the node keeps a digest alone.

    Parameters
    ----------
    name:
        What it is for.
    """
    from edgewise.accounts.permissions import Permission

    with changing(config, "tokens.created", {"name": name}) as (store, what):
        scopes = [Permission(word) for word in scope]
        token, secret = store.add_token(user, name, scopes, valid_s=days * _DAY_S if days else None)
        what |= {"token": token.id, "account": token.account, "scopes": sorted(token.scopes)}
    if json:
        output.show_json({"token": _facts(token), "secret": secret})
        return
    output.note(
        f"Token {token.id} of {token.account} for: {', '.join(sorted(token.scopes))}. Keep it; it is told once."
    )
    output.out().print(secret, markup=False)


@app.command(name="list")
def list_(*, config: ConfigFile = None, json: JsonFlag = False) -> None:
    """List the tokens, but for their secrets."""
    with opened(config) as store:
        tokens = store.tokens()
    if json:
        output.show_json([_facts(token) for token in tokens])
        return
    if not tokens:
        output.note("There is no token yet: edgewise api-token create NAME --user USER --scope read")
        return
    output.show_table(
        ("id", "name", "account", "scopes", "expires", "last used"),
        [
            (
                token.id,
                token.name,
                token.account,
                ", ".join(sorted(token.scopes)),
                output.moment(token.expires_ns) if token.expires_ns else "never",
                output.moment(token.used_ns) if token.used_ns else "never",
            )
            for token in tokens
        ],
    )


def _facts(token: Token) -> dict[str, object]:
    return {name: getattr(token, name) for name in token.__struct_fields__ if name != "digest"}


@app.command
def revoke(token_id: str, /, *, config: ConfigFile = None) -> None:
    """Revoke a token by its id, and end the sessions begun with it."""
    with changing(config, "tokens.revoked", {"token": token_id}) as (store, what):
        token = store.revoke_token(token_id)
        what |= {"account": token.account, "name": token.name}
    output.out().print(f"{token.name} of {token.account} is revoked", markup=False)
