"""The motion gate: what moves passes, what does not is spared, and neither noise nor light moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import pytest

from edgewise.pipeline.base import Frame, Observation
from edgewise.pipeline.transforms.detect import Detect, DetectSettings
from edgewise.pipeline.transforms.motion import Motion, MotionSettings
from edgewise.types import Box, Detection, Detections

WIDTH, HEIGHT, FPS = 320, 240, 10
LEFT = ((0, 0), (0.5, 0), (0.5, 1), (0, 1))


def room(rng: np.random.Generator) -> Any:
    """A background with large and small structure, 40..215."""
    import cv2

    coarse = cv2.resize(rng.uniform(60, 195, (6, 8)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 8, (HEIGHT, WIDTH)), 40, 215)


@dataclasses.dataclass
class Camera:
    """Pictures of the room, with sensor noise."""

    rng: np.random.Generator
    background: Any
    noise: float = 3.0
    taken: int = 0

    def take(self, *, gain: float = 1.0, offset: float = 0.0, box: tuple[int, int, int, int] | None = None) -> Frame:
        scene = self.background.copy()
        if box is not None:
            x, y, width, height = box
            scene[y : y + height, x : x + width] = 20
        seen = scene * gain + offset + self.rng.normal(0, self.noise, scene.shape)
        self.taken += 1
        grey = np.clip(np.round(seen), 0, 255).astype(np.uint8)
        return Frame("porch", self.taken, 10**18 + self.taken * 10**9 // FPS, np.repeat(grey[:, :, None], 3, axis=2))


@pytest.fixture
def camera() -> Camera:
    rng = np.random.default_rng(7)
    return Camera(rng, room(rng))


def gate(**settings: Any) -> Motion:
    return Motion(MotionSettings(**{"hold_s": 0, "look_every_s": 3600, **settings}))


def stillness(motion: Motion, frames: Iterable[Frame]) -> list[bool]:
    return [motion.apply(Observation(frame)).still for frame in frames]


@pytest.mark.parametrize("noise", [0, 3, 10, 25])
def test_noise_does_not_move_however_strong(camera: Camera, noise: float) -> None:
    camera.noise = noise
    assert stillness(gate(), (camera.take() for _ in range(100))) == [False] + [True] * 99


def test_a_light_that_changes_everywhere_does_not_move(camera: Camera) -> None:
    """Switched down, a cloud that passes, a lamp that flickers."""
    motion = gate()
    stillness(motion, (camera.take() for _ in range(5)))
    lights = [*[0.6] * 5, *np.linspace(0.6, 1.15, 20), *(1 + 0.1 * np.sin(range(20)))]
    assert all(stillness(motion, (camera.take(gain=float(gain)) for gain in lights)))
    assert all(stillness(motion, [camera.take(offset=20)] * 3))
    assert all(stillness(motion, [camera.take(gain=1.4)] * 3)), "what was bright is white now, and no brighter"


@pytest.mark.parametrize("gain", [1.0, 0.6])
def test_a_small_object_that_moves_is_seen_in_any_light(camera: Camera, gain: float) -> None:
    motion = gate()
    stillness(motion, (camera.take(gain=gain) for _ in range(5)))
    walk = (camera.take(gain=gain, box=(20 + 4 * step, 100, 8, 24)) for step in range(40))
    assert not any(stillness(motion, walk))
    assert all(stillness(motion, (camera.take(gain=gain) for _ in range(60)))[-20:])


def test_only_zones_count(camera: Camera) -> None:
    motion = gate(zones=(LEFT,))
    stillness(motion, [camera.take()])
    assert stillness(motion, (camera.take(box=(x, 100, 20, 40)) for x in (200, 210, 100, 110))) == [
        True,
        True,
        False,
        False,
    ]


def test_after_a_movement_pictures_pass_for_a_while_and_now_and_then_in_any_case(camera: Camera) -> None:
    motion = gate(hold_s=0.5, look_every_s=3)
    still = stillness(motion, (camera.take() for _ in range(100)))
    passed = [number for number, spared in enumerate(still) if not spared]
    assert passed == [0, 1, 2, 3, 4, 5, 35, 65, 95]


def test_what_stops_is_still_soon_and_its_going_is_movement(camera: Camera) -> None:
    motion = gate(learn_s=1)
    stillness(motion, (camera.take() for _ in range(5)))
    parked = stillness(motion, (camera.take(box=(100, 100, 60, 40)) for _ in range(60)))
    assert not any(parked[:10])
    assert all(parked[-20:])
    assert stillness(motion, [camera.take()]) == [False]


@pytest.mark.parametrize("pixels_per_s", [2, 20, 200])
def test_slow_and_fast_walks_are_seen_alike(camera: Camera, pixels_per_s: int) -> None:
    motion = gate()
    start = stillness(motion, (camera.take(box=(20, 100, 16, 48)) for _ in range(60)))
    assert start[-1]
    steps = (20 + pixels_per_s * step // FPS for step in range(1, 40))
    seen = stillness(motion, (camera.take(box=(x % 300, 100, 16, 48)) for x in steps))
    assert not any(seen[10:])


def test_another_scene_passes_and_is_the_background_from_then_on(camera: Camera) -> None:
    motion = gate()
    stillness(motion, (camera.take() for _ in range(5)))
    camera.background = room(camera.rng)
    assert stillness(motion, (camera.take() for _ in range(5))) == [False, True, True, True, True]


def test_another_size_of_picture_is_another_scene(camera: Camera) -> None:
    motion = gate(zones=(LEFT,))
    frames = [camera.take() for _ in range(4)]
    smaller = [msgspec.structs.replace(frame, picture=frame.image[:100].copy()) for frame in frames[2:]]
    assert stillness(motion, [*frames[:2], *smaller]) == [False, True, False, True]


def test_a_clock_that_was_set_back_lets_pictures_through(camera: Camera) -> None:
    motion = gate(look_every_s=3)
    frames = [camera.take() for _ in range(4)]
    earlier = [msgspec.structs.replace(frame, time_ns=frame.time_ns - 10**13) for frame in frames]
    assert stillness(motion, [*frames, *earlier]) == [False, True, True, True, False, True, True, True]


def test_it_says_what_it_let_through(camera: Camera) -> None:
    motion = gate()
    for _ in range(4):
        last = motion.apply(Observation(camera.take()))
    assert last.facts["motion"] == {"moving": False, "share": 0.0}
    assert motion.counts() == {"passed": 1, "spared": 3}
    facts = motion.apply(Observation(camera.take(box=(100, 100, 64, 48)), facts={"before": 1})).facts
    assert facts["before"] == 1
    assert facts["motion"]["moving"]
    assert facts["motion"]["share"] == pytest.approx(0.04, rel=0.25), "64 x 48 of 320 x 240 pixels and a rim"


def test_it_tells_when_movement_begins_and_ends(camera: Camera) -> None:
    motion = gate(hold_s=1, events=True, learn_s=0.2)
    told: list[tuple[int, str, Any]] = []
    for tenth in range(100):
        box = (20 + 8 * tenth % 300, 100, 24, 48) if 30 <= tenth < 50 else None
        events = motion.apply(Observation(camera.take(box=box))).events
        told += [(tenth, event.kind, event.body.get("seconds")) for event in events]
    (began, ended) = told
    assert began == (30, "motion.began", None)
    assert ended[1] == "motion.ended"
    assert 60 <= ended[0] <= 72
    assert ended[2] == pytest.approx(2, abs=1), "what follows the movement is none"


class Model:
    """Finds one object, whose score counts the pictures it was asked about; the third one breaks it."""

    asked = 0

    def predict(self, image: Any) -> Any:
        self.asked += 1
        if self.asked == 3:
            raise ValueError("a strange picture")
        found = Detection(Box(0, 0, 9, 9), "person", self.asked / 100)
        return type("Prediction", (), {"result": Detections((found,), WIDTH, HEIGHT), "model": "m", "variant": ""})


class Lent:
    def __init__(self) -> None:
        self.lent = Model()

    def model(self, name: str) -> Any:
        return self.lent


def test_what_is_expensive_is_spared_and_what_was_found_still_holds(camera: Camera) -> None:
    tools: Any = Lent()
    detect = Detect(DetectSettings("nanodet"), tools)

    def look(*, still: bool) -> float:
        (found,) = detect.apply(Observation(camera.take(), still=still)).objects
        return found.score

    assert look(still=True) == 0.01, "nothing to repeat yet: it looks"
    assert [look(still=True) for _ in range(3)] == [0.01] * 3
    assert look(still=False) == 0.02
    assert look(still=True) == 0.02
    with pytest.raises(ValueError, match="a strange picture"):
        look(still=False)
    assert look(still=True) == 0.04, "what was found before a picture that failed is not repeated"
