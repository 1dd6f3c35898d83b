"""Tensors in and out of Open Inference requests: JSON and binary, bytes to arrays and back."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgewise.api.oip import codec
from edgewise.api.oip.structs import InferRequest, RequestOutput
from edgewise.errors import DecodeError, TensorError
from edgewise.models.manifest import Input
from edgewise.types import DATATYPES

NUMBERS = [name for name in DATATYPES if name not in {"BYTES", "FP16"}]


def body(*inputs: dict, binary: bytes = b"", **rest: object) -> tuple[memoryview, int | None]:
    header = json.dumps({"inputs": inputs, **rest}).encode()
    return memoryview(bytearray(header + binary)), len(header) if binary else None


def tensor(datatype: str, shape: list[int], data: object) -> dict:
    return {"name": "x", "datatype": datatype, "shape": shape, "data": data}


def decoded(*inputs: dict, binary: bytes = b"") -> np.ndarray:
    return codec.decode(*body(*inputs, binary=binary))[1]["x"]


@given(
    st.sampled_from(NUMBERS).flatmap(
        lambda name: hnp.arrays(
            np.dtype(DATATYPES[name]),
            hnp.array_shapes(max_dims=3, max_side=4),
            elements={"allow_nan": False, "allow_infinity": False} if name.startswith("FP") else None,
        )
    )
)
def test_every_number_survives_json_and_binary(array: np.ndarray) -> None:
    name = next(name for name, numpy_name in DATATYPES.items() if numpy_name == array.dtype.name)
    for binary in (True, False):
        request = InferRequest([], parameters={"binary_data_output": binary}, id="7")
        content, length = codec.encode(request, {"x": array}, model="m", version="1")
        answer = json.loads(content[:length])
        assert (answer["model_name"], answer["model_version"], answer["id"]) == ("m", "1", "7")
        output = answer["outputs"][0]
        given_back = {key: output[key] for key in ("name", "datatype", "shape", "parameters", "data") if key in output}
        back = decoded(given_back, binary=content[length:] if binary else b"")
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)
        assert output["datatype"] == name


@given(st.lists(st.text(max_size=5), min_size=1, max_size=5))
def test_texts_survive_json_and_binary(texts: list[str]) -> None:
    array = np.array([text.encode() for text in texts], dtype=object)
    for binary in (True, False):
        request = InferRequest([], outputs=[RequestOutput("x", {"binary_data": binary})])
        content, length = codec.encode(request, {"x": array}, model="m", version="1")
        output = json.loads(content[:length])["outputs"][0]
        back = decoded(output, binary=content[length:] if binary else b"")
        assert list(back) == [text.encode() for text in texts]


def test_nested_data_means_the_same_as_flat_data() -> None:
    flat = decoded(tensor("FP32", [2, 2], [1, 2, 3, 4.5]))
    np.testing.assert_array_equal(decoded(tensor("FP32", [2, 2], [[1, 2], [3, 4.5]])), flat)


def test_binary_tensors_are_views_of_the_body_when_it_is_aligned() -> None:
    numbers = np.arange(4, dtype="<f4")
    described = {"name": "x", "datatype": "FP32", "shape": [4], "parameters": {"binary_data_size": 16}}
    request, length = body(described, binary=numbers.tobytes())
    buffer = bytearray(-length % 16) + bytearray(request)
    view = memoryview(buffer)[-length % 16 :]
    array = codec.decode(view, length)[1]["x"]
    np.testing.assert_array_equal(array, numbers)
    view[-4:] = np.float32(9).tobytes()
    assert array[3] == 9


@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [
        ("INT8", [1], [200]),
        ("INT32", [1], [1.5]),
        ("UINT8", [1], [-1]),
        ("UINT64", [1], [2**64]),
        ("BOOL", [1], [1]),
        ("FP32", [1], [1e39]),
        ("FP32", [1], ["1"]),
        ("FP32", [2], [True, False]),
        ("FP32", [3], [1, 2]),
        ("FP32", [2, 2], [[1, 2], [3]]),
        ("FP32", [1], 1),
        ("FP32", [1], None),
        ("FP32", [1], {}),
        ("FP16", [1], [1]),
        ("BYTES", [1], [1]),
        ("BYTES", [2], ["one"]),
    ],
)
def test_data_that_do_not_fit_are_refused(datatype: str, shape: list[int], data: object) -> None:
    with pytest.raises(TensorError):
        decoded(tensor(datatype, shape, data))


@pytest.mark.parametrize(
    ("datatype", "shape", "size", "binary"),
    [
        ("FP32", [2], 8, b"1234"),
        ("FP32", [2], 4, b"1234"),
        ("FP32", [1], 4, b"12345678"),
        ("FP32", [1], -4, b"1234"),
        ("FP32", [1], "4", b"1234"),
        ("FP32", [1], True, b"1"),
        ("BOOL", [1], 1, b"\x02"),
        ("BYTES", [1], 8, b"\xff\xff\xff\xffabcd"),
        ("BYTES", [1], 3, b"abc"),
        ("BYTES", [2], 5, b"\x01\x00\x00\x00a"),
    ],
)
def test_binary_data_that_do_not_fit_are_refused(datatype: str, shape: list[int], size: object, binary: bytes) -> None:
    with pytest.raises(TensorError):
        decoded(
            {"name": "x", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}},
            binary=binary,
        )


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b'{"inputs": 1}', b'{"inputs": [{"name": "x"}]}', b'{"inputs": ' + b"[" * 100_000, b"\xff"],
)
def test_what_is_no_request_is_refused(text: bytes) -> None:
    with pytest.raises(DecodeError):
        codec.decode(memoryview(text), None)


def test_a_header_length_past_the_body_is_refused() -> None:
    with pytest.raises(DecodeError):
        codec.decode(memoryview(b"{}"), 3)
    with pytest.raises(DecodeError):
        codec.header_length(b"-1")


def test_the_same_input_twice_is_refused() -> None:
    with pytest.raises(TensorError, match="twice"):
        decoded(tensor("FP32", [1], [1]), tensor("FP32", [1], [1]))


def test_a_raw_body_takes_the_shape_of_the_only_input() -> None:
    spec = [Input(name="x", datatype="FP32", shape=(-1, 3))]
    request, arrays = codec.decode_raw(memoryview(np.zeros(6, "<f4").tobytes()), spec)
    assert arrays["x"].shape == (2, 3)
    assert request.parameters["binary_data_output"] is True
    with pytest.raises(TensorError):
        codec.decode_raw(memoryview(b"1234"), spec)


def test_classification_gives_the_best_classes_with_their_labels() -> None:
    request = InferRequest([], outputs=[RequestOutput("y", {"classification": 2})])
    scores = np.array([[0.25, 0.5, 0.125]], np.float32)
    content, _ = codec.encode(request, {"y": scores}, model="m", version="1", labels=("red", "green"))
    output = json.loads(content)["outputs"][0]
    assert output["shape"] == [1, 2]
    assert output["data"] == ["0.500000:1:green", "0.250000:0:red"]


def test_an_output_that_does_not_exist_is_named() -> None:
    with pytest.raises(TensorError, match="'z'"):
        codec.encode(InferRequest([], outputs=[RequestOutput("z")]), {"y": np.zeros(1)}, model="m", version="1")
