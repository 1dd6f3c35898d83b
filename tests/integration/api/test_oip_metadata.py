"""Health, metadata, configuration, statistics and repository of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from edgewise.testing.packages import write_echo

if TYPE_CHECKING:
    from conftest import LiveServer


def test_the_server_names_itself_and_its_extensions(http: httpx.Client) -> None:
    answer = http.get("/v2").json()
    assert answer["name"] == "edgewise"
    assert "binary_tensor_data" in answer["extensions"]
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True}


def test_a_model_describes_its_tensors(http: httpx.Client) -> None:
    answer = http.get("/v2/models/echo").json()
    assert answer == http.get("/v2/models/echo/versions/1").json()
    assert answer["versions"] == ["1"]
    assert answer["platform"] == "fake_json"
    assert answer["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 1000]}]
    assert answer["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 1000]}]


def test_the_configuration_leaves_the_batch_out_of_the_dimensions(http: httpx.Client) -> None:
    answer = http.get("/v2/models/echo/config").json()
    assert answer["max_batch_size"] > 0
    assert answer["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [1000]}]


def test_what_does_not_exist_is_told_in_the_protocols_form(http: httpx.Client) -> None:
    for path in ("/v2/models/ecko", "/v2/models/echo/versions/7", "/v2/nothing", "/v2/models/echo/nothing"):
        answer = http.get(path)
        assert answer.status_code == 404
        assert isinstance(answer.json()["error"], str)
    assert "echo" in http.get("/v2/models/ecko").json()["error"]


def test_a_wrong_method_is_told_which_one_is_right(http: httpx.Client) -> None:
    answer = http.post("/v2/health/live")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_a_model_is_unloaded_loaded_and_listed(http: httpx.Client) -> None:
    def state() -> str:
        index = http.post("/v2/repository/index").json()
        return next(entry["state"] for entry in index if entry["name"] == "half")

    assert http.post("/v2/repository/models/half/unload", json={"parameters": {}}).status_code == 200
    assert state() == "UNAVAILABLE"
    assert http.get("/v2/models/half/ready").status_code == 503
    assert [e for e in http.post("/v2/repository/index", json={"ready": True}).json() if e["name"] == "half"] == []
    assert http.post("/v2/repository/models/half/load").status_code == 200
    assert state() == "READY"
    assert http.get("/v2/models/half/ready").json() == {"name": "half", "ready": True}


def test_statistics_count_what_was_answered_and_what_failed(http: httpx.Client) -> None:
    def figures() -> dict:
        return http.get("/v2/models/broken/stats").json()["model_stats"][0]

    before = figures()["inference_stats"]["fail"]["count"]
    request = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
    assert http.post("/v2/models/broken/infer", json=request).status_code == 500
    assert figures()["inference_stats"]["fail"]["count"] == before + 1
    assert {one["name"] for one in http.get("/v2/models/stats").json()["model_stats"]} >= {"echo", "broken"}


def test_asking_whether_a_model_is_ready_loads_nothing_and_agrees_with_the_index(
    start_api: Callable[..., LiveServer], tmp_path: Path
) -> None:
    server = start_api("http: {port: 0}")
    server.node.repository.add(write_echo(tmp_path, "later"))
    with httpx.Client(base_url=server.address, timeout=20) as client:

        def asked() -> tuple[int, bool]:
            answer = client.get("/v2/models/later/ready")
            assert answer.json()["name"] == "later"
            assert client.get("/v2/models/later/versions/1/ready").status_code == answer.status_code
            return answer.status_code, answer.json()["ready"]

        def listed() -> tuple[str, str]:
            index = client.post("/v2/repository/index").json()
            return next((entry["state"], entry["reason"]) for entry in index if entry["name"] == "later")

        assert asked() == (503, False)
        assert listed() == ("UNAVAILABLE", "loaded when first used")
        request = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1000], "data": [0.5] * 1000}]}
        assert client.post("/v2/models/later/infer", json=request).status_code == 200
        assert asked() == (200, True)
        assert listed() == ("READY", "")
        client.post("/v2/repository/models/later/unload")
        assert asked() == (503, False)
        assert client.get("/v2/models/latre/ready").status_code == 404


def test_figures_also_stand_under_a_whole_number_since_tritons_tools_read_versions_so(http: httpx.Client) -> None:
    def versions(path: str) -> list[str]:
        return [one["version"] for one in http.get(path).json()["model_stats"]]

    assert versions("/v2/models/cifar10-resnet/stats") == ["1.0.0", "1"]
    assert versions("/v2/models/cifar10-resnet/versions/1.0.0/stats") == ["1.0.0", "1"]
    assert versions("/v2/models/echo/stats") == ["1"]
