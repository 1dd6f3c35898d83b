"""The runner: nothing piles up, nothing stops the stream, everything is counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from edgewise._lib.clock import ManualClock, SystemClock
from edgewise.errors import DecodeError, StorageFullError, UnavailableError
from edgewise.pipeline.backoff import LONGEST_S, Backoff
from edgewise.pipeline.base import Event, Observation, WhenFull
from edgewise.pipeline.queue import BoundedQueue
from edgewise.pipeline.runner import Phase, PipelineRunner
from edgewise.pipeline.scheduler import Scheduler
from edgewise.testing.pipeline import PATIENCE_S, FunctionTransform, ScriptedSource, picture

CLOCK = SystemClock()
GONE = UnavailableError("the camera is gone", hint="plug it in")


class NoWait(Backoff):
    def next(self) -> float:
        return 0.0


@pytest.fixture
def run() -> Iterator[Callable[..., PipelineRunner]]:
    """Makes and starts runners, and stops them afterwards."""
    runners: list[PipelineRunner] = []

    def start(script: list[Any], *transforms: Callable[[Observation], Observation], **options: Any) -> PipelineRunner:
        clock = options.pop("clock", CLOCK)
        source = ScriptedSource(script, clock=clock, live=options.pop("live", False), hold=options.pop("hold", False))
        runner = PipelineRunner(
            "porch",
            source,
            [FunctionTransform(transform) for transform in transforms],
            options.pop("on_event", lambda event: None),
            lane=Scheduler(cores=1).lane(),
            clock=clock,
            backoff=NoWait(),
            **options,
        )
        runners.append(runner)
        runner.start()
        return runner

    yield start
    for runner in runners:
        runner.stop()


def announce(observation: Observation) -> Observation:
    event = Event("test.frame", observation.frame.source, observation.frame.time_ns, {"n": observation.frame.number})
    return msgspec.structs.replace(observation, events=(event,))


def test_every_frame_of_a_stored_source_goes_through_all_transforms_in_order(run: Callable[..., Any]) -> None:
    seen: list[tuple[str, int]] = []

    def mark(word: str) -> Callable[[Observation], Observation]:
        def transform(observation: Observation) -> Observation:
            seen.append((word, observation.frame.number))
            return observation

        return transform

    runner = run([picture()] * 5, mark("first"), mark("second"), queue=1)
    assert runner.join(PATIENCE_S)
    assert seen == [(word, number) for number in range(1, 6) for word in ("first", "second")]
    state = runner.state()
    assert (state.phase, state.frames, state.processed, state.dropped) == (Phase.ENDED, 5, 5, 0)
    assert (state.width, state.height) == (64, 48)


def test_of_a_live_source_the_newest_frame_wins_and_drops_are_counted(run: Callable[..., Any]) -> None:
    busy, read_all, seen = threading.Event(), threading.Event(), []

    def slow(observation: Observation) -> Observation:
        seen.append(observation.frame.number)
        busy.set()
        read_all.wait(PATIENCE_S)
        return observation

    script = [picture(), lambda: busy.wait(PATIENCE_S), *[picture()] * 9, read_all.set]
    runner = run(script, slow, live=True, queue=2)
    assert runner.join(PATIENCE_S)
    assert seen == [1, 9, 10]
    state = runner.state()
    assert (state.frames, state.processed, state.dropped) == (10, 3, 7)


def test_an_error_in_one_frame_is_counted_and_the_stream_goes_on(run: Callable[..., Any]) -> None:
    def fails_on_two(observation: Observation) -> Observation:
        if observation.frame.number == 2:
            raise ValueError("a strange frame")
        return observation

    runner = run([picture()] * 4, fails_on_two)
    assert runner.join(PATIENCE_S)
    state = runner.state()
    assert (state.phase, state.processed, state.errors) == (Phase.ENDED, 3, 1)
    assert "a strange frame" in state.problem


def test_samples_that_come_in_bursts_have_the_rate_that_they_have_on_average(run: Callable[..., Any]) -> None:
    clock = ManualClock()

    def four_at_once(observation: Observation) -> Observation:
        clock.advance(0.397 if observation.frame.number % 4 == 0 else 0.001)
        return observation

    runner = run([picture()] * 102, four_at_once, clock=clock)
    assert runner.join(PATIENCE_S)
    assert runner.state().fps == pytest.approx(10, rel=0.5)


def test_a_source_that_breaks_off_is_opened_again_and_counting_goes_on(run: Callable[..., Any]) -> None:
    runner = run([GONE, GONE, picture(), picture(), GONE, picture()])
    assert runner.join(PATIENCE_S)
    state = runner.state()
    assert (state.phase, state.retries, state.frames, state.problem) == (Phase.ENDED, 3, 3, "")
    assert runner.source.opened == 4


def test_while_it_retries_the_state_says_so_and_stopping_does_not_wait(run: Callable[..., Any]) -> None:
    class Long(Backoff):
        def next(self) -> float:
            waiting.set()
            return 3600.0

    waiting = threading.Event()
    runner = PipelineRunner(
        "porch",
        ScriptedSource([GONE], clock=CLOCK),
        [],
        lambda event: None,
        lane=Scheduler(cores=1).lane(),
        clock=CLOCK,
        backoff=Long(),
    )
    runner.start()
    assert waiting.wait(PATIENCE_S)
    assert (runner.state().phase, runner.state().problem) == (Phase.RETRYING, "the camera is gone")
    started = CLOCK.monotonic()
    runner.stop()
    assert CLOCK.monotonic() - started < 1
    assert runner.state().phase is Phase.STOPPED


def test_a_source_that_cannot_work_fails_for_good(run: Callable[..., Any]) -> None:
    runner = run([picture(), DecodeError("this is no video")])
    assert runner.join(PATIENCE_S)
    assert (runner.state().phase, runner.state().problem) == (Phase.FAILED, "this is no video")


def test_events_are_given_out_with_their_snapshot_stored_once_a_frame(run: Callable[..., Any]) -> None:
    events: list[Event] = []
    stored: list[bytes] = []

    def store(data: bytes) -> str:
        stored.append(data)
        return f"digest-{len(stored)}"

    def twice(observation: Observation) -> Observation:
        return msgspec.structs.replace(observation, events=observation.events * 2)

    runner = run([picture()] * 2, announce, twice, on_event=events.append, store=store)
    assert runner.join(PATIENCE_S)
    assert [(event.body["n"], event.blobs) for event in events] == [
        (1, ("digest-1",)),
        (1, ("digest-1",)),
        (2, ("digest-2",)),
        (2, ("digest-2",)),
    ]
    assert all(data.startswith(b"\xff\xd8") for data in stored)
    assert runner.state().events == 4


def test_an_alarm_without_its_picture_is_better_than_none(run: Callable[..., Any]) -> None:
    def full(data: bytes) -> str:
        raise StorageFullError("the disk is full")

    events: list[Event] = []
    runner = run([picture()], announce, on_event=events.append, store=full)
    assert runner.join(PATIENCE_S)
    assert [event.blobs for event in events] == [()]
    assert runner.state().errors == 1


def test_a_taker_of_events_that_fails_does_not_stop_the_stream(run: Callable[..., Any]) -> None:
    def refuse(event: Event) -> None:
        raise StorageFullError("the journal is full")

    runner = run([picture()] * 3, announce, on_event=refuse)
    assert runner.join(PATIENCE_S)
    assert (runner.state().processed, runner.state().errors) == (3, 3)


def test_the_live_view_gives_each_newer_picture_once_and_draws_only_when_looked_at(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(
        "edgewise.media.draw.draw_detections", lambda image, objects: (drawn.append(int(image[0, 0, 0])), image)[1]
    )
    go = threading.Event()
    runner = run([picture(10), lambda: go.wait(PATIENCE_S), picture(20)], hold=True)
    first = runner.wait_next(0, timeout_s=PATIENCE_S)
    assert first is not None
    assert first.frame.number == 1
    assert runner.pictures.plain(first.frame).startswith(b"\xff\xd8")
    assert drawn == []
    assert runner.pictures.drawn(first).startswith(b"\xff\xd8")
    assert runner.wait_next(1, timeout_s=0) is None
    go.set()
    second = runner.wait_next(1, timeout_s=PATIENCE_S)
    assert second is not None
    assert second.frame.number == 2
    assert runner.observation() == second
    assert runner.pictures.drawn(second) == runner.pictures.drawn(second)
    assert drawn == [10, 20]


def test_listeners_hear_of_each_observation_while_they_listen(run: Callable[..., Any]) -> None:
    go, heard = threading.Event(), []
    runner = run([lambda: go.wait(PATIENCE_S), picture(1), picture(2)])
    with runner.listeners.listening(lambda observation: heard.append(observation.frame.number)):
        go.set()
        assert runner.join(PATIENCE_S)
    assert heard == [1, 2]


def test_before_the_first_frame_there_is_nothing_to_see(run: Callable[..., Any]) -> None:
    runner = run([], hold=True)
    assert runner.observation() is None
    assert runner.wait_next(0, timeout_s=0) is None


def test_stopping_takes_less_than_a_second_and_may_be_done_twice(run: Callable[..., Any]) -> None:
    runner = run([picture()] * 3, hold=True, live=True)
    assert runner.wait_next(0, timeout_s=PATIENCE_S) is not None
    started = CLOCK.monotonic()
    runner.stop()
    runner.stop()
    assert CLOCK.monotonic() - started < 1
    assert runner.state().phase is Phase.STOPPED
    assert not any(thread.name.startswith("porch-") for thread in threading.enumerate())


def test_frames_that_wait_are_not_worked_on_after_stopping(run: Callable[..., Any]) -> None:
    busy, go = threading.Event(), threading.Event()

    def slow(observation: Observation) -> Observation:
        busy.set()
        go.wait(PATIENCE_S)
        return observation

    runner = run([picture()] * 5, slow, queue=4)
    assert busy.wait(PATIENCE_S)
    stopping = threading.Thread(target=runner.stop)
    stopping.start()
    while not runner._stopping.is_set():
        pass
    go.set()
    stopping.join(PATIENCE_S)
    assert runner.state().processed == 1


def test_a_queue_that_blocks_lets_its_producer_go_when_it_is_closed() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1, WhenFull.BLOCK)
    assert queue.put(1)
    refused: list[bool] = []
    thread = threading.Thread(target=lambda: refused.append(queue.put(2)))
    thread.start()
    queue.close()
    thread.join(PATIENCE_S)
    assert refused == [False]
    assert (queue.get(), queue.get()) == (1, None)


def test_waits_grow_to_their_bound_are_spread_and_start_over_after_success() -> None:
    longest = Backoff(uniform=lambda: 1.0)
    waits = [longest.next() for _ in range(10)]
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == LONGEST_S
    longest.reset()
    assert longest.next() == 0.5
    assert Backoff(uniform=lambda: 0.0).next() == pytest.approx(0.1)


def test_samples_past_their_deadline_are_not_worked_on_but_counted(run: Callable[..., PipelineRunner]) -> None:
    clock = ManualClock()
    all_read = threading.Event()
    seen: list[int] = []

    def look(observation: Observation) -> Observation:
        seen.append(observation.frame.number)
        assert all_read.wait(PATIENCE_S)
        clock.advance(1.0)  # the others have waited all that time
        return observation

    script = [picture(), picture(), picture(), all_read.set]
    runner = run(script, look, clock=clock, deadline_s=0.5, queue=3)
    assert runner.join(PATIENCE_S)
    assert (seen, runner.state().late) == ([1], 2)
