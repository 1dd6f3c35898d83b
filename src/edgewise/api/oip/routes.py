"""Every path under ``/v2`` but ``infer`` itself: metadata, health, configuration, statistics, model repository."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import msgspec

from edgewise import __version__
from edgewise.api.errors import MethodError
from edgewise.api.jobs import Jobs
from edgewise.api.oip import structs
from edgewise.api.oip.infer import Inference
from edgewise.api.wire import Request, decode_json
from edgewise.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from edgewise.models.manifest import Input, Manifest, Output
    from edgewise.node.repository import Counts, LoadedModel, ModelRepository

T = TypeVar("T")
Handler: TypeAlias = Callable[[Request], Awaitable[None]]

EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"]
# What the configuration names as the largest batch of a model with an open first dimension. The real bounds are the
# body's size and memory; clients want some number.
MAX_BATCH_SIZE = 64
_MAX_CONTROL_BYTES = 64 * 1024


class OpenInference:
    """The application under ``/v2``.

    Args:
        repository: Models.
        jobs: Where blocking calls run.
        infer: The hot path.
        ready: Whether the node is ready.
    """

    def __init__(self, repository: ModelRepository, *, jobs: Jobs, infer: Inference, ready: Callable[[], bool]) -> None:
        self._repository = repository
        self._jobs = jobs
        self._infer = infer
        self._ready = ready

    async def __call__(self, request: Request) -> None:
        """Answers one request; raises what the caller turns into an error body."""
        method, handler = self._route(request.path)
        if request.method != method and (request.method, method) != ("HEAD", "GET"):
            allowed = ["GET", "HEAD"] if method == "GET" else [method]
            raise MethodError(f"{request.path} takes {method}, not {request.method}", allowed=allowed)
        await handler(request)

    def _route(self, path: str) -> tuple[str, Handler]:
        match path.split("/")[2:]:
            case [] | [""]:
                return "GET", self._server
            case ["health", "live"]:
                return "GET", self._live
            case ["health", "ready"]:
                return "GET", self._server_ready
            case ["repository", "index"]:
                return "POST", self._index
            case ["repository", "models", name, "load"]:
                return "POST", lambda request: self._load(request, name)
            case ["repository", "models", name, "unload"]:
                return "POST", lambda request: self._unload(request, name)
            case ["models", "stats"]:
                return "GET", self._all_statistics
            case ["models", name, "versions", version, *rest] if version:
                return self._model_route(path, name, version, rest)
            case ["models", name, *rest]:
                return self._model_route(path, name, "", rest)
        raise _no_such_path(path)

    def _model_route(self, path: str, name: str, version: str, rest: list[str]) -> tuple[str, Handler]:
        match rest:
            case ["infer"]:
                return "POST", lambda request: self._infer(request, name, version)
            case []:
                return "GET", lambda request: self._metadata(request, name, version)
            case ["ready"]:
                return "GET", lambda request: self._model_ready(request, name, version)
            case ["config"]:
                return "GET", lambda request: self._config(request, name, version)
            case ["stats"]:
                return "GET", lambda request: self._statistics(request, name, version)
        raise _no_such_path(path)

    async def _server(self, request: Request) -> None:
        await request.respond_json(structs.ServerMetadata("edgewise", __version__, EXTENSIONS))

    async def _live(self, request: Request) -> None:
        await request.respond_json(structs.ServerLive(live=True))

    async def _server_ready(self, request: Request) -> None:
        ready = self._ready()
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        await request.respond_json(structs.ServerReady(ready=ready), status=status)

    async def _metadata(self, request: Request, name: str, version: str) -> None:
        manifest = self._repository.state(name, version).manifest
        versions = [version] if version else self._repository.versions(name)
        await request.respond_json(
            structs.ModelMetadata(
                name=manifest.name,
                versions=versions,
                platform=_platform(manifest),
                inputs=[_tensor(tensor) for tensor in manifest.inputs],
                outputs=[_tensor(tensor) for tensor in manifest.outputs],
            )
        )

    async def _model_ready(self, request: Request, name: str, version: str) -> None:
        """Ready as in the index: it can infer now. Asking loads nothing; ``load`` does, or the first inference."""
        ready = self._repository.state(name, version).state == "READY"
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        await request.respond_json(structs.ModelReady(name, ready=ready), status=status)

    async def _config(self, request: Request, name: str, version: str) -> None:
        await request.respond_json(_configuration(self._repository.state(name, version).manifest))

    async def _statistics(self, request: Request, name: str, version: str) -> None:
        manifest = self._repository.state(name, version).manifest
        found = [
            loaded
            for loaded in self._repository.loaded()
            if loaded.model.manifest.name == name and (not version or loaded.model.manifest.version == version)
        ]
        stats = [_model_statistics(loaded) for loaded in found] or [_no_statistics(manifest)]
        await request.respond_json(structs.StatisticsResponse([*stats, *_by_number(stats)]))

    async def _all_statistics(self, request: Request) -> None:
        stats = [_model_statistics(loaded) for loaded in self._repository.loaded()]
        await request.respond_json(structs.StatisticsResponse(stats))

    async def _index(self, request: Request) -> None:
        only_ready = (await _control(request, structs.IndexRequest)).ready
        entries = [
            structs.IndexEntry(state.name, state.version, state.state, state.reason)
            for state in self._repository.index()
            if state.state == "READY" or not only_ready
        ]
        await request.respond_json(entries)

    async def _load(self, request: Request, name: str) -> None:
        parameters = (await _control(request, structs.RepositoryRequest)).parameters
        if parameters:
            raise InputError(
                "load takes no parameters here: a model is its package",
                hint="Make a package with `edgewise model new` and name its folder in edgewise.yaml.",
            )
        await self._jobs.run(self._repository.load, name)
        await request.respond(b"{}")

    async def _unload(self, request: Request, name: str) -> None:
        await _control(request, structs.RepositoryRequest)
        await self._jobs.run(self._repository.unload, name)
        await request.respond(b"{}")


def _no_such_path(path: str) -> NotFoundError:
    return NotFoundError(f"There is no {path}", hint="The paths stand in /schema/openapi.json.", kind="path", name=path)


async def _control(request: Request, kind: type[T]) -> T:
    """The body of a control request; an empty one stands for all defaults."""
    body = await request.body(max_bytes=_MAX_CONTROL_BYTES)
    return decode_json(body or b"{}", kind)


def _tensor(tensor: Input | Output) -> structs.TensorMetadata:
    return structs.TensorMetadata(tensor.name, tensor.datatype, list(tensor.shape))


def _platform(manifest: Manifest) -> str:
    variant = manifest.variants[0]
    return f"{variant.runtime}_{PurePosixPath(variant.artifact).suffix.removeprefix('.')}"


def _configuration(manifest: Manifest) -> structs.ModelConfig:
    shapes = [tensor.shape for tensor in manifest.inputs] + [tensor.shape for tensor in manifest.outputs]
    batched = all(shape[:1] == (-1,) for shape in shapes)
    return structs.ModelConfig(
        name=manifest.name,
        platform=_platform(manifest),
        backend=manifest.variants[0].runtime,
        max_batch_size=MAX_BATCH_SIZE if batched else 0,
        input=[_config_tensor(tensor, batched=batched) for tensor in manifest.inputs],
        output=[_config_tensor(tensor, batched=batched) for tensor in manifest.outputs],
        instance_group=[{"name": manifest.name, "kind": "KIND_CPU", "count": 1}],
        version_policy={"latest": {"num_versions": 1}},
        parameters={},
    )


def _config_tensor(tensor: Input | Output, *, batched: bool) -> structs.ConfigTensor:
    word = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
    return structs.ConfigTensor(tensor.name, f"TYPE_{word}", list(tensor.shape[1:] if batched else tensor.shape))


def _model_statistics(loaded: LoadedModel) -> structs.ModelStatistics:
    figures = loaded.statistics
    return structs.ModelStatistics(
        name=loaded.model.manifest.name,
        version=loaded.model.manifest.version,
        last_inference=figures.last_inference_ms,
        inference_count=figures.inference_count,
        execution_count=figures.success.count,
        inference_stats=structs.InferStatistics(
            success=_duration(figures.success),
            fail=_duration(figures.fail),
            queue=_duration(figures.queue),
            compute_input=_duration(figures.compute_input),
            compute_infer=_duration(figures.compute_infer),
            compute_output=_duration(figures.compute_output),
        ),
    )


def _by_number(stats: list[structs.ModelStatistics]) -> list[structs.ModelStatistics]:
    """The same under a whole number, where a version is none. Triton's versions are numbers: its perf_analyzer takes
    1.0.0 for 1 and looks for the figures of that.
    """
    known = {one.version for one in stats}
    added: dict[str, structs.ModelStatistics] = {}
    for one in stats:
        found = re.match(r"[0-9]+", one.version)
        if found and (number := str(int(found[0]))) not in known:
            added.setdefault(number, msgspec.structs.replace(one, version=number))
    return list(added.values())


def _duration(counts: Counts) -> structs.StatisticDuration:
    return structs.StatisticDuration(counts.count, counts.ns)


def _no_statistics(manifest: Manifest) -> structs.ModelStatistics:
    none = structs.StatisticDuration(0, 0)
    return structs.ModelStatistics(
        manifest.name, manifest.version, 0, 0, 0, structs.InferStatistics(none, none, none, none, none, none)
    )
