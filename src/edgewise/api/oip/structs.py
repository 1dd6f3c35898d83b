"""The bodies of the Open Inference Protocol v2, in its own words.

Fields the protocol does not name are let through: the protocol is made to be extended, and clients send extras.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edgewise.types import Datatype

Parameters = dict[str, Any]
Dimension = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class RequestInput(msgspec.Struct, frozen=True):
    """One input tensor. ``data`` is absent when ``parameters.binary_data_size`` points into the binary part."""

    name: str
    shape: Annotated[list[Dimension], Meta(max_length=16)]
    datatype: Datatype
    parameters: Parameters = {}
    data: Any = UNSET


class RequestOutput(msgspec.Struct, frozen=True):
    """One output that is wanted; ``parameters`` may hold ``binary_data`` and ``classification``."""

    name: str
    parameters: Parameters = {}


class InferRequest(msgspec.Struct, frozen=True):
    """The body (or its JSON part) of ``infer``."""

    inputs: Annotated[list[RequestInput], Meta(max_length=64)]
    id: str = ""
    parameters: Parameters = {}
    outputs: Annotated[list[RequestOutput], Meta(max_length=64)] | None = None


class ResponseOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    """One output tensor; ``data`` is absent when it stands in the binary part."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Parameters = {}
    data: list[Any] | UnsetType = UNSET


class InferResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of ``infer`` (or its JSON part)."""

    model_name: str
    model_version: str
    outputs: list[ResponseOutput]
    id: str = ""


class ServerMetadata(msgspec.Struct, frozen=True):
    """``GET /v2``."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(msgspec.Struct, frozen=True):
    """Name, datatype and shape of a tensor; -1 is any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct, frozen=True):
    """``GET /v2/models/{model}``."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerLive(msgspec.Struct, frozen=True):
    """``GET /v2/health/live``."""

    live: bool


class ServerReady(msgspec.Struct, frozen=True):
    """``GET /v2/health/ready``."""

    ready: bool


class ModelReady(msgspec.Struct, frozen=True):
    """``GET /v2/models/{model}/ready``."""

    name: str
    ready: bool


class IndexEntry(msgspec.Struct, frozen=True):
    """One model of the repository; ``state`` is one of READY, LOADING, UNLOADING, UNAVAILABLE."""

    name: str
    version: str
    state: str
    reason: str


class IndexRequest(msgspec.Struct, frozen=True):
    """``POST /v2/repository/index``."""

    ready: bool = False


class RepositoryRequest(msgspec.Struct, frozen=True):
    """``POST /v2/repository/models/{model}/load`` and ``unload``."""

    parameters: Parameters = {}


class ConfigTensor(msgspec.Struct, frozen=True):
    """An input or output in Triton's model configuration."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfig(msgspec.Struct, frozen=True):
    """Triton's model configuration, as far as it means something here."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[ConfigTensor]
    output: list[ConfigTensor]
    instance_group: list[dict[str, Any]]
    version_policy: dict[str, Any]
    parameters: dict[str, Any]


class StatisticDuration(msgspec.Struct, frozen=True):
    """How often, and for how long in all."""

    count: int
    ns: int


class InferStatistics(msgspec.Struct, frozen=True):
    """Where the time of a model's requests went."""

    success: StatisticDuration
    fail: StatisticDuration
    queue: StatisticDuration
    compute_input: StatisticDuration
    compute_infer: StatisticDuration
    compute_output: StatisticDuration
    cache_hit: StatisticDuration = StatisticDuration(0, 0)
    cache_miss: StatisticDuration = StatisticDuration(0, 0)


class ModelStatistics(msgspec.Struct, frozen=True):
    """Statistics of one model; ``last_inference`` in milliseconds since the epoch."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferStatistics
    batch_stats: list[dict[str, Any]] = []


class StatisticsResponse(msgspec.Struct, frozen=True):
    """``GET /v2/models[/{model}]/stats``."""

    model_stats: list[ModelStatistics]
