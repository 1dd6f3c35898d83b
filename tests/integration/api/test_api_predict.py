"""Predicting over HTTP: every form in which a picture may come."""

import base64

import cv2
import httpx
import numpy as np
import pytest

PATH = "/v1/models/colours/predict"


@pytest.fixture(scope="module")
def jpeg() -> bytes:
    return cv2.imencode(".jpg", np.full((48, 64, 3), 128, np.uint8))[1].tobytes()


def first_label(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]["labels"][0]["name"]


def test_a_picture_comes_raw_as_json_and_in_a_form(http: httpx.Client, jpeg: bytes) -> None:
    raw = http.post(PATH, content=jpeg, headers={"content-type": "image/jpeg"})
    as_json = http.post(PATH, json={"image": base64.b64encode(jpeg).decode()})
    form = http.post(PATH, files={"file": ("door.jpg", jpeg, "image/jpeg")})
    assert [first_label(answer) for answer in (raw, as_json, form)] == ["red"] * 3
    body = raw.json()
    assert (body["model"], body["version"], body["variant"]) == ("colours", "1", "fake")
    assert body["result"]["task"] == "classification"
    assert set(body["timing"]) == {"preprocess_ms", "infer_ms", "decode_ms"}


def test_options_of_the_task_come_in_the_query(http: httpx.Client, jpeg: bytes) -> None:
    answer = http.post(PATH, params={"top": 1}, content=jpeg)
    assert len(answer.json()["result"]["labels"]) == 1
    for query in ({"tops": 1}, {"top": "many"}, {"top": 0}, {"raw": 1}, {"landmarks": "[]"}, {"draw": "perhaps"}):
        refused = http.post(PATH, params=query, content=jpeg)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "input_invalid"), query


def test_the_picture_comes_back_drawn_when_asked(http: httpx.Client, jpeg: bytes) -> None:
    drawn = http.post(PATH, params={"draw": 1}, content=jpeg).json()["picture"]
    assert cv2.imdecode(np.frombuffer(base64.b64decode(drawn), np.uint8), cv2.IMREAD_COLOR) is not None
    assert "picture" not in http.post(PATH, content=jpeg).json()


@pytest.mark.parametrize(
    ("status", "code", "request_"),
    [
        (400, "undecodable", {"content": b""}),
        (400, "undecodable", {"content": b"no picture"}),
        (400, "undecodable", {"content": b"{", "headers": {"content-type": "application/json"}}),
        (400, "undecodable", {"json": {"image": "%%%"}}),
        (400, "undecodable", {"json": {"picture": "eA=="}}),
        (400, "input_invalid", {"json": {}}),
        (400, "input_invalid", {"files": {"photo": b"x"}}),
        (400, "undecodable", {"content": b"--x", "headers": {"content-type": "multipart/form-data; boundary=x"}}),
        (400, "undecodable", {"content": b"--x", "headers": {"content-type": "multipart/form-data"}}),
        (415, "unsupported_media_type", {"content": b"x", "headers": {"content-type": "video/mp4"}}),
    ],
)
def test_what_is_no_picture_is_refused(http: httpx.Client, status: int, code: str, request_: dict) -> None:
    answer = http.post(PATH, **request_)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_wrong_name_is_told_the_nearest(http: httpx.Client, jpeg: bytes) -> None:
    answer = http.post("/v1/models/colour/predict", content=jpeg)
    assert answer.status_code == 404
    assert "colours" in answer.json()["error"]["hint"]
    assert http.get(PATH).status_code == 405


def test_a_body_past_the_bound_is_refused_before_it_is_read(http: httpx.Client) -> None:
    answer = http.post(PATH, content=b"x" * (4 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_predictions_are_counted(http: httpx.Client, jpeg: bytes) -> None:
    http.post(PATH, content=jpeg)
    detail = http.get("/v1/models/colours").json()
    assert (detail["variant"], detail["provider"], detail["fallback"]) == ("fake", "cpu", "")
    assert detail["statistics"]["count"] >= 1
    assert detail["statistics"]["latency_ms"]["p50"] > 0
    metrics = http.get("/metrics").text
    assert 'edgewise_request_seconds_bucket{le="+Inf",model="colours"}' in metrics
    assert 'edgewise_http_requests_total{area="v1",status="200"}' in metrics
    assert "colours" in http.get("/v1/system").json()["series"]["latency_ms"]
