"""All benchmarks in turn, each in a process of its own: ``make bench``, or ``python -m benchmarks NAME``."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = {
    "start": "import, first prediction, idle node",
    "journal": "appends against a bare write + fdatasync loop",
    "uplink": "readings to the parent against MQTT: bytes, rate, catching up",
    "serve": "HTTP against raw ONNX Runtime, LitServe and MLServer",
    "streams": "cameras, sensors and models on one node",
    "rules": "a thousand rules, a thousand events a second",
    "fleet": "thousands of children on one center",
    "faces": "how well people are told apart, on the ORL faces",
    "models": "size, speed and accuracy of every model",
}


def main() -> int:
    wanted = sys.argv[1:] or list(BENCHMARKS)
    failed = []
    for name in wanted:
        print(f"\n== {name}: {BENCHMARKS[name]}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
