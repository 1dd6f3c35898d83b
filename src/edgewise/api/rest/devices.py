"""``/v1/devices``: their states, and commands for them."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, HeaderParameter, JSONBody
from msgspec import Meta

from edgewise.api.rest.context import Injected, blocking
from edgewise.pipeline.base import Action, Outcome
from edgewise.types import Entry

_TAGS = ["devices"]
# A command from a person is stale after this; a device that answers later must not act on it.
COMMAND_VALID_S = 10.0


class DeviceState(msgspec.Struct, frozen=True):
    """One device and what is known of it; ``available`` is false while it does not answer."""

    name: str
    kind: str
    available: bool
    state: dict[str, Any]


class DeviceList(msgspec.Struct, frozen=True):
    """All devices of a node."""

    devices: list[DeviceState]


class CommandRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command with its arguments."""

    command: Annotated[str, Meta(min_length=1, max_length=64)]
    arguments: dict[str, Any] = {}


@get("/v1/devices", tags=_TAGS)
@blocking
def list_devices(context: Injected) -> DeviceList:
    """All devices with their states."""
    return DeviceList([_state(name, state) for name, state in context.node.devices.states().items()])


@get("/v1/devices/{name:str}", tags=_TAGS)
@blocking
def read_device(name: FromPath[str], context: Injected) -> DeviceState:
    """One device with its state."""
    return _state(name, context.node.devices.get(name).state)


@post("/v1/devices/{name:str}/commands", tags=_TAGS, status_code=200)
@blocking
def command_device(
    name: FromPath[str],
    data: JSONBody[CommandRequest],
    context: Injected,
    idempotency_key: Annotated[str, HeaderParameter(name="Idempotency-Key", max_length=128)] = "",
) -> Outcome:
    """Commands a device and answers once the device has confirmed.

    Two requests with the same ``Idempotency-Key`` act once.
    """
    node = context.node
    action = Action(
        device=name,
        command=data.command,
        arguments=data.arguments,
        key=f"http/{idempotency_key or secrets.token_hex(16)}",
        expires_ns=node.clock.time_ns() + int(COMMAND_VALID_S * 1e9),
        cause="http",
    )
    outcome = node.devices.perform(action)
    body = {**msgspec.to_builtins(action), "status": outcome.status, "state": outcome.state}
    node.journal.append("decisions", [Entry("device.command", body)])
    return outcome


def _state(name: str, state: dict[str, Any]) -> DeviceState:
    facts = dict(state)
    return DeviceState(
        name=name, kind=str(facts.pop("kind", "")), available=bool(facts.pop("available", True)), state=facts
    )


HANDLERS = (list_devices, read_device, command_device)
