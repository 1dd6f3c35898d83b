"""Classifying in a pipeline: pictures one by one, stretches of readings with a change told once it is sure."""

import msgspec
import numpy as np
import pytest

from edgewise.errors import SettingsError
from edgewise.models.manifest import Input, Window
from edgewise.pipeline.base import Frame, Observation, Reading
from edgewise.pipeline.transforms.classify import Classify, ClassifySettings
from edgewise.types import Classification, Embedding, Label

S = 1_000_000_000
SERIES = Input("x", "FP32", (-1, 4, 2), kind="series", preprocess=(Window(4),), channels=("a", "b"), rate_hz=2.0)
PICTURE = Input("x", "FP32", (-1, 3, 8, 8), kind="image")


class Scripted:
    """A model that answers from a script, and remembers what it was asked."""

    def __init__(self, taken, answers=()):
        self.manifest = type("Manifest", (), {"inputs": (taken,)})
        self.answers = list(answers)
        self.asked = []

    def predict(self, raw):
        self.asked.append(raw)
        answer = self.answers.pop(0) if self.answers else ("rest", 0.9)
        result = answer if isinstance(answer, Embedding) else Classification((Label(*answer),))
        return type("Prediction", (), {"result": result})


class Watch:
    """A transform over a scripted model; ``say`` gives it readings and returns events as ``(kind, body)``."""

    def __init__(self, model, **given):
        settings = msgspec.convert({"model": "m", **given}, ClassifySettings)
        self.transform = Classify(settings, type("Tools", (), {"model": staticmethod(lambda name: model)}))
        self.facts = None

    def say(self, second, **values):
        reading = Reading("wrist", 1, round(second * S), values)
        return self._apply(Observation(reading, readings=(reading,)))

    def see(self, number):
        return self._apply(Observation(Frame("belt", number, number * S, np.zeros((8, 8, 3), np.uint8))))

    def _apply(self, observation):
        found = self.transform.apply(observation)
        self.facts = found.facts.get("classify")
        return [(event.kind, event.body) for event in found.events]


def run(watch, until, *, start=0.0):
    """Readings twice a second; the kinds and labels of events."""
    told = []
    second = start
    while second <= until:
        told += [(body["label"], second) for _, body in watch.say(second, a=second, b=-second)]
        second += 0.5
    return told


def test_the_model_gets_the_last_stretch_at_its_own_rate():
    model = Scripted(SERIES)
    run(Watch(model), 3)
    assert len(model.asked) == 2  # the first stretch of two seconds ends at 2, then one a second
    assert model.asked[0].dtype == np.float32
    assert model.asked[0].tolist() == [[0.5, -0.5], [1.0, -1.0], [1.5, -1.5], [2.0, -2.0]]
    assert model.asked[1][-1].tolist() == [3.0, -3.0]


def test_channels_may_come_apart_at_other_rates_and_under_other_names():
    model = Scripted(SERIES)
    watch = Watch(model, channels={"a": "x.acc"})
    for quarter in range(9):
        watch.say(quarter / 4, **{"x.acc": quarter / 4})
        watch.say(quarter / 4 + 0.01, b=1.0)
    [series] = model.asked
    assert series[:, 0].tolist() == [0.5, 1.0, 1.5, 2.0]
    assert series[:, 1].tolist() == [1.0] * 4


def test_a_stretch_with_a_hole_in_it_is_not_classified():
    model = Scripted(SERIES)
    watch = Watch(model)
    run(watch, 2)
    assert len(model.asked) == 1
    run(watch, 29, start=28.0)
    assert len(model.asked) == 1
    run(watch, 32, start=29.5)
    assert len(model.asked) > 1


def test_a_change_is_told_once_and_only_when_it_came_twice_running():
    labels = ["walk", "walk", "run", "walk", "run", "run", "run", "walk", "walk"]
    model = Scripted(SERIES, [(label, 0.9) for label in labels])
    watch = Watch(model, event="activity")
    assert run(watch, 10) == [("walk", 3.0), ("run", 7.0), ("walk", 10.0)]
    assert watch.facts == {"label": "walk", "score": 0.9, "said": "walk"}


def test_an_event_of_a_change_says_what_was_before_and_for_how_long():
    model = Scripted(SERIES, [(label, 0.9) for label in ("walk", "walk", "run", "run")])
    watch = Watch(model, event="activity")
    told = [event for half in range(12) for event in watch.say(half / 2, a=1.0, b=1.0)]
    assert told == [
        ("activity.changed", {"label": "walk", "score": 0.9, "before": None}),
        ("activity.changed", {"label": "run", "score": 0.9, "before": "walk", "lasted_s": 2.0}),
    ]


def test_what_is_unsure_changes_nothing():
    model = Scripted(SERIES, [("walk", 0.9), ("walk", 0.9), *[("run", 0.4)] * 5])
    watch = Watch(model, min_score=0.5)
    assert run(watch, 8) == [("walk", 3.0)]
    assert watch.facts == {"label": "unsure", "score": 0.4, "said": "walk"}


def test_each_picture_is_told_with_its_number_unless_nobody_wants_to_know():
    model = Scripted(PICTURE, [("good", 0.9), ("Deep scratch", 0.8), ("blot", 0.3), ("blot", 0.7)])
    belt = Watch(model, event="product", labels=["Deep scratch", "unsure"], min_score=0.5)
    assert [belt.see(number) for number in range(1, 5)] == [
        [],
        [("product.deep_scratch", {"label": "Deep scratch", "score": 0.8, "number": 2})],
        [("product.unsure", {"label": "unsure", "score": 0.3, "number": 3})],
        [],
    ]
    assert belt.facts == {"label": "blot", "score": 0.7, "said": None}


def test_a_door_may_tell_only_when_what_it_shows_changes():
    model = Scripted(PICTURE, [(label, 0.9) for label in ("shut", "shut", "open", "open", "open")])
    door = Watch(model, event="door", tell="changes")
    assert [[body["label"] for _, body in door.see(number)] for number in range(1, 6)] == [
        [],
        ["shut"],
        [],
        ["open"],
        [],
    ]


def test_models_that_do_not_fit_are_refused_with_a_hint():
    with pytest.raises(SettingsError, match="channels and rate") as caught:
        Watch(Scripted(msgspec.structs.replace(SERIES, rate_hz=0.0)))
    assert "model.yaml" in caught.value.hint
    with pytest.raises(SettingsError, match="how long a stretch"):
        Watch(Scripted(msgspec.structs.replace(SERIES, preprocess=())))
    with pytest.raises(SettingsError, match="takes no series"):
        Watch(Scripted(PICTURE)).say(0, a=1.0)
    with pytest.raises(SettingsError, match="does not classify"):
        Watch(Scripted(PICTURE, [Embedding((1.0,))])).see(1)
