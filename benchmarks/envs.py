"""Environments of their own for the peers, since they pin what the product must not.

    python benchmarks/envs.py mlserver      # makes it if need be, prints its interpreter

An environment is made once under ``benchmarks/.envs`` and made again when its requirements change.
"""

import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parent / ".envs"
REQUIREMENTS = {
    "mlserver": (
        "mlserver==1.7.1",
        "uvloop<0.22",
        "grpcio",
        "onnxruntime",
        "numpy<2.4",
        "opencv-python-headless",
        "simplejpeg",
    ),
    "litserve": (
        "litserve==0.2.19",
        "python-multipart",
        "onnxruntime",
        "numpy",
        "opencv-python-headless",
        "simplejpeg",
    ),
}


def python_of(name: str) -> Path:
    """The interpreter of an environment, made first if need be."""
    folder = FOLDER / name
    stamp = folder / "requirements.txt"
    wanted = "\n".join(REQUIREMENTS[name])
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        command = [folder / "bin/python", "-m", "pip", "install", "--quiet", *REQUIREMENTS[name]]
        subprocess.run(command, check=True)
        stamp.write_text(wanted)
    return folder / "bin/python"


if __name__ == "__main__":
    for wanted_name in sys.argv[1:]:
        print(python_of(wanted_name))
