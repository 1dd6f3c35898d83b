"""From what runs to what is wanted, in as few steps as there are differences. Pure.

What is the same on both sides is in no step, so it is not touched. Each step stands for itself: one that fails leaves
what it would have changed as it was, the others are taken all the same, and the next plan holds it again.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

import msgspec


class Kind(enum.StrEnum):
    """What a step does."""

    LOAD = "load"
    RULES = "rules"
    STOP = "stop"
    REPLACE = "replace"
    START = "start"
    PARENT = "parent"


SECTION = {
    Kind.LOAD: "models",
    Kind.RULES: "rules",
    Kind.STOP: "pipelines",
    Kind.REPLACE: "pipelines",
    Kind.START: "pipelines",
    Kind.PARENT: "parent",
}
"""The section of the settings that a step is about."""


class Step(NamedTuple):
    """One thing to do; ``name`` is the pipeline's or the model's."""

    kind: Kind
    name: str = ""


class Shape(msgspec.Struct, frozen=True):
    """What a node does, as far as it can be changed while it runs. What is in the fields is only compared.

    Attributes:
        pipelines: Settings by name.
        rules: All of them, in order.
        models: Names of those that are loaded, or are to be.
        parent: How records go up.
    """

    pipelines: Mapping[str, object] = {}
    rules: tuple[object, ...] = ()
    models: tuple[str, ...] = ()
    parent: object = None


def plan(running: Shape, wanted: Shape) -> tuple[Step, ...]:
    """The steps from one to the other, in the order in which they are to be taken.

    Models come first, since pipelines need them. Rules come before pipelines: what a new pipeline sees first is decided
    by the rules that were written for it. What goes is stopped before what comes is started: they may want the same
    camera. A model that is wanted no more stays loaded: a pipeline or a request may be using it.
    """
    before, after = running.pipelines, wanted.pipelines
    steps = [Step(Kind.LOAD, model) for model in dict.fromkeys(wanted.models) if model not in running.models]
    if running.rules != wanted.rules:
        steps.append(Step(Kind.RULES))
    steps += [Step(Kind.STOP, name) for name in before if name not in after]
    steps += [Step(Kind.REPLACE, name) for name in after if name in before and before[name] != after[name]]
    steps += [Step(Kind.START, name) for name in after if name not in before]
    if running.parent != wanted.parent:
        steps.append(Step(Kind.PARENT))
    return tuple(steps)


def after(running: Shape, step: Step, wanted: Shape) -> Shape:
    """What runs once a step was taken."""
    replace = msgspec.structs.replace
    match step.kind:
        case Kind.LOAD:
            return replace(running, models=(*running.models, step.name))
        case Kind.RULES:
            return replace(running, rules=wanted.rules)
        case Kind.STOP:
            return replace(running, pipelines={k: v for k, v in running.pipelines.items() if k != step.name})
        case Kind.REPLACE | Kind.START:
            return replace(running, pipelines={**running.pipelines, step.name: wanted.pipelines[step.name]})
        case Kind.PARENT:
            return replace(running, parent=wanted.parent)
