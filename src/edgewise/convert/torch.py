"""PyTorch to ONNX, by PyTorch's own exporter, without its talk."""

from __future__ import annotations

import contextlib
import logging
import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewise.convert.extras import need
from edgewise.errors import EngineError, PackageError

if TYPE_CHECKING:
    from torch import nn

    from edgewise.types import Array

OPSET = 18


def load_weights(source: Path) -> dict[str, Any]:
    """The tensors of a ``.pth`` file by name. Nothing in the file is executed.

    Raises:
        MissingExtraError: The extra ``torch`` is not installed.
        PackageError: The file is damaged, or holds something else than tensors.
    """
    torch = need("torch")
    try:
        with _quiet():
            weights = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise PackageError(f"{source.name} is no file of weights: {_first_line(error)}", file=source.name) from error
    if not isinstance(weights, dict) or not all(torch.is_tensor(value) for value in weights.values()):
        raise PackageError(f"{source.name} holds something else than tensors by name", file=source.name)
    return dict(weights)


def convert(
    module: nn.Module,
    example: Mapping[str, Array],
    target: Path,
    *,
    outputs: Sequence[str],
    dynamic_batch: bool = True,
    opset: int = OPSET,
) -> None:
    """Writes the ONNX form of a network, weights included, as one file.

    Args:
        module: Is put into evaluation mode.
        example: Inputs by the names they shall have, in the order that ``forward`` takes them. With a dynamic batch, of
            at least two items, for the exporter takes a size of one for a constant.
        target: The ``.onnx`` file.
        outputs: Names for what ``forward`` returns.
        dynamic_batch: Lets the first axis of all inputs have any size.
        opset: Version of the ONNX operators.

    Raises:
        MissingExtraError: The extra ``torch`` is not installed.
        EngineError: PyTorch cannot export this network.
    """
    torch = need("torch")
    for module_name in ("onnx", "onnxscript"):
        need(module_name)
    arguments = tuple(torch.from_numpy(array) for array in example.values())
    axes = tuple({0: torch.export.Dim("batch")} for _ in arguments) if dynamic_batch else None
    with _quiet():
        try:
            torch.onnx.export(
                module.eval(),
                arguments,
                str(target),
                input_names=list(example),
                output_names=list(outputs),
                dynamic_shapes=axes,
                opset_version=opset,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise EngineError(f"PyTorch cannot export this network: {_first_line(error)}") from error


def run(module: nn.Module, inputs: Mapping[str, Array], *, outputs: Sequence[str]) -> dict[str, Array]:
    """What the network computes in PyTorch: the original that a conversion is compared with."""
    torch = need("torch")
    with torch.inference_mode():
        results = module.eval()(*(torch.from_numpy(array) for array in inputs.values()))
    results = results if isinstance(results, (tuple, list)) else [results]
    return {name: result.numpy() for name, result in zip(outputs, results, strict=True)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's notes about its own inner workings from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
