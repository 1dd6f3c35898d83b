"""``/v1/models``: what can be run here. Predicting itself is a hot path of its own (``edgewise.api.predict``)."""

from __future__ import annotations

import msgspec
from litestar import get
from litestar.params import FromPath

from edgewise import zoo
from edgewise.api.metrics import Latency
from edgewise.api.rest.context import Context, Injected, blocking
from edgewise.models.manifest import Manifest
from edgewise.node.repository import LoadedModel, ModelState

_TAGS = ["models"]


class ModelSummary(msgspec.Struct, frozen=True):
    """One model in the list.

    Attributes:
        state: ``ready`` when it is loaded, else ``unavailable`` with the ``reason``.
        task: What it does: a kind from the task catalogue.
        input: What it takes: ``image``, ``audio``, ``series`` or ``tensor``.
        shipped: Whether it came with Edgewise.
    """

    name: str
    version: str
    state: str
    reason: str
    task: str
    input: str
    summary: str
    licence: str
    shipped: bool


class ModelList(msgspec.Struct, frozen=True):
    """All models of a node."""

    models: list[ModelSummary]


class UseStatistics(msgspec.Struct, frozen=True):
    """How a model has been doing; latencies in milliseconds over the last requests."""

    count: int
    failures: int
    latency_ms: dict[str, float]


class ModelDetail(msgspec.Struct, frozen=True):
    """One model: its state, its whole manifest, and its use when it is loaded.

    Attributes:
        provider: The hardware it runs on.
        fallback: Why not on that which was asked for, or on better; empty when there is nothing to say.
    """

    name: str
    version: str
    state: str
    reason: str
    manifest: Manifest
    variant: str
    provider: str
    fallback: str
    statistics: UseStatistics | None


@get("/v1/models", tags=_TAGS)
@blocking
def list_models(context: Injected) -> ModelList:
    """All models of this node, loaded or not."""
    shipped = {entry.name for entry in zoo.names() if entry.shipped}
    return ModelList([_summary(state, shipped=state.name in shipped) for state in context.node.repository.index()])


@get("/v1/models/{name:str}", tags=_TAGS)
@blocking
def read_model(name: FromPath[str], context: Injected) -> ModelDetail:
    """One model: manifest, state and use."""
    state = context.node.repository.state(name)
    loaded = _loaded(context, state)
    return ModelDetail(
        name=state.name,
        version=state.version,
        state=state.state.lower(),
        reason=state.reason,
        manifest=state.manifest,
        variant=loaded.model.variant.name if loaded else "",
        provider=loaded.model.session.provider if loaded else "",
        fallback=loaded.model.session.fallback if loaded else "",
        statistics=_statistics(context, loaded) if loaded else None,
    )


def _summary(state: ModelState, *, shipped: bool) -> ModelSummary:
    manifest = state.manifest
    return ModelSummary(
        name=state.name,
        version=state.version,
        state=state.state.lower(),
        reason=state.reason,
        task=str(manifest.task.get("kind", "")),
        input=manifest.inputs[0].kind,
        summary=manifest.summary,
        licence=manifest.licence,
        shipped=shipped,
    )


def _loaded(context: Context, state: ModelState) -> LoadedModel | None:
    for loaded in context.node.repository.loaded():
        manifest = loaded.model.manifest
        if (manifest.name, manifest.version) == (state.name, state.version):
            return loaded
    return None


def _statistics(context: Context, loaded: LoadedModel) -> UseStatistics:
    latency = context.metrics.inference.by_model.get(loaded.model.manifest.name, Latency())
    figures = loaded.statistics
    return UseStatistics(figures.success.count, figures.fail.count, latency.percentiles_ms())


HANDLERS = (list_models, read_model)
