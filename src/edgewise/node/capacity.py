"""How many more cameras fit: measured on this machine, with this pipeline, never looked up.

A pipeline is run as often as the budget has cores, as fast as it goes where its source can (files), else at its
source's own pace. What a picture then costs in processor time, reading and decoding included, says how many a second
the budget is good for; divided by what one camera gives, how many cameras. Run side by side, since cores share caches
and memory: a picture costs more then than alone.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edgewise.errors import DecodeError, InputError, UnavailableError
from edgewise.media.images import limit_threads
from edgewise.node import organs
from edgewise.pipeline.base import Event, Gives, Reading
from edgewise.pipeline.batching import Batcher
from edgewise.pipeline.catalog import source_class
from edgewise.pipeline.runner import Phase
from edgewise.pipeline.scheduler import Scheduler
from edgewise.pipeline.sources.video import VideoSettings

if TYPE_CHECKING:
    from edgewise.node.settings import Settings
    from edgewise.pipeline.base import Tools
    from edgewise.pipeline.runner import PipelineRunner
    from edgewise.pipeline.settings import PipelineSettings

USABLE = 0.95
"""Part of the budget that is promised: what is left over takes the uneven moments."""

_WARM_UP_S = 1.0
_TIMED = 50
_POLL_S = 0.05
_PATIENCE_S = 15.0


class Cost(msgspec.Struct, frozen=True):
    """What one pipeline costs.

    Attributes:
        pipeline: Its name.
        fps: Pictures a second of its source.
        cpu_ms: Processor time of one picture, reading and decoding included.
        per_second: Pictures a second that the whole budget is good for.
        at_full_speed: Whether it was measured with all cores busy; a live source could only be watched at its pace.
    """

    pipeline: str
    fps: float
    cpu_ms: float
    per_second: float
    at_full_speed: bool

    @property
    def share(self) -> float:
        """Part of the budget that one such camera takes."""
        return self.fps / self.per_second


class Capacity(msgspec.Struct, frozen=True):
    """How full the node is.

    Attributes:
        cores: The budget.
        costs: Of each pipeline in the settings.
        used: Part of the budget that the pipelines in the settings take together.
        more: How many more of each kind of camera fit beside them, by the pipeline's name; negative when there are
            too many already.
    """

    cores: int
    costs: tuple[Cost, ...]
    used: float
    more: dict[str, int]


def assess(cores: int, costs: Sequence[Cost]) -> Capacity:
    """What the costs say. Pure."""
    used = sum(cost.share for cost in costs)
    return Capacity(
        cores, tuple(costs), used, {cost.pipeline: math.floor((USABLE - used) / cost.share) for cost in costs}
    )


def measure(
    settings: Settings, *, tools: Tools, seconds: float, told: Callable[[str], None] = lambda _: None
) -> Capacity:
    """Measures every pipeline of pictures in the settings, one kind after the other. Nothing is recorded or commanded.

    Args:
        settings: The node's; its models must be open in ``tools``.
        tools: Lends models.
        seconds: For how long each is run.
        told: Called with what is being measured.

    Raises:
        InputError: There is no pipeline of pictures.
        UnavailableError: A source gives nothing.
    """
    limit_threads(1)
    cores = organs.workers(settings)
    pictures = {
        name: pipeline
        for name, pipeline in settings.pipelines.items()
        if source_class(pipeline.source).gives is Gives.FRAME
    }
    if not pictures:
        raise InputError("The settings have no pipeline of pictures", hint="Add one under pipelines, or use --config.")
    costs = []
    for name, pipeline in pictures.items():
        told(f"{name}: {seconds:g} s on {cores} cores")
        costs.append(_cost(name, pipeline, tools=tools, cores=cores, seconds=seconds))
    return assess(cores, costs)


def _cost(name: str, pipeline: PipelineSettings, *, tools: Tools, cores: int, seconds: float) -> Cost:
    source = pipeline.source
    if not isinstance(source, VideoSettings):
        with _running(name, pipeline, tools=tools, cores=cores, copies=1) as runners:
            seen = _watch(runners, seconds)
        fps = seen.given / seen.elapsed_s
        return Cost(name, fps, seen.cpu_ms, 1000 * cores / seen.cpu_ms, at_full_speed=False)
    fast = msgspec.structs.replace(source, realtime=False, loop=True)
    with _running(
        name, msgspec.structs.replace(pipeline, source=fast), tools=tools, cores=cores, copies=cores
    ) as runners:
        seen = _watch(runners, seconds)
    return Cost(name, _fps_of(source.path), seen.cpu_ms, seen.processed / seen.elapsed_s, at_full_speed=True)


@contextlib.contextmanager
def _running(
    name: str, pipeline: PipelineSettings, *, tools: Tools, cores: int, copies: int
) -> Iterator[list[PipelineRunner]]:
    scheduler, batcher = Scheduler(cores=cores), Batcher(cores=cores)
    runners = [
        organs.make_pipeline(
            f"{name}-{number}",
            pipeline,
            lane=scheduler.lane(),
            tools=tools,
            on_event=_forget_event,
            on_readings=_forget_readings,
            store=_forget_blob,
            store_exact=_forget_blob,
            is_heard=lambda _: False,
            batcher=batcher,
        )
        for number in range(1, copies + 1)
    ]
    try:
        for runner in runners:
            runner.start()
        yield runners
    finally:
        for runner in runners:
            runner.stop()


class _Seen(NamedTuple):
    """What was seen of runners, together.

    A live source that is too fast for the node has pictures dropped: it gives more than are worked on.
    """

    given: int
    processed: int
    cpu_s: float
    elapsed_s: float

    @property
    def cpu_ms(self) -> float:
        """Processor time of one picture."""
        return 1000 * self.cpu_s / self.processed


def _watch(runners: Sequence[PipelineRunner], seconds: float) -> _Seen:
    """Lets runners run, once all are warm."""
    deadline = time.monotonic() + _PATIENCE_S
    while not all(runner.state().processed for runner in runners):
        failed = next((state for runner in runners if (state := runner.state()).phase is Phase.FAILED), None)
        if failed is not None or time.monotonic() > deadline:
            problem = failed.problem if failed else runners[0].state().problem
            raise UnavailableError(
                f"{runners[0].name.rpartition('-')[0]}: no picture comes: {problem or 'its source is silent'}",
                hint="Check its source with `edgewise config check`, and that the camera is on.",
            )
        time.sleep(_POLL_S)
    time.sleep(_WARM_UP_S)
    before, cpu, start = _counted(runners), time.process_time(), time.perf_counter()
    time.sleep(seconds)
    after = _counted(runners)
    seen = _Seen(after[0] - before[0], after[1] - before[1], time.process_time() - cpu, time.perf_counter() - start)
    if min(seen.given, seen.processed) <= 0:
        raise UnavailableError("No picture came while it was measured", hint="Measure for longer: --seconds 30")
    return seen


def _counted(runners: Sequence[PipelineRunner]) -> tuple[int, int]:
    states = [runner.state() for runner in runners]
    return sum(state.frames for state in states), sum(state.processed for state in states)


def _fps_of(path: str) -> float:
    """Pictures a second of a video file, by the times of its first ones."""
    from edgewise.media import video

    times = [time_s for time_s, _ in itertools.islice(video.pictures(path), _TIMED)]
    if len(times) < 2 or times[-1] <= 0:
        raise DecodeError(f"{path} does not say how many pictures a second it has", file=path)
    return (len(times) - 1) / times[-1]


def _forget_event(_: Event) -> None:
    """Events of a measurement are nobody's."""


def _forget_readings(_: Sequence[Reading]) -> None:
    """Nor are readings."""


def _forget_blob(_: bytes) -> str:
    return "0" * 64
