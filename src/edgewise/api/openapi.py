"""The OpenAPI document: what Litestar says of its routes, joined with the routes on raw ASGI and the error bodies."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

import msgspec

from edgewise.api import predict
from edgewise.api.errors import ErrorBody, OipErrorBody
from edgewise.api.oip import structs

_REF = "#/components/schemas/{name}"
_ANY_BYTES = {"type": "string", "format": "binary"}
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}}
_STRUCTS = (
    ErrorBody,
    OipErrorBody,
    predict.PredictRequest,
    predict.PredictResponse,
    structs.InferRequest,
    structs.InferResponse,
    structs.ServerMetadata,
    structs.ServerLive,
    structs.ServerReady,
    structs.ModelMetadata,
    structs.ModelReady,
    structs.ModelConfig,
    structs.StatisticsResponse,
    structs.IndexRequest,
    structs.IndexEntry,
    structs.RepositoryRequest,
)
# Request bodies with unknown fields are refused; Litestar does not say so.
_STRICT = {
    "AccountChange",
    "AccountRequest",
    "CommandRequest",
    "ExportRequest",
    "JoinTokenRequest",
    "Succession",
    "NodeChange",
    "PasswordRequest",
    "PredictRequest",
    "PreferencesRequest",
    "QueryRequest",
    "SessionRequest",
    "Threshold",
    "TokenRequest",
}
# Bodies that Litestar cannot know: the handlers read them themselves.
_BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("/v1/people", "post"): {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "photos": {"type": "array", "items": _ANY_BYTES, "minItems": 1},
                    "preferences": {"type": "string", "description": "A JSON object."},
                },
                "required": ["name", "photos"],
            }
        }
    },
    ("/v1/cameras/{name}/frames", "post"): {"image/*": {"schema": _ANY_BYTES}},
    ("/v1/cameras/{name}/webrtc", "post"): {"application/sdp": {"schema": {"type": "string"}}},
}


def document(of_litestar: dict[str, Any]) -> bytes:
    """The whole document, as JSON.

    Args:
        of_litestar: What Litestar made of its own routes.
    """
    schemas, raw = _raw()
    whole = {**of_litestar, "paths": {**of_litestar["paths"], **raw}}
    whole["components"] = {
        **of_litestar.get("components", {}),
        "schemas": {**of_litestar.get("components", {}).get("schemas", {}), **schemas},
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    }
    for name, schema in whole["components"]["schemas"].items():
        if name.rpartition(".")[2] in _STRICT:
            schema["additionalProperties"] = False
    for path, operations in whole["paths"].items():
        for method, operation in operations.items():
            if method in {"get", "post", "put", "patch", "delete"}:
                _complete(path, method, operation)
    return msgspec.json.encode(whole)


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    """Adds what every operation has: the error bodies, and bodies that only the handler knows."""
    body = _ref(OipErrorBody if path.removeprefix("/v1/spread").startswith("/v2") else ErrorBody)
    responses = {status: answer for status, answer in operation["responses"].items() if not status.startswith("4")}
    responses.get("204", {}).pop("content", None)
    error = {"content": {"application/json": {"schema": body}}}
    responses["4XX"] = {"description": "The request cannot be served as it is.", **error}
    responses.setdefault("503", {"description": "Not now: try again later.", **error})
    responses["507"] = {"description": "The disk, or its bound, is full.", **error}
    operation["responses"] = responses
    if (path, method) in _BODIES:
        operation["requestBody"] = {"required": True, "content": _BODIES[path, method]}


@cache
def _raw() -> tuple[dict[str, Any], dict[str, Any]]:
    """Schemas and paths of the routes on raw ASGI."""
    _, schemas = msgspec.json.schema_components(_STRUCTS, ref_template=_REF)
    inference = _open_inference()
    # The same, on several nodes.
    spread = {f"/v1/spread{path}": inference[path] for path in inference if path.endswith("/infer")}
    spread["/v1/spread/v1/models/{name}/predict"] = {
        "post": {**_predict(), "summary": "Predict, spread", "operationId": "predict_spread"}
    }
    return schemas, deepcopy({"/v1/models/{name}/predict": {"post": _predict()}, **inference, **spread})


def _ref(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": _REF.format(name=kind.__name__)}


def _predict() -> dict[str, Any]:
    number = {"type": "number", "minimum": 0, "maximum": 1}
    query: list[tuple[str, dict[str, Any], str]] = [
        ("draw", {"type": "string", "enum": ["0", "1"]}, "1 adds the picture with the result drawn on it."),
        ("version", {"type": "string"}, "A version other than the default."),
        ("top", {"type": "integer", "minimum": 1, "maximum": 10_000}, "Labels given at most (classification)."),
        ("threshold", number, "Scores below are left out."),
    ]
    form = {"type": "object", "properties": {"file": _ANY_BYTES}, "required": ["file"]}
    return {
        "tags": ["models"],
        "summary": "Predict",
        "description": "A picture or a series in, a typed result out.",
        "operationId": "predict",
        "parameters": [
            _NAME,
            *(
                {"name": name, "in": "query", "required": False, "schema": schema, "description": text}
                for name, schema, text in query
            ),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/*": {"schema": _ANY_BYTES},
                "application/octet-stream": {"schema": _ANY_BYTES},
                "text/csv": {"schema": {"type": "string"}},
                "application/json": {"schema": _ref(predict.PredictRequest)},
                "multipart/form-data": {"schema": form},
            },
        },
        "responses": {"200": _answer(_ref(predict.PredictResponse))},
    }


def _open_inference() -> dict[str, Any]:
    paths = {
        "/v2": {"get": _operation("Server metadata", structs.ServerMetadata)},
        "/v2/health/live": {"get": _operation("Server live", structs.ServerLive)},
        "/v2/health/ready": {"get": _operation("Server ready", structs.ServerReady, unready=structs.ServerReady)},
        "/v2/models/stats": {"get": _operation("Statistics of all models", structs.StatisticsResponse)},
        "/v2/repository/index": {"post": _index()},
        "/v2/repository/models/{name}/load": {"post": _control("Load a model")},
        "/v2/repository/models/{name}/unload": {"post": _control("Unload a model")},
    }
    either = {"anyOf": [_ref(structs.ModelMetadata), _ref(structs.StatisticsResponse)]}
    for prefix, parameters in (
        ("/v2/models/{name}", [_NAME]),
        ("/v2/models/{name}/versions/{version}", [_NAME, _VERSION]),
    ):
        paths[prefix] = {"get": _operation("Model metadata", structs.ModelMetadata, parameters)}
        # A model named "stats" is hidden by the statistics extension.
        paths[prefix]["get"]["responses"]["200"] = _answer(either)
        ready = _operation("Model ready", structs.ModelReady, parameters, unready=structs.ModelReady)
        paths[f"{prefix}/ready"] = {"get": ready}
        paths[f"{prefix}/config"] = {"get": _operation("Model configuration", structs.ModelConfig, parameters)}
        paths[f"{prefix}/stats"] = {"get": _operation("Model statistics", structs.StatisticsResponse, parameters)}
        paths[f"{prefix}/infer"] = {"post": _infer(parameters)}
    return paths


def _operation(
    summary: str,
    answer: type[msgspec.Struct],
    parameters: list[dict[str, Any]] | None = None,
    *,
    unready: type[msgspec.Struct] | None = None,
) -> dict[str, Any]:
    responses = {"200": _answer(_ref(answer))}
    if unready is not None:
        responses["503"] = _answer(_ref(unready), "Not ready.")
    return {
        "tags": ["open inference protocol"],
        "summary": summary,
        "parameters": parameters or [],
        "responses": responses,
    }


def _answer(schema: dict[str, Any], description: str = "The answer.") -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _infer(parameters: list[dict[str, Any]]) -> dict[str, Any]:
    length = {
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "pattern": "^[0-9]{1,12}$"},
        "description": "Where the JSON ends and binary tensors begin.",
    }
    operation = _operation("Infer", structs.InferResponse, [*parameters, length])
    operation["responses"]["200"]["content"]["application/octet-stream"] = {"schema": _ANY_BYTES}
    operation["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {"schema": _ref(structs.InferRequest)},
            "application/octet-stream": {"schema": _ANY_BYTES},
        },
    }
    return operation


def _index() -> dict[str, Any]:
    operation = _operation("Models of the repository", structs.IndexEntry)
    operation["responses"]["200"] = _answer({"type": "array", "items": _ref(structs.IndexEntry)})
    operation["requestBody"] = {"content": {"application/json": {"schema": _ref(structs.IndexRequest)}}}
    return operation


def _control(summary: str) -> dict[str, Any]:
    operation = _operation(summary, structs.IndexEntry, [_NAME])
    operation["responses"]["200"] = _answer({"type": "object"})
    operation["requestBody"] = {"content": {"application/json": {"schema": _ref(structs.RepositoryRequest)}}}
    return operation
