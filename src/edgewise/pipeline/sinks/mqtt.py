"""Real devices on an MQTT broker (MQTT 5, by Eclipse Paho)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class MqttSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A broker.

    Attributes:
        host: Name or address.
        port: 1883 plain, 8883 with TLS, by custom.
        username: Empty for none.
        password_file: File whose first line is the password.
        tls: Encrypts, and checks the broker's certificate against ``ca_file`` (empty: the system's authorities).
        ca_file: PEM file of certificate authorities.
        client_id: Unique at the broker; empty for one made of the node's name.
        keep_alive_s: Longest silence before both sides think the other is gone.
    """

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    username: str = ""
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""
    client_id: Annotated[str, Meta(max_length=64)] = ""
    keep_alive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
