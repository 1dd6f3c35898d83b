"""``/metrics`` and ``/schema/openapi.json``."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from edgewise.api.openapi import document
from edgewise.api.prometheus import expose
from edgewise.api.rest.context import Injected


@get("/metrics", tags=["system"], media_type="text/plain", sync_to_thread=True)
def read_metrics(context: Injected) -> Response[bytes]:
    """Everything the node counts, for Prometheus."""
    content, media_type = expose(context.node, context.metrics)
    return Response(content, media_type=media_type)


@get(["/schema", "/schema/openapi.json"], include_in_schema=False, sync_to_thread=True)
def read_document(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The OpenAPI document of all routes, those on raw ASGI included."""
    return Response(document(request.app.openapi_schema.to_schema()), media_type="application/json")


HANDLERS = (read_metrics, read_document)
