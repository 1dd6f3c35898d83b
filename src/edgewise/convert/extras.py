"""The libraries that converters need, each part of an extra of Edgewise."""

import importlib
from typing import Any

from edgewise.errors import MissingExtraError

_EXTRAS = {"onnx": "convert", "tflite": "convert", "torch": "torch", "onnxscript": "torch"}


def need(module: str) -> Any:
    """Imports a library.

    Raises:
        MissingExtraError: It is not installed; the hint is the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        raise MissingExtraError(
            f"Converting needs {top}, which is not installed", hint=f"pip install 'edgewise[{_EXTRAS[top]}]'"
        ) from error
