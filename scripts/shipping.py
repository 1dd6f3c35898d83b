"""From a trained network to a model package inside Edgewise: export, golden case, measured figures, seal, check."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

import edgewise.zoo
from edgewise._lib.files import publish_folder
from edgewise.models import golden
from edgewise.models.manifest import Manifest, Metric
from edgewise.models.model import Model
from edgewise.models.package import check, save
from edgewise.types import Classification

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = Path(edgewise.zoo.__file__).parent / "shipped"
BUILD = ROOT / ".cache" / "build"
ARTIFACT = "model.onnx"


def ship(
    manifest: Manifest,
    network: nn.Module,
    *,
    files: dict[str, bytes],
    source: str,
    measure: Callable[[Model], tuple[Metric, ...]],
    folder: Path = SHIPPED,
) -> None:
    """Makes the package anew, aside; it replaces the one in ``folder`` when it passes its checks.

    Args:
        manifest: All but golden case, metrics and digests.
        network: Takes and gives one tensor each, in the manifest's shapes.
        files: What else is in the package, by path: labels, the golden source, credits.
        source: Which of them the golden case starts from.
        measure: Figures of the opened package, to stand in the manifest.
        folder: Where the package goes, as a folder of the model's name; inside Edgewise when not named.
    """
    build = BUILD / manifest.name
    shutil.rmtree(build, ignore_errors=True)
    for path, data in {**files, "LICENSE": (ROOT / "LICENSE").read_bytes()}.items():
        (build / path).parent.mkdir(parents=True, exist_ok=True)
        (build / path).write_bytes(data)
    export(network, manifest, build / ARTIFACT)
    save(build, manifest)
    with Model.open(build) as model:
        case = golden.record(model, build / source, "golden/case.npz")
        metrics = measure(model)
    save(build, msgspec.structs.replace(manifest, golden=(case,), metrics=metrics))
    report = check(build)
    if not report.passed:
        raise SystemExit("\n".join(problem.message for problem in report.problems))
    folder.mkdir(exist_ok=True)
    publish_folder(build, folder / manifest.name)
    for metric in metrics:
        print(f"{manifest.name}: {metric.name} {metric.value} on {metric.dataset}, {metric.split}")


def classify(model: Model, items: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """The best class of each item, by preprocessing, engine and decoder as every caller gets them."""
    found = []
    for item in items:
        result = model.predict(item).result
        assert isinstance(result, Classification)
        found.append(result.labels[0].index)
    return np.asarray(found, np.int64)


def export(network: nn.Module, manifest: Manifest, target: Path) -> None:
    """Writes the network as ONNX with any batch size, without the traces of this machine that the exporter leaves."""
    [taken], [given] = manifest.inputs, manifest.outputs
    example = torch.zeros(2, *taken.shape[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own use of what PyTorch is about to remove
        torch.onnx.export(
            network.eval(),
            (example,),
            target,
            input_names=[taken.name],
            output_names=[given.name],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    model = onnx.load(target)
    for part in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
    ):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)
