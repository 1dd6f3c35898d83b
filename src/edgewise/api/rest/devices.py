"""``/v1/devices``: their states, and commands for them."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromPath, HeaderParameter, JSONBody
from msgspec import Meta

from edgewise.api.rest.context import Context, Injected, blocking, client_of, note
from edgewise.pipeline.base import Action, Hold, Origin, Outcome
from edgewise.pipeline.kinds import MAX_HOLD_S

_TAGS = ["devices"]
# A command from a person is stale after this; a device that answers later must not act on it.
COMMAND_VALID_S = 10.0


class DeviceState(msgspec.Struct, frozen=True):
    """One device and what is known of it.

    Attributes:
        available: False while it does not answer.
        hold: Who holds it: what binds less than ``origin`` is overruled until then; null while nobody does.
        due: Why the node is about to bring it somewhere by itself: ``relock``, ``unconfirmed``, ``start``; else empty.
    """

    name: str
    kind: str
    available: bool
    state: dict[str, Any]
    hold: Hold | None = None
    due: str = ""


class DeviceList(msgspec.Struct, frozen=True):
    """All devices of a node."""

    devices: list[DeviceState]


class CommandRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command with its arguments.

    Attributes:
        hold_s: Seconds that rules and the parent are kept away from the device once it is done; null leaves it to the
            device's settings.
    """

    command: Annotated[str, Meta(min_length=1, max_length=64)]
    arguments: dict[str, Any] = {}
    hold_s: Annotated[float, Meta(ge=0, le=MAX_HOLD_S)] | None = None


@get("/v1/devices", tags=_TAGS)
@blocking
def list_devices(context: Injected) -> DeviceList:
    """All devices with their states."""
    return DeviceList([_state(context, name) for name in context.node.devices.names()])


@get("/v1/devices/{name:str}", tags=_TAGS)
@blocking
def read_device(name: FromPath[str], context: Injected) -> DeviceState:
    """One device with its state."""
    return _state(context, name)


@post("/v1/devices/{name:str}/commands", tags=_TAGS, status_code=200)
@blocking
def command_device(
    name: FromPath[str],
    data: JSONBody[CommandRequest],
    context: Injected,
    request: Request[Any, Any, Any],
    idempotency_key: Annotated[str, HeaderParameter(name="Idempotency-Key", max_length=128)] = "",
) -> Outcome:
    """Commands a device and answers once the device has confirmed.

    Two requests with the same ``Idempotency-Key`` act once. What came of it stands in the ``decisions``, also when it
    failed. The command holds the device against rules for a while (``hold_s``).
    """
    clock = context.node.clock
    note(request, device=name, command=data.command)
    action = Action(
        device=name,
        command=data.command,
        arguments=data.arguments,
        key=f"http/{idempotency_key or secrets.token_hex(16)}",
        expires_ns=clock.time_ns() + int(COMMAND_VALID_S * 1e9),
        cause="http",
        origin=Origin.APP,
        hold_s=data.hold_s,
        deadline_s=clock.monotonic() + COMMAND_VALID_S,
    )
    return context.node.command(action, client=client_of(request))


@delete("/v1/devices/{name:str}/hold", tags=_TAGS, status_code=200)
@blocking
def release_device(name: FromPath[str], context: Injected, request: Request[Any, Any, Any]) -> DeviceState:
    """Ends the hold of a device, so that rules act on it again; answers with the device."""
    note(request, device=name)
    context.node.release(name, cause="http", client=client_of(request))
    return _state(context, name)


def _state(context: Context, name: str) -> DeviceState:
    devices = context.node.devices
    facts = dict(devices.get(name).state)
    return DeviceState(
        name=name,
        kind=str(facts.pop("kind", "")),
        available=bool(facts.pop("available", True)),
        state=facts,
        hold=devices.hold(name),
        due=devices.due(name),
    )


HANDLERS = (list_devices, read_device, command_device, release_device)
