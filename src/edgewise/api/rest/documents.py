"""``/metrics`` and ``/schema/openapi.json``."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.response import Redirect

from edgewise.api.openapi import document
from edgewise.api.prometheus import expose
from edgewise.api.rest.context import Injected, blocking


@get("/metrics", tags=["system"], media_type="text/plain")
@blocking
def read_metrics(context: Injected) -> Response[bytes]:
    """Everything the node counts, for Prometheus."""
    return Response(expose(context.node, context.metrics), media_type="text/plain; version=0.0.4")


@get("/schema/openapi.json", include_in_schema=False)
@blocking
def read_document(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The OpenAPI document of all routes, those on raw ASGI included."""
    return Response(document(request.app.openapi_schema.to_schema()), media_type="application/json")


@get("/schema", include_in_schema=False, sync_to_thread=False)
def find_document() -> Redirect:
    """Leads to the document."""
    return Redirect("/schema/openapi.json")


HANDLERS = (read_metrics, read_document, find_document)
