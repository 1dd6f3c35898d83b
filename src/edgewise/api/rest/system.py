"""``/v1/health`` and ``/v1/system``: how the node is doing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import msgspec
from litestar import Request, get

from edgewise import __version__
from edgewise.accounts.permissions import Permission, may
from edgewise.api.metrics import WINDOW_S
from edgewise.api.rest.context import Context, Injected, blocking, caller
from edgewise.node.repository import LOADING, NOT_YET, UNLOADED
from edgewise.pipeline.runner import Phase

_TAGS = ["system"]
# With less the journal, whose segments are of some MB, soon takes no more events.
_LOW_DISK_BYTES = 200_000_000


class Problem(msgspec.Struct, frozen=True):
    """Something that is not as it should be, and what to do about it."""

    component: str
    message: str
    hint: str


class Health(msgspec.Struct, frozen=True):
    """``ok``, or ``degraded`` with the problems. The answer is 200 either way: a node that can say what is wrong with a
    camera is not one to restart. Without the token that a node asks for, ``problems`` stays empty.
    """

    status: str
    version: str
    problems: list[Problem]


class Processor(msgspec.Struct, frozen=True):
    """Processor use: this process in percent of one core, of ``cores``."""

    percent: float
    cores: int


class Memory(msgspec.Struct, frozen=True):
    """Resident memory of this process, and what the machine has."""

    rss_bytes: int | None
    total_bytes: int


class PoolUse(msgspec.Struct, frozen=True):
    """The workers that compute, and the calls that wait for one."""

    workers: int
    queued: int
    capacity: int


class Series(msgspec.Struct, frozen=True):
    """The last hour: one value per entry of ``time_s`` (seconds since the epoch); null where there is none.

    ``latency_ms`` has the mean latency of each model's requests since the time before.
    """

    time_s: list[float]
    cpu_percent: list[float]
    rss_bytes: list[int | None]
    temperature_c: list[float | None]
    latency_ms: dict[str, list[float | None]]


class System(msgspec.Struct, frozen=True):
    """The node and its machine."""

    node: str
    version: str
    uptime_s: float
    cpu: Processor
    memory: Memory
    pool: PoolUse
    series: Series


@get("/v1/health", tags=_TAGS)
@blocking
def read_health(request: Request, context: Injected) -> Health:  # type: ignore[type-arg]
    """Whether the node is well: its cameras, devices, models and disk.

    Works without signing in, but then tells only the status.
    """
    problems = list(_problems(context))
    told = problems if may(caller(request), Permission.READ, now_ns=context.node.clock.time_ns()) else []
    return Health("degraded" if problems else "ok", __version__, told)


@get("/v1/system", tags=_TAGS)
@blocking
def read_system(context: Injected) -> System:
    """Processor, memory, workers and latencies, now and over the last hour."""
    node = context.node
    series = _series(context)
    return System(
        node=node.settings.node.name,
        version=__version__,
        uptime_s=(node.clock.time_ns() - node.started_ns) / 1e9,
        cpu=Processor(series.cpu_percent[-1], os.cpu_count() or 1),
        memory=Memory(series.rss_bytes[-1], os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        pool=PoolUse(context.jobs.pool.workers, context.jobs.pool.waiting, context.jobs.pool.max_waiting),
        series=series,
    )


def _series(context: Context) -> Series:
    samples = context.node.resources.samples() or [context.node.resources.sample()]
    times = [sample.time_ns for sample in samples]
    return Series(
        time_s=[time_ns / 1e9 for time_ns in times],
        cpu_percent=[round(100 * sample.cpu, 1) for sample in samples],
        rss_bytes=[sample.rss_bytes for sample in samples],
        temperature_c=[sample.temperature_c for sample in samples],
        latency_ms={name: list(_latencies(context, name, times)) for name in list(context.metrics.inference.by_model)},
    )


def _latencies(context: Context, name: str, times_ns: list[int]) -> Iterator[float | None]:
    """The mean latency of the window that holds each time."""
    width_ns = WINDOW_S * 1_000_000_000
    windows = {window.time_ns: window for window in list(context.metrics.inference.by_model[name].windows)}
    for time_ns in times_ns:
        window = windows.get(time_ns - time_ns % width_ns)
        yield round(window.sum_ns / window.count / 1e6, 3) if window else None


def _problems(context: Context) -> Iterator[Problem]:
    node = context.node
    for name, runner in node.pipelines.items():
        now = runner.state()
        if now.phase in {Phase.RETRYING, Phase.FAILED}:
            yield Problem(name, now.problem, "See `edgewise doctor` for cameras and models.")
    for name, recorder in node.clips.recorders.items():
        if problem := recorder.state().problem:
            yield Problem(name, f"The last clip could not be recorded: {problem}", "See record in docs/recording.md.")
    for name, state in node.devices.states().items():
        if not state.get("available", True):
            problem = state.get("problem") or "The device does not answer."
            yield Problem(name, problem, "Check its power, its topic and the broker.")
    for model in node.repository.index():
        if model.state != "READY" and model.reason not in {NOT_YET, LOADING, UNLOADED}:
            yield Problem(model.name, model.reason, f"Look at its package: edgewise model check {model.name}")
    free = shutil.disk_usage(node.settings.node.data).free
    if free < _LOW_DISK_BYTES:
        yield Problem(
            "disk", f"{free / 1e6:.0f} MB are free", "Make room, or lower the bounds of journal and snapshots."
        )


HANDLERS = (read_health, read_system)
