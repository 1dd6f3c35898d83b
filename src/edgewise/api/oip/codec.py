"""Tensors in and out of a request: JSON, and the binary tensor extension. Pure: bytes to arrays, arrays to bytes.

The binary extension puts raw little-endian tensors behind the JSON; the header ``Inference-Header-Content-Length`` says
where the JSON ends and ``binary_data_size`` how long each tensor is. Arrays are views of the body, never copies, unless
their address is not aligned for their datatype.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgewise.api.oip.structs import InferRequest, InferResponse, RequestInput, RequestOutput, ResponseOutput
from edgewise.errors import DecodeError, TensorError
from edgewise.types import DATATYPES

if TYPE_CHECKING:
    from edgewise.models.manifest import Input
    from edgewise.types import Array

_BY_NUMPY: dict[np.dtype[Any], str] = {np.dtype(name): datatype for datatype, name in DATATYPES.items()}
_DTYPES: dict[str, np.dtype[Any]] = {datatype: np.dtype(name) for datatype, name in DATATYPES.items()}
_LENGTH = np.dtype("<u4")
# What numpy makes of JSON values that may stand for a tensor of this kind: no 1.5 for an integer, no 1 for a truth.
_JSON_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "fiu"}

_decoder = msgspec.json.Decoder(InferRequest)
_encoder = msgspec.json.Encoder()


def header_length(value: bytes) -> int | None:
    """The value of ``Inference-Header-Content-Length``; None when it is absent.

    Raises:
        DecodeError: It is no number.
    """
    if not value:
        return None
    if not value.isdigit() or len(value) > 12:
        raise DecodeError("Inference-Header-Content-Length is not a number of bytes")
    return int(value)


def decode(body: memoryview, json_length: int | None) -> tuple[InferRequest, dict[str, Array]]:
    """A request and its input arrays.

    Args:
        body: The whole body.
        json_length: Where its JSON part ends; None when it has no binary part.

    Raises:
        DecodeError: It is no JSON, or not of the protocol's form.
        TensorError: A tensor's data does not fit its datatype or shape.
    """
    if json_length is not None and json_length > len(body):
        raise DecodeError(f"Inference-Header-Content-Length is {json_length}, but the body has {len(body)} bytes")
    try:
        request = _decoder.decode(body[:json_length])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"The inference request cannot be read: {error}") from error
    return request, _arrays(request.inputs, body[len(body) if json_length is None else json_length :])


def decode_raw(body: memoryview, specs: Sequence[Input]) -> tuple[InferRequest, dict[str, Array]]:
    """A body that is nothing but one tensor (``Inference-Header-Content-Length: 0``), for a model with one input.

    Raises:
        TensorError: The model has several inputs, or the size cannot be one of its shapes.
    """
    if len(specs) != 1 or specs[0].datatype == "BYTES":
        raise TensorError("A raw binary request is for models with one input of numbers")
    spec = specs[0]
    dtype = _DTYPES[spec.datatype]
    shape = list(spec.shape)
    if shape.count(-1) > 1:
        shape[0] = 1
    known = math.prod(size for size in shape if size >= 0) * dtype.itemsize
    if shape.count(-1) > 1 or known == 0 or len(body) % known or (-1 not in shape and len(body) != known):
        raise _wrong_size(spec.name, known, len(body))
    shape = [len(body) // known if size < 0 else size for size in shape]
    wanted = RequestInput(spec.name, shape, spec.datatype)
    request = InferRequest(inputs=[wanted], parameters={"binary_data_output": True})
    return request, {spec.name: _from_binary(wanted, body)}


def _arrays(inputs: Sequence[RequestInput], binary: memoryview) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    offset = 0
    for tensor in inputs:
        if tensor.name in arrays:
            raise TensorError(f"Input {tensor.name!r} is given twice", tensor=tensor.name)
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            arrays[tensor.name] = _from_json(tensor)
            continue
        if type(size) is not int or not 0 <= size <= len(binary) - offset:
            raise _wrong_size(tensor.name, size, len(binary) - offset)
        arrays[tensor.name] = _from_binary(tensor, binary[offset : offset + size])
        offset += size
    if offset != len(binary):
        raise TensorError(f"{len(binary) - offset} bytes of the binary part belong to no input")
    return arrays


def _wrong_size(name: str, expected: object, actual: int) -> TensorError:
    return TensorError(
        f"Input {name!r} needs {expected} bytes of binary data, there are {actual}",
        tensor=name,
        expected=expected,
        actual=actual,
    )


def _from_binary(tensor: RequestInput, data: memoryview) -> Array:
    if tensor.datatype == "BYTES":
        return _bytes_from_binary(tensor, data)
    dtype = _DTYPES[tensor.datatype]
    needed = math.prod(tensor.shape) * dtype.itemsize
    if needed != len(data):
        raise _wrong_size(tensor.name, needed, len(data))
    array = np.ndarray(tensor.shape, dtype, data)
    if tensor.datatype == "BOOL" and array.size and array.view(np.uint8).max() > 1:
        raise TensorError(f"Input {tensor.name!r} has BOOL values other than 0 and 1", tensor=tensor.name)
    return array if array.flags.aligned else array.copy()


def _bytes_from_binary(tensor: RequestInput, data: memoryview) -> Array:
    """BYTES elements: each a little-endian 32-bit length and that many bytes."""
    elements: list[bytes] = []
    offset = 0
    while offset < len(data):
        start = offset + _LENGTH.itemsize
        length = int.from_bytes(data[offset:start], "little")
        if start + length > len(data):
            raise _wrong_size(tensor.name, start + length, len(data))
        elements.append(bytes(data[start : start + length]))
        offset = start + length
    return _object_array(tensor, elements)


def _object_array(tensor: RequestInput, elements: list[Any]) -> Array:
    if len(elements) != math.prod(tensor.shape):
        raise _wrong_count(tensor, len(elements))
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(tensor.shape)


def _wrong_count(tensor: RequestInput, actual: int) -> TensorError:
    return TensorError(
        f"Input {tensor.name!r} has {actual} elements, its shape {tensor.shape} needs {math.prod(tensor.shape)}",
        tensor=tensor.name,
        expected=tensor.shape,
        actual=actual,
    )


def _from_json(tensor: RequestInput) -> Array:
    """A tensor from nested or flat lists."""
    if tensor.data is msgspec.UNSET:
        raise TensorError(f"Input {tensor.name!r} has neither data nor binary_data_size", tensor=tensor.name)
    if not isinstance(tensor.data, list):
        raise TensorError(f"The data of input {tensor.name!r} is not a list", tensor=tensor.name)
    if tensor.datatype == "BYTES":
        return _object_array(tensor, list(_texts(tensor, tensor.data)))
    if tensor.datatype == "FP16":
        raise TensorError(
            f"Input {tensor.name!r}: FP16 has no JSON form", hint="Send it as binary data.", tensor=tensor.name
        )
    dtype = _DTYPES[tensor.datatype]
    try:
        array = np.array(tensor.data) if tensor.data else np.empty(0, dtype)
        if dtype == np.uint64 and array.dtype.kind == "f":
            array = _wide_integers(tensor.data)
        if array.dtype.kind not in _JSON_KINDS[dtype.kind]:
            raise TensorError(
                f"The data of input {tensor.name!r} are not all {tensor.datatype} values", tensor=tensor.name
            )
        array = _narrowed(array, dtype)
    except (ValueError, OverflowError, TypeError) as error:
        raise TensorError(f"The data of input {tensor.name!r} make no tensor: {error}", tensor=tensor.name) from error
    if array.size != math.prod(tensor.shape):
        raise _wrong_count(tensor, array.size)
    return array.reshape(tensor.shape)


def _wide_integers(data: list[Any]) -> Array:
    """Integers on both sides of 2**63, of which numpy by itself makes floats."""
    array = np.array(data, dtype=object)
    if all(type(value) is int for value in array.ravel()):
        return array.astype(np.uint64)
    return array


def _narrowed(array: Array, dtype: np.dtype[Any]) -> Array:
    """``array`` as ``dtype``; raises OverflowError where a value is outside its range."""
    if dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise OverflowError(f"a value is outside {limits.min}..{limits.max}")
    with np.errstate(over="raise"):
        try:
            return array.astype(dtype)
        except FloatingPointError as error:
            raise OverflowError(f"a value is too large for {dtype.name}") from error


def _texts(tensor: RequestInput, data: list[Any]) -> Sequence[bytes]:
    found: list[bytes] = []
    waiting: list[Any] = [data]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(reversed(item))
        elif isinstance(item, str):
            found.append(item.encode())
        else:
            raise TensorError(f"The data of input {tensor.name!r} are not all strings", tensor=tensor.name)
    return found


def encode(
    request: InferRequest,
    outputs: Mapping[str, Array],
    *,
    model: str,
    version: str,
    labels: Sequence[str] = (),
) -> tuple[bytes, int | None]:
    """The answer's body, and where its JSON part ends when a binary part follows.

    Raises:
        TensorError: An output that is asked for does not exist, or has no JSON form.
    """
    wanted = request.outputs or [RequestOutput(name) for name in outputs]
    binary_default = request.parameters.get("binary_data_output", False) is True
    described: list[ResponseOutput] = []
    parts: list[Any] = []
    for output in wanted:
        name, parameters = output.name, output.parameters
        if name not in outputs:
            raise TensorError(f"No output is named {name!r}", hint=f"Outputs: {', '.join(outputs)}", tensor=name)
        array = outputs[name]
        if "classification" in parameters:
            array = _classified(output, array, labels)
        datatype = _BY_NUMPY[array.dtype]
        if parameters.get("binary_data", binary_default) is True:
            part = _to_binary(array)
            described.append(ResponseOutput(name, datatype, array.shape, {"binary_data_size": part.nbytes}))
            parts.append(part)
        else:
            described.append(ResponseOutput(name, datatype, array.shape, data=_to_json(output, array)))
    header = _encoder.encode(InferResponse(model, version, described, request.id))
    if not parts:
        return header, None
    return b"".join([header, *parts]), len(header)


def _to_binary(array: Array) -> Array | memoryview:
    """What ``join`` takes without a copy, and what knows its ``nbytes``."""
    if array.dtype.hasobject:
        elements = [_as_bytes(element) for element in array.ravel()]
        return memoryview(b"".join(len(element).to_bytes(4, "little") + element for element in elements))
    return np.ascontiguousarray(array)


def _as_bytes(element: object) -> bytes:
    return element if isinstance(element, bytes) else str(element).encode()


def _to_json(output: RequestOutput, array: Array) -> list[Any]:
    """Flat data, row-major. A value JSON has no word for (NaN, infinity) becomes null."""
    if array.dtype == np.float16:
        raise TensorError(
            f"Output {output.name!r}: FP16 has no JSON form", hint="Ask for it as binary data.", tensor=output.name
        )
    if array.dtype != object:
        flat: list[Any] = array.ravel().tolist()
        return flat
    try:
        return [_as_bytes(element).decode() for element in array.ravel()]
    except UnicodeDecodeError as error:
        raise TensorError(
            f"Output {output.name!r} is no UTF-8 text", hint="Ask for it as binary data.", tensor=output.name
        ) from error


def _classified(output: RequestOutput, array: Array, labels: Sequence[str]) -> Array:
    """Triton's classification extension: the best ``k`` of each row as ``score:index:label``."""
    count = output.parameters["classification"]
    if type(count) is not int or count < 0:
        raise TensorError(f"Output {output.name!r}: classification is not a number of classes", tensor=output.name)
    if not count:
        return array
    if array.dtype == object or array.ndim == 0 or array.size == 0:
        raise TensorError(f"Output {output.name!r} cannot be classified", tensor=output.name)
    rows = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(1, -1)
    best = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :count]
    texts = np.empty(best.shape, dtype=object)
    for row, indices in enumerate(best):
        for column, index in enumerate(indices):
            label = f":{labels[index]}" if index < len(labels) else ""
            texts[row, column] = f"{rows[row, index]:f}:{index}{label}".encode()
    return texts.reshape((*array.shape[:-1], best.shape[1]))
