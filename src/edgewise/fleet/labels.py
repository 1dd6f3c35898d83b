"""What is said about nodes in words: ``site=hall``. Pure.

Each node keeps what was said at it about the nodes below it, and passes that up with their reports. So a node further
down has two: what its way up says, and what was said here. Here counts, key by key; also that a key is not there.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from edgewise.errors import InputError
from edgewise.trust.joining import MAX_LABELS, Label


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels themselves.

    Raises:
        InputError: A node cannot have these.
    """
    if len(labels) > MAX_LABELS:
        raise InputError(f"A node has at most {MAX_LABELS} labels", limit=MAX_LABELS)
    for label in labels.items():
        try:
            msgspec.convert(label, tuple[Label, Label])
        except msgspec.ValidationError as error:
            raise InputError(
                f"{label[0][:64]}={label[1][:64]} cannot be a label",
                hint="Keys and values are up to 63 lower-case letters and digits, with - _ . between.",
            ) from error
    return dict(labels)


def fitting(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels as a child tells them, if a node can have them; else none."""
    try:
        return check_labels(labels)
    except InputError:
        return {}


def overlay(below: Mapping[str, str], here: Mapping[str, str | None]) -> dict[str, str]:
    """All labels of a node; where both together are more than a node can have, those of below give way.

    Args:
        below: What its way up says.
        here: What was said here; None for what is not to be there.
    """
    said = {key: value for key, value in here.items() if value is not None}
    rest = sorted((key, value) for key, value in below.items() if key not in here)
    return said | dict(rest[: max(0, MAX_LABELS - len(said))])


def change(
    here: Mapping[str, str | None], changes: Mapping[str, str | None], *, below: Mapping[str, str]
) -> dict[str, str | None]:
    """What is said here afterwards. That a key is not there is noted only while somebody below says that it is.

    Args:
        here: What was said here before.
        changes: Values by key; None for what is not to be there.
        below: What its way up says.

    Raises:
        InputError: A node cannot have these labels.
    """
    after = {**here, **changes}
    check_labels({key: value for key, value in after.items() if value is not None})
    return {key: value for key, value in after.items() if value is not None or key in below}
