"""The YuNet decoder on a real photograph agrees with OpenCV's own implementation of the same network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgewise import zoo
from edgewise.media import images
from edgewise.models.model import Model
from edgewise.types import Detections

pytestmark = pytest.mark.zoo

PHOTOGRAPH = Path(__file__).parents[1] / "data" / "astronaut.jpg"
SIDE = 640


def opencv_faces(artifact: Path, picture: np.ndarray, threshold: float) -> np.ndarray:
    """Rows of x, y, width, height, five points and score in pixels of the picture, through the same letterbox."""
    height, width = picture.shape[:2]
    ratio = min(SIDE / height, SIDE / width)
    inner = round(width * ratio), round(height * ratio)
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    canvas[: inner[1], : inner[0]] = cv2.resize(picture, inner)[..., ::-1]
    detector = cv2.FaceDetectorYN.create(str(artifact), "", (SIDE, SIDE), threshold, 0.3, 5000)
    _, faces = detector.detect(canvas)
    scale = np.tile((width / inner[0], height / inner[1]), 7)
    return np.column_stack((faces[:, :14] * scale, faces[:, 14]))


@pytest.mark.parametrize("crop", [(0, 512, 0, 512), (0, 300, 100, 500), (40, 200, 150, 300)])
def test_faces_and_landmarks_are_those_of_opencv(zoo_cache: Path, crop: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = crop
    picture = np.ascontiguousarray(images.read(PHOTOGRAPH)[top:bottom, left:right])
    with Model.open(zoo.pull("yunet", zoo_cache)) as model:
        found = model.predict(picture, threshold=0.6).result
        expected = opencv_faces(model.folder / model.variant.artifact, picture, 0.6)
    assert isinstance(found, Detections)
    assert len(found.objects) == len(expected) > 0
    for face, row in zip(found.objects, expected, strict=True):
        box = np.clip((row[0], row[1], row[0] + row[2], row[1] + row[3]), 0, (right - left, bottom - top) * 2)
        assert (face.box.x1, face.box.y1, face.box.x2, face.box.y2) == pytest.approx(box, abs=0.5)
        assert np.allclose(face.landmarks, row[4:14].reshape(5, 2), atol=0.5)
        assert face.score == pytest.approx(row[14], abs=1e-3)
