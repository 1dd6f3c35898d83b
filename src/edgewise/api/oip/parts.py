"""A batch of tensors as several inference requests, and their answers as one. Pure.

Only what is a batch by the model's own word is split: every input and output has an open first dimension, all inputs
have the same number of rows, and nothing is asked for but numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgewise.api.oip import codec
from edgewise.api.oip.structs import InferRequest, InferResponse, RequestInput, RequestOutput
from edgewise.errors import UnavailableError
from edgewise.types import DATATYPES

if TYPE_CHECKING:
    from edgewise.types import Array

_BINARY = {"binary_data": True}


def rows_of(request: InferRequest, arrays: Mapping[str, Array], *, open_first: bool) -> int:
    """How many rows a request may be split by; 1 when it is to stay whole.

    Args:
        request: As it was decoded.
        arrays: Its inputs.
        open_first: Whether the first dimension of each of the model's inputs and outputs is open.
    """
    if not open_first or not arrays or any(array.dtype == object or not array.ndim for array in arrays.values()):
        return 1
    if any("classification" in output.parameters for output in request.outputs or ()):
        return 1
    rows = {array.shape[0] for array in arrays.values()}
    return rows.pop() if len(rows) == 1 else 1


def part_of(request: InferRequest, arrays: Mapping[str, Array], first: int, end: int) -> tuple[bytes, int]:
    """The request for some of the rows, with binary tensors both ways: the body, and where its JSON ends."""
    inputs, pieces = [], []
    for tensor in request.inputs:
        rows = arrays[tensor.name][first:end]
        parameters = {"binary_data_size": rows.nbytes}
        inputs.append(RequestInput(tensor.name, list(rows.shape), tensor.datatype, parameters))
        pieces.append(rows.tobytes())
    outputs = [RequestOutput(output.name, _BINARY) for output in request.outputs] if request.outputs else None
    parameters = {**request.parameters, "binary_data_output": True}
    head = msgspec.json.encode(InferRequest(inputs, parameters=parameters, outputs=outputs))
    return b"".join([head, *pieces]), len(head)


def outputs_of(body: bytes, json_length: int | None) -> tuple[InferResponse, dict[str, Array]]:
    """The output tensors of a part's answer.

    Raises:
        UnavailableError: It is no such answer.
    """
    try:
        head = msgspec.json.decode(body[: len(body) if json_length is None else json_length], type=InferResponse)
        arrays: dict[str, Array] = {}
        offset = json_length or 0
        for output in head.outputs:
            size: Any = output.parameters["binary_data_size"]
            data = body[offset : offset + size]
            arrays[output.name] = np.frombuffer(data, DATATYPES[output.datatype]).reshape(output.shape)
            offset += size
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise UnavailableError(f"A node's answer cannot be read: {error}") from error
    return head, arrays


def joined(
    request: InferRequest, answers: Sequence[tuple[InferResponse, dict[str, Array]]], sizes: Sequence[int]
) -> tuple[bytes, int | None]:
    """The answer to the whole request, rows in their order; as ``codec.encode``.

    Args:
        request: The whole.
        answers: Of its parts, in order.
        sizes: Rows of each part.

    Raises:
        UnavailableError: The parts do not fit together.
    """
    head, outputs = answers[0][0], {}
    for name in answers[0][1]:
        pieces = [arrays.get(name) for _, arrays in answers]
        whole = [
            piece for piece, size in zip(pieces, sizes, strict=True) if piece is not None and piece.shape[:1] == (size,)
        ]
        if len(whole) != len(pieces):
            raise UnavailableError(f"Answers of several nodes do not fit together at {name!r}")
        outputs[name] = np.concatenate(whole)
    return codec.encode(request, outputs, model=head.model_name, version=head.model_version)
