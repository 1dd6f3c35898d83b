"""The models inside the package: whole, in working order, and as accurate as their manifests say."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import edgewise
from edgewise import zoo
from edgewise.errors import CorruptError
from edgewise.models.model import Model
from edgewise.models.package import check, load_manifest
from edgewise.types import Classification

SHIPPED = Path(zoo.__file__).parent / "shipped"
HELD_OUT = Path(__file__).parent.parent / "data" / "watch_people_9_10.npz"


def best(prediction):
    assert isinstance(prediction.result, Classification)
    return prediction.result.labels[0]


@pytest.mark.parametrize("name", ["cifar10-resnet", "voice-commands", "watch-activity"])
def test_a_shipped_package_is_intact_and_gives_its_golden_outputs(name):
    report = check(SHIPPED / name)
    assert report.problems == ()
    assert report.verdicts["onnx-fp32"].passed


def test_changed_labels_are_noticed_before_anything_is_predicted(tmp_path):
    folder = shutil.copytree(SHIPPED / "cifar10-resnet", tmp_path / "cifar10-resnet")
    labels = folder / "labels.txt"
    labels.write_text("\n".join(reversed(labels.read_text().split())))
    with pytest.raises(CorruptError, match=r"labels\.txt"):
        Model.open(folder)


def test_no_other_folder_is_shipped():
    assert sorted(path.name for path in SHIPPED.iterdir()) == ["cifar10-resnet", "voice-commands", "watch-activity"]


@pytest.mark.parametrize("name", ["cifar10-resnet", "voice-commands", "watch-activity"])
def test_a_shipped_package_says_how_accurate_it_is_on_which_data(name):
    accuracy = load_manifest(SHIPPED / name).metrics[0]
    assert accuracy.name == "accuracy"
    assert 0.8 < accuracy.value < 1
    assert accuracy.dataset
    assert accuracy.split


def test_a_drawn_ship_is_a_ship():
    with edgewise.load("cifar10-resnet") as model:
        label = best(model.predict(SHIPPED / "cifar10-resnet" / "golden" / "picture.png"))
    assert label.name == "ship"


def test_the_activity_recogniser_is_as_accurate_as_stated_on_people_it_never_saw():
    with np.load(HELD_OUT) as data, Model.open(SHIPPED / "watch-activity") as model:
        series, labels = data["series"].astype(np.float32), data["labels"]
        right = [best(p).index == label for p, label in zip(model.predict_batch(list(series)), labels, strict=True)]
        stated = model.manifest.metrics[0]
    assert len(right) > 100
    # Every second window of those the figure was measured on, so it may differ by chance.
    assert np.mean(right) == pytest.approx(stated.value, abs=0.05)
    assert "9 and 10" in stated.split


def test_a_longer_recording_is_recognised_by_its_middle():
    with np.load(HELD_OUT) as data, Model.open(SHIPPED / "watch-activity") as model:
        window = data["series"][0].astype(np.float32)
        longer = np.concatenate([np.zeros((100, 6), np.float32), window, np.zeros((100, 6), np.float32)])
        assert best(model.predict(longer)).name == best(model.predict(window)).name
