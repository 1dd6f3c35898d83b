"""A masked area is nowhere: not in the picture, not in its brightness, not in what is made of them later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise._lib.clock import SystemClock
from edgewise.media import images
from edgewise.media.film import write_video
from edgewise.media.mask import Mask
from edgewise.media.video import pictures
from edgewise.pipeline.base import Event, Frame, Observation
from edgewise.pipeline.runner import PipelineRunner
from edgewise.pipeline.scheduler import Scheduler
from edgewise.pipeline.sources.video import VideoSettings, VideoSource
from edgewise.testing.pipeline import PATIENCE_S, FunctionTransform, ScriptedSource

LEFT_HALF = ((0, 0), (0.5, 0), (0.5, 1), (0, 1))
TRIANGLE = ((0.5, 0.1), (0.9, 0.9), (0.1, 0.9))


def white(width: int = 64, height: int = 48) -> Any:
    return np.full((height, width, 3), 255, np.uint8)


def test_every_pixel_inside_is_black_and_far_outside_nothing_changed() -> None:
    image = white()
    blanked = Mask([LEFT_HALF]).blank(image)
    assert not blanked[:, :32].any()
    assert (blanked[:, 35:] == 255).all()
    assert (image == 255).all(), "the picture itself is nobody's to write into"


@pytest.mark.parametrize("size", [(64, 48), (1920, 1080), (31, 77)])
def test_a_mask_holds_at_any_resolution_and_its_edge_is_blanked_too(size: tuple[int, int]) -> None:
    width, height = size
    blanked = Mask([TRIANGLE]).blank(white(width, height))[:, :, 0]
    for y, x in np.argwhere(blanked == 255):  # no corner of a pixel that is left lies inside
        for corner in ((x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)):
            assert not strictly_inside((corner[0] / width, corner[1] / height))
    assert (blanked == 255).mean() > 0.5


def strictly_inside(point: tuple[float, float]) -> bool:
    x, y = point
    return y < 0.9 - 1e-9 and abs(x - 0.5) < (y - 0.1) / 2 - 1e-9


@pytest.fixture
def film(tmp_path: Path) -> str:
    pytest.importorskip("av")
    path = tmp_path / "white.mp4"
    write_video(path, [white()] * 5)
    return str(path)


def test_a_picture_of_a_video_is_masked_whichever_way_it_is_looked_at(film: str) -> None:
    (_, picture), *_ = pictures(film)
    masked = Mask([LEFT_HALF]).cover(picture)
    frame = Frame("porch", 1, 0, masked)
    assert (frame.width, frame.height) == (64, 48)
    for pixels in (frame.image, frame.luma):
        assert not pixels[:, :32].any()
        assert (pixels[:, 36:] > 200).all()
    picture.jpeg = b"as it was sent"
    assert Mask([LEFT_HALF]).cover(picture).jpeg == b""  # type: ignore[union-attr]


def test_nothing_behind_the_source_sees_a_masked_area(film: str) -> None:
    """Transforms, snapshots in the store, and the live view alike; stored and live sources, video and pictures."""
    for source in (
        VideoSource("porch", VideoSettings(film, realtime=False), clock=SystemClock()),
        ScriptedSource([white()] * 5, clock=SystemClock()),
    ):
        seen: list[Any] = []
        stored: list[bytes] = []

        def look(observation: Observation, seen: list[Any] = seen) -> Observation:
            seen.extend((observation.frame.image, observation.frame.luma))
            return Observation(observation.sample, events=(Event("test", "porch", 0, {}),))

        def store(jpeg: bytes, stored: list[bytes] = stored) -> str:
            stored.append(jpeg)
            return "digest"

        runner = PipelineRunner(
            "porch",
            source,
            [FunctionTransform(look)],
            lambda event: None,
            lane=Scheduler(cores=1).lane(),
            clock=SystemClock(),
            store=store,
            mask=Mask([LEFT_HALF]),
        )
        runner.start()
        assert runner.join(PATIENCE_S)
        latest = runner.observation()
        assert latest is not None
        live = runner.pictures.plain(latest.frame), runner.pictures.drawn(latest)
        runner.stop()
        pictures_seen = [*seen, *map(images.decode, (*stored, *live))]
        assert len(pictures_seen) == 17
        for pixels in pictures_seen:
            assert pixels[:, :28].max() < 20, "JPEG smears the edge by a block at most"
            assert pixels[:, 40:].min() > 200
