"""``/v1/cameras/NAME/webrtc``: the live view as a WebRTC call, by WHEP (draft-ietf-wish-whep, as RFC 9725 is for
sending): the offer goes in, the answer comes out, and the call's own address ends it.
"""

from __future__ import annotations

from litestar import Request, Response, delete, post
from litestar.params import FromPath

from edgewise.api.errors import MediaTypeError
from edgewise.api.rest.context import Injected
from edgewise.errors import InputError, UnavailableError
from edgewise.pipeline.runner import Phase

_TAGS = ["cameras"]
SDP = "application/sdp"
MAX_OFFER_BYTES = 64 * 1024


@post(
    "/v1/cameras/{name:str}/webrtc",
    tags=_TAGS,
    status_code=201,
    media_type=SDP,
    response_description="The answer (SDP); `Location` is the call, to be ended with DELETE.",
)
async def call(name: FromPath[str], request: Request, context: Injected) -> Response[bytes]:  # type: ignore[type-arg]
    """Watches a camera by WebRTC: an SDP offer in, the answer out (WHEP), with all addresses in it."""
    runner = context.node.pipeline(name)
    if runner.source.gives != "frame":
        raise InputError(f"{name} gives no pictures, but {runner.source.gives}s", camera=name)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != SDP:
        raise MediaTypeError(f"An offer is sent as {SDP}")
    if runner.state().phase in (Phase.ENDED, Phase.FAILED, Phase.STOPPED):
        raise UnavailableError(f"{name} is not running", camera=name)
    offer = (await request.body()).decode("utf-8", "replace")
    if len(offer) > MAX_OFFER_BYTES:
        raise InputError(f"An offer has at most {MAX_OFFER_BYTES} bytes", limit=MAX_OFFER_BYTES)
    calls = await context.telephone.calls()
    call_name, answer = await calls.begin(name, offer)
    headers = {"location": f"/v1/cameras/{name}/webrtc/{call_name}", "cache-control": "no-store"}
    return Response(answer.encode(), media_type=SDP, status_code=201, headers=headers)


@delete("/v1/cameras/{name:str}/webrtc/{call_name:str}", tags=_TAGS, status_code=204)
async def hang_up(name: FromPath[str], call_name: FromPath[str], context: Injected) -> None:
    """Ends a call."""
    context.node.pipeline(name)
    await (await context.telephone.calls()).end(call_name)


HANDLERS = (call, hang_up)
