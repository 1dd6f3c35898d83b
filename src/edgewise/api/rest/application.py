"""The Litestar application: routes, and errors in the form of ``/v1``."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from litestar import Litestar, Request, Response
from litestar.di import Provide
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException, ValidationException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from edgewise import __version__
from edgewise.api.errors import (
    InternalError,
    MediaTypeError,
    MethodError,
    SlowError,
    body_of,
    headers_of,
    status_of,
    translate,
)
from edgewise.api.guard import Guard
from edgewise.api.jobs import Jobs
from edgewise.api.metrics import Metrics
from edgewise.api.rest import (
    accounts,
    cameras,
    clips,
    desired,
    devices,
    documents,
    events,
    models,
    nodes,
    people,
    query,
    rules,
    session,
    sources,
    system,
    webrtc,
    why,
)
from edgewise.api.rest.context import Context, Streams
from edgewise.api.rest.desk import Desk
from edgewise.api.rest.telephone import Telephone
from edgewise.api.wire import decode_json
from edgewise.errors import EdgewiseError, InputError, NotFoundError, TooLargeError
from edgewise.node.node import Node

log = logging.getLogger(__name__)

_HANDLERS = (
    *system.HANDLERS,
    *models.HANDLERS,
    *people.HANDLERS,
    *events.HANDLERS,
    *why.HANDLERS,
    *devices.HANDLERS,
    *rules.HANDLERS,
    *cameras.HANDLERS,
    *clips.HANDLERS,
    *query.HANDLERS,
    *webrtc.HANDLERS,
    *sources.HANDLERS,
    *session.HANDLERS,
    *accounts.HANDLERS,
    *desired.HANDLERS,
    *nodes.HANDLERS,
    *documents.HANDLERS,
)


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON is decoded as everywhere in the API: Litestar lets some of its faults through."""

    async def json(self) -> Any:
        """The body as plain values."""
        return decode_json(await self.body(), Any)


def build(node: Node, *, guard: Guard, jobs: Jobs, metrics: Metrics) -> Litestar:
    """Makes the application."""
    desk = Desk(node.lake, node.settings.lake) if node.lake and node.settings.lake else None
    context = Context(
        node=node,
        guard=guard,
        jobs=jobs,
        metrics=metrics,
        streams=Streams(),
        telephone=Telephone(node),
        desk=desk,
    )
    return Litestar(
        route_handlers=_HANDLERS,
        dependencies={"context": Provide(lambda: context, use_cache=True, sync_to_thread=False)},
        request_class=StrictRequest,
        exception_handlers={Exception: answer_error},
        openapi_config=OpenAPIConfig(
            title="Edgewise",
            version=__version__,
            description="A node that sees, decides and acts.",
            path="/schema/of-litestar",
            render_plugins=[JsonRenderPlugin()],
            use_handler_docstrings=True,
        ),
        # The front bounds every body already, by the node's settings.
        request_max_body_size=None,
        logging_config=None,
    )


def answer_error(request: Request[Any, Any, Any], exception: Exception) -> Response[bytes]:
    """Any exception as an answer in the form of ``/v1``."""
    error = _of_http(request, exception) if isinstance(exception, HTTPException) else translate(exception)
    if error.code == InternalError.code:
        log.error("%s %s failed", request.method, request.scope["path"], exc_info=exception)
    headers = {name.decode(): value.decode() for name, value in headers_of(error)}
    return Response(body_of(error), status_code=int(status_of(error)), media_type="application/json", headers=headers)


def _of_http(request: Request[Any, Any, Any], exception: HTTPException) -> EdgewiseError:
    """Litestar's own errors as ours."""
    path = request.scope["path"]
    match exception:
        case MethodNotAllowedException():
            allowed = sorted(_methods_of(request))
            return MethodError(f"{path} does not take {request.method}", allowed=allowed)
        case NotFoundException():
            return NotFoundError(
                f"There is no {path}", hint="The paths stand in /schema/openapi.json.", kind="path", name=path
            )
        case ValidationException():
            return InputError("The request does not fit", faults=_faults(exception))
    match exception.status_code:
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return TooLargeError(exception.detail)
        case HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            return MediaTypeError(exception.detail)
        case HTTPStatus.REQUEST_TIMEOUT:
            return SlowError(exception.detail)
        case status if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return InputError(exception.detail)
    return translate(exception)


def _faults(exception: ValidationException) -> list[dict[str, str]]:
    extra = exception.extra
    if isinstance(extra, list) and extra and isinstance(extra[0], dict):
        return [{key: str(value) for key, value in fault.items()} for fault in extra]
    return [{"message": exception.detail}]


def _methods_of(request: Request[Any, Any, Any]) -> set[str]:
    """The methods a path takes, from the routes themselves."""
    for route in request.app.routes:
        if getattr(route, "path_format", None) and _matches(route.path_format, request.scope["path"]):
            return {str(method) for method in route.methods}
    return {"GET"}


def _matches(pattern: str, path: str) -> bool:
    wanted, given = pattern.split("/"), path.rstrip("/").split("/")
    return len(wanted) == len(given) and all(
        one.startswith("{") or one == other for one, other in zip(wanted, given, strict=True)
    )
