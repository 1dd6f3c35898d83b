"""Health, metadata, configuration, statistics and repository of the Open Inference Protocol."""

import httpx


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
