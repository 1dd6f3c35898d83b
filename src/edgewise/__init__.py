"""Edgewise: deep-learning models that run next to the sensor.

>>> import edgewise
>>> model = edgewise.load("cifar10-resnet")
>>> model.predict("frog.png")  # doctest: +SKIP

Importing this package loads nothing heavy; each name below is fetched when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgewise.errors import EdgewiseError as EdgewiseError
    from edgewise.models.model import Model as Model
    from edgewise.models.prediction import Prediction as Prediction
    from edgewise.node.library import load as load

__version__ = "0.1.0"

_WHERE = {
    "EdgewiseError": "edgewise.errors",
    "Model": "edgewise.models.model",
    "Prediction": "edgewise.models.prediction",
    "load": "edgewise.node.library",
}

__all__ = ["EdgewiseError", "Model", "Prediction", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'edgewise' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
