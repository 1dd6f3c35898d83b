"""Size, speed and stated accuracy of every variant of the zoo's models that can run here, on one core.

python -m benchmarks.models          # those that are shipped or pulled already
python -m benchmarks.models --pull   # pulls the others first
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from edgewise import runtimes, zoo
from edgewise.models.model import Model
from edgewise.models.package import load_manifest
from edgewise.node.library import default_cache

SECONDS = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pull", action="store_true", help="pull models that are not here yet")
    print("model               variant         artifact kB    p50 ms   per second  accuracy, as the manifest states it")
    for folder in folders(pull=parser.parse_args().pull):
        for line in rows(folder):
            print(line, flush=True)


def folders(*, pull: bool) -> Iterator[Path]:
    cache = default_cache()
    for entry in zoo.names():
        folder = zoo.pull(entry.name, cache) if pull else zoo.find(entry.name, cache)
        if folder is not None:
            yield folder


def rows(folder: Path) -> Iterator[str]:
    """One line per variant whose runtime is installed."""
    manifest = load_manifest(folder)
    installed = {name for name, status in runtimes.available().items() if status.installed}
    stated = next((f"{m.value} on {m.dataset}, {m.split}" for m in manifest.metrics if m.name == "accuracy"), "-")
    for variant in manifest.variants:
        if variant.runtime in installed:
            with Model.open(folder, variant=variant.name) as model:
                speed = model.benchmark(SECONDS)
            size = (folder / variant.artifact).stat().st_size / 1000
            name = f"{manifest.name:19} {variant.name:15}"
            yield f"{name} {size:11,.0f} {speed.p50_ms:9.2f} {speed.per_second:12,.0f}  {stated}"


if __name__ == "__main__":
    main()
