"""What Home Assistant was told that there is, kept so that all of it can be taken out again.

It is on the disk before it is told, and stays there until the broker has acknowledged that it was taken out: whatever
breaks off in between, and whatever the settings say afterwards, nothing is left at the broker that nobody knows of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from edgewise._lib.files import write_atomic
from edgewise.node.discovery import Entity

logger = logging.getLogger(__name__)


class Carrier(Protocol):
    """The connection to the broker."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 0) -> bool:
        """Says something."""
        ...

    def deliver(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Says something, and tells whether the broker has taken it."""
        ...


class Announcements:
    """Tells of entities, each once until it is another. One thread at a time.

    Args:
        broker: The connection.
        memory: File in which is kept what was told; other processes wrote it before.
    """

    def __init__(self, broker: Carrier, memory: Path) -> None:
        self._broker = broker
        self._memory = memory
        self._told = _load(memory)
        self._sent: dict[str, bytes] = {}

    def tell(self, entities: Iterable[Entity], *, lasts: Callable[[Collection[str]], bool], again: bool) -> bool:
        """Tells of entities, and takes out all others that were told before.

        Args:
            entities: All that there are.
            lasts: Whether one that is not among them stays; given the topics of its states.
            again: Tells also of those that are the same as before.

        Returns:
            Whether the broker has taken out what it was to; else it is to be called again.
        """
        if again:
            self._sent.clear()
        here = {entity.topic: entity for entity in entities}
        stay = {topic: states for topic, states in self._told.items() if topic not in here and lasts(states)}
        gone = [topic for topic in self._told if topic not in here and topic not in stay]
        self._remember({**self._told, **{topic: entity.states for topic, entity in here.items()}})
        for entity in here.values():
            self._send(entity)
        return self._take_out(gone)

    def add(self, entity: Entity) -> None:
        """Tells of one more, or of one that is another now; takes out what had its states before, as another kind."""
        others = [topic for topic, states in self._told.items() if states == entity.states and topic != entity.topic]
        self._remember({**self._told, entity.topic: entity.states})
        self._send(entity)
        self._take_out(others)

    def _send(self, entity: Entity) -> None:
        payload = msgspec.json.encode(entity.payload)
        if self._sent.get(entity.topic) != payload and self._broker.publish(entity.topic, payload, retain=True, qos=1):
            self._sent[entity.topic] = payload

    def _take_out(self, topics: Collection[str]) -> bool:
        """Takes entities out until the broker does not take it; what it took is forgotten."""
        used = {state for topic, states in self._told.items() if topic not in topics for state in states}
        taken = []
        for topic in topics:
            states = [state for state in self._told[topic] if state not in used]
            if not all(self._broker.deliver(each, b"", retain=True) for each in (topic, *states)):
                break
            self._sent.pop(topic, None)
            taken.append(topic)
        self._remember({topic: states for topic, states in self._told.items() if topic not in taken})
        return len(taken) == len(topics)

    def _remember(self, told: Mapping[str, list[str]]) -> None:
        if told == self._told:
            return
        if told:
            write_atomic(self._memory, msgspec.json.encode(told))
        else:
            self._memory.unlink(missing_ok=True)
        self._told = dict(told)


def _load(memory: Path) -> dict[str, list[str]]:
    """What was told before: topics of discovery, each with those of its states. A damaged file is as none."""
    try:
        return msgspec.json.decode(memory.read_bytes(), type=dict[str, list[str]])
    except FileNotFoundError:
        return {}
    except msgspec.MsgspecError as error:
        logger.warning("%s cannot be read: what Home Assistant was told before stays there: %s", memory, error)
        return {}
