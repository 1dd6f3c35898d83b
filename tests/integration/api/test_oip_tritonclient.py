"""tritonclient, unmodified, against a real server."""

from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

ECHO = np.linspace(-1, 1, 2000, dtype=np.float32).reshape(2, 1000)


@pytest.fixture
def client(api) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(api.host) as client:
        yield client


def given(array: np.ndarray, datatype: str, *, name: str = "x", binary: bool = True) -> list[triton.InferInput]:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return [tensor]


def wanted(name: str = "y", **options: object) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(name, **options)]


def test_the_client_finds_everything_it_asks_for(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert not client.is_model_ready("ecko")
    assert "statistics" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("echo", "1")["inputs"][0]["name"] == "x"
    assert client.get_model_config("echo")["input"][0]["data_type"] == "TYPE_FP32"
    assert {entry["name"] for entry in client.get_model_repository_index()} >= {"echo", "words"}
    assert client.get_inference_statistics("echo")["model_stats"][0]["name"] == "echo"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_a_tensor_comes_back_in_every_form(
    client: triton.InferenceServerClient, binary_in: bool, binary_out: bool
) -> None:
    result = client.infer(
        "echo",
        given(ECHO, "FP32", binary=binary_in),
        outputs=wanted(binary_data=binary_out),
        request_id="seven",
    )
    np.testing.assert_array_equal(result.as_numpy("y"), ECHO)
    assert result.get_response()["id"] == "seven"
    assert result.get_response()["model_version"] == "1"


@pytest.mark.parametrize("request_as", [None, "gzip", "deflate"])
@pytest.mark.parametrize("response_as", [None, "gzip", "deflate"])
def test_bodies_are_compressed_both_ways(
    client: triton.InferenceServerClient, request_as: str | None, response_as: str | None
) -> None:
    result = client.infer(
        "echo",
        given(ECHO, "FP32"),
        request_compression_algorithm=request_as,
        response_compression_algorithm=response_as,
    )
    np.testing.assert_array_equal(result.as_numpy("y"), ECHO)


@pytest.mark.parametrize("binary", [True, False])
def test_texts_come_back(client: triton.InferenceServerClient, binary: bool) -> None:
    texts = np.array(["door", "", "Tür"], dtype=object)
    result = client.infer("words", given(texts, "BYTES", binary=binary), outputs=wanted(binary_data=binary))
    back = [text.decode() if isinstance(text, bytes) else text for text in result.as_numpy("y")]
    assert back == list(texts)


def test_half_precision_goes_in_binary_only(client: triton.InferenceServerClient) -> None:
    array = np.arange(8, dtype=np.float16).reshape(2, 4)
    np.testing.assert_array_equal(client.infer("half", given(array, "FP16")).as_numpy("y"), array)
    with pytest.raises(InferenceServerException, match="FP16"):
        client.infer("half", given(array, "FP16"), outputs=wanted(binary_data=False))


def test_classes_are_named(client: triton.InferenceServerClient) -> None:
    picture = np.zeros((2, 3, 32, 32), np.uint8)
    result = client.infer("colours", given(picture, "UINT8", name="picture"), outputs=wanted("scores", class_count=2))
    assert result.as_numpy("scores").tolist() == [[b"1.000000:0:red", b"1.000000:1:green"]] * 2


def test_models_are_unloaded_and_loaded(client: triton.InferenceServerClient) -> None:
    client.unload_model("words")
    assert not client.is_model_ready("words")
    with pytest.raises(InferenceServerException, match="unloaded"):
        client.infer("words", given(np.array(["a"], dtype=object), "BYTES"))
    client.load_model("words")
    assert client.is_model_ready("words")


def test_errors_say_what_is_wrong(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"\[1, 7\]") as caught:
        client.infer("echo", given(np.zeros((1, 7), np.float32), "FP32"))
    assert caught.value.status() == "400"
    with pytest.raises(InferenceServerException, match="NaN"):
        client.infer("echo", given(np.full((1, 1000), np.nan, np.float32), "FP32"))
    with pytest.raises(InferenceServerException, match="'z'"):
        client.infer("echo", given(ECHO, "FP32"), outputs=wanted("z"))


def test_many_requests_at_once_all_get_their_own_answer(api) -> None:
    with triton.InferenceServerClient(api.host, concurrency=8) as client:
        waiting = [client.async_infer("echo", given(np.full((1, 1000), n, np.float32), "FP32")) for n in range(64)]
        for number, one in enumerate(waiting):
            assert one.get_result().as_numpy("y")[0, 0] == number
