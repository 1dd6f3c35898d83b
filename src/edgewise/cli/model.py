"""``edgewise model``: make, look at, check and carry model packages."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import cyclopts
import msgspec
from cyclopts import Parameter
from rich.markup import escape

from edgewise.cli import output
from edgewise.cli.options import JsonFlag

app = cyclopts.App(name="model", help="Make, look at, check and carry model packages.", result_action="return_value")


@app.command
def new(
    folder: Path,
    artifact: Path,
    /,
    *,
    task: str = "classification",
    labels: Path | None = None,
    licence: Annotated[str, Parameter(name=["--licence", "--license"])] = "unstated",
) -> None:
    """Make a package around an artifact: tensors are read from it, preprocessing is yours to fill in.

    Parameters
    ----------
    folder:
        Folder to make; its last part is the model's name.
    artifact:
        A file of one of the runtimes, such as ``mine.onnx``.
    task:
        What its outputs mean: a name from the task catalogue.
    labels:
        Text file with one class name a line.
    licence:
        Under which it may be used, as an SPDX name.
    """
    from edgewise.models import package

    package.new(folder, artifact=artifact, task=task, labels=labels, licence=licence)
    output.out().print(f"{folder}", markup=False)
    manifest = escape(str(folder / package.MANIFEST))
    output.note(f"Fill in preprocessing in {manifest}, then: edgewise model check {escape(str(folder))}")


@app.command
def show(model: str, /, *, json: JsonFlag = False) -> None:
    """Show what a model is: tensors, variants, preprocessing, task, licence, origin, measured figures.

    Parameters
    ----------
    model:
        A name from ``edgewise pull --list``, or the path of a package (folder or zip).
    """
    from edgewise.models import package
    from edgewise.node.library import resolve

    place = resolve(model)
    with package.opened(place) as folder:
        manifest = package.load_manifest(folder)
    if json:
        output.show_json(manifest)
        return
    output.out().print(f"[bold]{escape(manifest.name)}[/] {escape(manifest.version)}  {escape(manifest.summary)}")
    print_line = functools.partial(output.out().print, markup=False)
    print_line(f"licence   {manifest.licence}")
    if manifest.origin:
        print_line(f"origin    {manifest.origin.source}  {manifest.origin.file}  {manifest.origin.note}".rstrip())
    print_line(f"task      {manifest.task.get('kind')}")
    print_line(f"path      {place}")
    for tensor in manifest.inputs:
        steps = " → ".join(str(step.__struct_config__.tag) for step in tensor.preprocess)
        print_line(
            f"input     {tensor.name} {tensor.datatype} {list(tensor.shape)}  {tensor.kind}: {steps or 'as it is'}"
        )
    for output_tensor in manifest.outputs:
        print_line(f"output    {output_tensor.name} {output_tensor.datatype} {list(output_tensor.shape)}")
    for variant in manifest.variants:
        print_line(f"variant   {variant.name}: {variant.runtime}, {variant.precision}, {variant.artifact}")
    for metric in manifest.metrics:
        print_line(f"metric    {metric.name} {metric.value:g}{metric.unit} on {metric.dataset} {metric.split}".rstrip())
    for step in manifest.lineage:
        print_line(f"lineage   {step.step} by {step.tool}")


@app.command
def check(model: str, /, *, json: JsonFlag = False) -> int:
    """Check a package: format, digests, and golden data on every variant that can run here.

    Ends with exit code 1 when something does not hold.

    Parameters
    ----------
    model:
        A name, or the path of a folder or zip.
    """
    from edgewise.models import package
    from edgewise.node.library import resolve

    report = package.check(resolve(model))
    if json:
        output.show_json({"passed": report.passed, **msgspec.to_builtins(report)})
    else:
        for line in report.lines:
            mark = {"passed": "[green]passed[/]", "failed": "[red]failed[/]", "skipped": "[yellow]skipped[/]"}[
                line.verdict
            ]
            output.out().print(f"{mark}  {escape(line.what)}  [dim]{escape(line.detail)}[/]")
    return 0 if report.passed else 1


@app.command
def pack(folder: Path, archive: Path, /) -> None:
    """Put a package folder into one zip file, digests sealed."""
    from edgewise.models import package

    package.pack(folder, archive)
    output.out().print(f"{escape(str(archive))}  {output.human_bytes(archive.stat().st_size)}")


@app.command
def unpack(archive: Path, folder: Path, /) -> None:
    """Take a package out of its zip file; refused whole when anything in it is wrong."""
    from edgewise.models import package

    package.unpack(archive, folder)
    output.out().print(f"{folder}", markup=False)
