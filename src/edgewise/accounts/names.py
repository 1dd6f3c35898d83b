"""Names of accounts: one spelling each, whatever keyboard it was typed on."""

from __future__ import annotations

import unicodedata

from edgewise.errors import InputError

MAX_NAME = 64
# Folding may lengthen a text eighteenfold, so what is folded is bounded too.
_MAX_TYPED = 256
_MARKS = frozenset("._-@+ '")


def fold(typed: str) -> str:
    """A name as it is stored and compared: compatibility forms resolved (NFKC), without case, no space around it.

    Empty for what is no name, so that nothing else is ever looked for. Folding twice changes nothing.
    """
    if len(typed) > _MAX_TYPED:
        return ""
    folded = typed
    for _ in range(3):  # case folding may undo the composed form and the other way round; twice settles all of Unicode
        folded = unicodedata.normalize("NFKC", folded.casefold())
    folded = folded.strip()
    fits = len(folded) <= MAX_NAME and "  " not in folded
    return folded if fits and all(unicodedata.category(one)[0] in "LMN" or one in _MARKS for one in folded) else ""


def check_name(typed: str) -> str:
    """The name of a new account, folded.

    Raises:
        InputError: It is empty, too long, or holds other than letters, digits, single spaces and ``. _ - @ + '``.
    """
    name = fold(typed)
    if not name:
        raise InputError(
            f"{typed[:MAX_NAME]!r} cannot be the name of an account",
            hint=f"Use 1 to {MAX_NAME} letters, digits, single spaces and . _ - @ + '",
            limit=MAX_NAME,
            field="name",
        )
    return name
