"""Results drawn on pictures stay inside them, in any script and any size."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.media import draw
from edgewise.types import Box, Detection, Label


def blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=2)


def test_a_box_is_drawn_where_it_is_and_the_picture_stays_as_it_was() -> None:
    picture = blank(240, 320)
    drawn = draw.draw_detections(picture, [Detection(Box(100, 80, 200, 180), "cat", 0.9)])
    assert (picture == 90).all()
    marks = changed(picture, drawn)
    assert marks[80:180, 100].all()
    assert marks[179, 100:200].all()
    assert not marks[100:160, 120:180].any()
    assert not marks[200:].any()


def test_chinese_and_latin_names_are_drawn_as_different_glyphs() -> None:
    """A font without a script draws one replacement sign for all its letters."""

    def ink(name: str) -> np.ndarray:
        detection = Detection(Box(10, 60, 60, 110), "face", 0.9, name=name, similarity=0.5)
        return draw.draw_detections(blank(120, 320), [detection])

    pictures = [ink(name) for name in ("张伟", "李娜", "だれ", "한국", "Мир", "Åsa")]
    for index, picture in enumerate(pictures):
        for other in pictures[index + 1 :]:
            assert not np.array_equal(picture, other)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (3, 400), (400, 3), (2000, 3000)])
def test_pictures_of_any_size_can_be_drawn_on(size: tuple[int, int]) -> None:
    picture = blank(*size)
    box = Box(0, 0, size[1], size[0])
    detection = Detection(box, "a very long label " * 10, 0.5, landmarks=((0, 0), (size[1], size[0])))
    assert draw.draw_detections(picture, [detection]).shape == picture.shape
    assert draw.draw_labels(picture, [Label("x" * 500, 0.5)] * 50).shape == picture.shape


def test_labels_stand_in_the_corner_best_first() -> None:
    picture = blank(300, 400)
    drawn = draw.draw_labels(picture, [Label("cat", 0.9), Label("dog", 0.1)])
    marks = changed(picture, drawn)
    assert marks[:100, :150].any()
    assert not marks[150:].any()


def test_a_label_that_is_too_long_is_cut_before_its_score() -> None:
    """As names are; a line of the file of labels may have any length."""

    def drawn(score: float) -> np.ndarray:
        return draw.draw_labels(blank(300, 2000), [Label("x" * 5000, score)])

    assert changed(drawn(0.9), drawn(0.1)).any()
