"""Two years of four real wind turbines as CSV files that the example replays: ``turbines/R80711.csv`` and so on.

    python prepare.py

Fetches the Python package ``openoa`` 3.2 by pip (54 MB), in which ENGIE's open data of La Haute Borne stands
(Etalab 2.0), and takes the readings out of it.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "scripts"))

from datasets import turbines  # noqa: E402
from edgewise.series.table import write_csv  # noqa: E402


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    folder = HERE / "turbines"
    folder.mkdir(exist_ok=True)
    for turbine, block in turbines().items():
        with (folder / f"{turbine}.csv").open("w") as file:
            write_csv(file, block)
        print(f"{folder / turbine}.csv: {len(block.times_ns)} readings")


if __name__ == "__main__":
    main()
