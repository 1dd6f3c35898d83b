"""A small model that is unsure asks a larger one; whatever becomes of that, there is an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from edgewise._lib.clock import ManualClock
from edgewise.errors import AccessError, EdgewiseError, NotFoundError, UnavailableError
from edgewise.link.base import encode
from edgewise.link.budget import Budget, BudgetSettings, Priority
from edgewise.link.consult import MAX_PICTURE_BYTES, MOST, Consulting, Opinion
from edgewise.link.spending import Spending
from edgewise.models.prediction import Prediction, Timing
from edgewise.node.second import SecondOpinion
from edgewise.pipeline.base import Frame
from edgewise.pipeline.joint import UnsureSettings, answered_by, is_unsure, settled
from edgewise.types import Box, Classification, Detection, Detections, Embedding, Label

UNSURE = UnsureSettings(below=0.6, ask="large", within_s=0.3)
FRAME = Frame("door", 1, 0, np.zeros((8, 8, 3), np.uint8))


def classified(score: float, *, variant: str = "fp32", model: str = "small") -> Prediction:
    return Prediction(Classification((Label("cat", score),)), model, "1", variant, Timing(0, 0, 0))


def found(*scores: float) -> Detections:
    return Detections(tuple(Detection(Box(0, 0, 1, 1), "person", score) for score in scores), 8, 8)


class Above:
    """A larger model that answers from a script, and counts."""

    def __init__(self, answer: Prediction | None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, float]] = []

    def __call__(self, model: str, frame: Frame, *, within_s: float) -> Prediction | None:
        self.asked.append((model, within_s))
        return self.answer


def test_what_is_sure_is_not_asked_about() -> None:
    above = Above(classified(0.99, model="large"))
    sure = classified(0.6)
    assert settled(sure, UNSURE, FRAME, above) is sure
    assert above.asked == []


def test_the_larger_model_answers_for_what_is_unsure_and_that_is_told() -> None:
    above = Above(classified(0.2, model="large", variant="fp32@gateway"))
    answer = settled(classified(0.59), UNSURE, FRAME, above)
    assert answered_by(answer) == "large@gateway"
    assert above.asked == [("large", 0.3)]
    assert answered_by(classified(0.5)) == "small"


def test_without_an_answer_or_with_one_of_another_kind_the_small_one_stands() -> None:
    own = classified(0.1)
    assert settled(own, UNSURE, FRAME, Above(None)) is own
    other = Prediction(Embedding((1.0,)), "large", "1", "fp32@gateway", Timing(0, 0, 0))
    assert settled(own, UNSURE, FRAME, Above(other)) is own


def test_objects_are_unsure_when_the_best_of_them_is_and_an_empty_picture_is_no_doubt() -> None:
    assert is_unsure(found(0.5, 0.3), UNSURE)
    assert not is_unsure(found(0.3, 0.7), UNSURE)
    assert not is_unsure(found(), UNSURE)
    assert not is_unsure(Embedding((1.0,)), UNSURE)


class Line:
    """A connection to a parent that answers, refuses or waits."""

    def __init__(self, answer: Callable[[], bytes]) -> None:
        self.answer = answer
        self.calls = 0

    def call(self, *_: Any, **__: Any) -> bytes:
        self.calls += 1
        return self.answer()

    def close(self) -> None:
        pass

    def end(self) -> None:
        """Whoever waits is set free by the story."""


def opinion() -> bytes:
    return encode(Opinion(Classification((Label("cat", 0.9),)), "gateway", "large", "1", "fp32", 4.0))


def failing(error: EdgewiseError) -> Callable[[], bytes]:
    def answer() -> bytes:
        raise error

    return answer


def account(clock: ManualClock, **bounds: Any) -> Spending:
    return Spending(BudgetSettings(**bounds), budget=Budget(), keep=lambda _: None, clock=clock)


def consulting(line: Line, clock: ManualClock, spending: Spending | None = None) -> Consulting:
    spending = spending or account(clock)
    return Consulting(connect=lambda: line, spending=spending, clock=clock, random=lambda: 1.0)  # type: ignore[arg-type,return-value]


def test_an_answer_comes_back_typed() -> None:
    asking = consulting(Line(opinion), ManualClock())
    told = asking.ask("large", b"jpeg", within_s=1)
    asking.stop()
    assert told is not None
    assert told.result == Classification((Label("cat", 0.9),))


def test_a_parent_that_is_away_is_tried_less_and_less_and_again_when_it_is_back() -> None:
    clock = ManualClock()
    line = Line(failing(UnavailableError("no network")))
    asking = consulting(line, clock)
    tries = []
    for second in range(120):
        before = line.calls
        assert asking.ask("large", b"jpeg", within_s=1) is None
        if line.calls > before:
            tries.append(second)
        clock.advance(1)
    assert tries == [0, 1, 3, 7, 15, 31, 63]
    line.answer = opinion
    clock.advance(60)
    assert asking.ask("large", b"jpeg", within_s=1) is not None
    assert asking.ask("large", b"jpeg", within_s=1) is not None
    asking.stop()


def test_a_parent_without_the_model_is_there_all_the_same_and_one_that_refuses_is_left_alone() -> None:
    clock = ManualClock()
    line = Line(failing(NotFoundError("no such model")))
    asking = consulting(line, clock)
    assert asking.ask("large", b"jpeg", within_s=1) is None
    assert asking.may_answer
    line.answer = failing(AccessError("revoked"))
    assert asking.ask("large", b"jpeg", within_s=1) is None
    assert not asking.may_answer
    asking.stop()


def test_who_is_too_slow_does_not_hold_up_the_picture() -> None:
    free = threading.Event()

    def slow() -> bytes:
        free.wait(10)
        return opinion()

    asking = consulting(Line(slow), ManualClock())
    begun = time.monotonic()
    assert asking.ask("large", b"jpeg", within_s=0.05) is None
    assert time.monotonic() - begun < 2
    assert not asking.may_answer
    free.set()
    asking.stop()


def test_no_more_than_a_few_pictures_are_asked_about_at_once_and_none_that_is_too_large() -> None:
    clock, free = ManualClock(), threading.Event()
    line = Line(lambda: (free.wait(10) and opinion()) or b"")
    asking = consulting(line, clock)
    assert asking.ask("large", bytes(MAX_PICTURE_BYTES + 1), within_s=1) is None
    assert line.calls == 0
    threads = [
        threading.Thread(target=asking.ask, args=("large", b"jpeg"), kwargs={"within_s": 10}) for _ in range(MOST)
    ]
    for thread in threads:
        thread.start()
    while line.calls < MOST:
        time.sleep(0.001)
    assert not asking.may_answer
    assert asking.ask("large", b"jpeg", within_s=1) is None
    free.set()
    for thread in threads:
        thread.join()
    assert line.calls == MOST
    asking.stop()


def test_on_a_metered_link_nobody_is_asked() -> None:
    clock, line = ManualClock(), Line(opinion)
    asking = consulting(line, clock, account(clock, metered=True))
    assert not asking.may_answer  # so no picture is made ready, either
    assert asking.ask("large", b"jpeg", within_s=1) is None
    assert line.calls == 0
    asking.stop()


def test_nobody_is_asked_about_what_the_pictures_part_of_the_day_has_no_room_for_until_there_is_some_again() -> None:
    clock, line = ManualClock(), Line(opinion)
    spending = account(clock, bytes_per_day=100_000)
    asking = consulting(line, clock, spending)
    spending.spend(30_000)
    assert asking.ask("large", bytes(20_000), within_s=1) is not None
    assert asking.ask("large", bytes(40_000), within_s=1) is None  # 30,000 are left
    assert asking.may_answer
    spending.spend(30_000)
    assert not asking.may_answer
    assert (spending.left(Priority.MEDIA), spending.left(Priority.READING)) == (0, 20_000)
    clock.advance(86_400)
    assert asking.ask("large", bytes(40_000), within_s=1) is not None
    assert line.calls == 2
    asking.stop()


def test_a_node_without_a_parent_makes_nothing_ready_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.media.images.encode_jpeg", lambda *_: pytest.fail("a picture was encoded for nobody"))
    assert SecondOpinion()("large", FRAME, within_s=0.3) is None


def test_the_settings_have_bounds() -> None:
    for wrong in ({"below": 1.5}, {"ask": ""}, {"within_s": 60}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"below": 0.6, "ask": "large"} | wrong, UnsureSettings)
