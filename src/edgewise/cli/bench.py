"""``edgewise bench``: measure a model's variants on this machine, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators
from rich.markup import escape

from edgewise.cli import output
from edgewise.cli.options import JsonFlag
from edgewise.errors import MissingExtraError

if TYPE_CHECKING:
    from edgewise.models.prediction import Benchmark
    from edgewise.runtimes.base import SessionOptions


def bench(
    model: str,
    /,
    *,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=3600))] = 3.0,
    threads: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=256))] = 1,
    provider: str = "auto",
    json: JsonFlag = False,
) -> None:
    """Measure a model's variants on this machine: latency and calls per second.

    Variants whose runtime is not installed are left out, and said so; exit code 4 when none is left.

    Parameters
    ----------
    model:
        A name from ``edgewise pull --list``, or the path of a package (folder or zip).
    seconds:
        Time given to each variant.
    threads:
        Threads inside one call.
    provider:
        Hardware to run on, as ``edgewise doctor`` names it; ``auto`` takes the best there is.
    """
    from edgewise.models import package
    from edgewise.node.library import resolve
    from edgewise.runtimes.base import SessionOptions

    with package.opened(resolve(model)) as folder:
        measured = _measure(folder, seconds, SessionOptions(threads=threads, provider=provider))
    if json:
        output.show_json(measured)
        return
    output.show_table(
        ("variant", "runs on", "per second", "mean", "p50", "p99", "calls"),
        [
            (
                benchmark.variant,
                benchmark.provider,
                f"{benchmark.per_second:.1f}",
                f"{benchmark.mean_ms:.2f} ms",
                f"{benchmark.p50_ms:.2f} ms",
                f"{benchmark.p99_ms:.2f} ms",
                benchmark.calls,
            )
            for benchmark in measured.values()
        ],
    )


def _measure(folder: Path, seconds: float, options: SessionOptions) -> dict[str, Benchmark]:
    from edgewise.models.model import Model
    from edgewise.models.package import load_manifest

    measured: dict[str, Benchmark] = {}
    missing: list[MissingExtraError] = []
    for variant in load_manifest(folder).variants:
        try:
            with (
                output.err().status(f"Measuring {variant.name} …"),
                Model.open(folder, variant=variant.name, options=options) as opened,
            ):
                measured[variant.name] = opened.benchmark(seconds)
                output.note_fallback(opened.session)
        except MissingExtraError as error:
            output.note(f"[yellow]left out[/] {escape(f'{variant.name}: {error.message}  → {error.hint}')}")
            missing.append(error)
    if missing and not measured:
        raise missing[0]
    return measured
