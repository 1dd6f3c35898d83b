"""``POST /v1/spread/v1/models/{name}/predict`` and ``/v1/spread/v2/models/{name}/infer``: one model on several nodes.

As the paths without ``/v1/spread``, but answered by this node and those of its children that have the same version of
the model, whoever has a place first (``node.spread``). A batch of tensors is split and joined in order. The answer says
who worked on it in ``x-edgewise-nodes``.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import msgspec

from edgewise.api.oip import codec, parts
from edgewise.api.oip.compression import expand
from edgewise.api.oip.structs import InferRequest, ModelMetadata, TensorMetadata
from edgewise.api.relay import asked_of, while_there
from edgewise.api.wire import JSON, Head
from edgewise.errors import EdgewiseError, InputError, NotFoundError, UnavailableError
from edgewise.link.client import refused
from edgewise.link.work import MAX_REQUEST_BYTES, Asked
from edgewise.node.spread import split
from edgewise.node.team import Team

if TYPE_CHECKING:
    from edgewise.api.guard import Pass
    from edgewise.api.jobs import Jobs
    from edgewise.api.oip.infer import Inference
    from edgewise.api.predict import Predict
    from edgewise.api.wire import Headers, Request
    from edgewise.node.node import Node
    from edgewise.node.relaying import Relaying
    from edgewise.types import Array

PREFIX = "/v1/spread"
_JSON_LENGTH = b"inference-header-content-length"
_ENCODINGS = {b"accept-encoding", b"content-encoding"}
_OCTETS = b"application/octet-stream"
# Parts of a batch for each call that the nodes compute at once: enough that a slow one ends with the others, and few,
# since each costs this node milliseconds.
_PARTS_EACH = 2
# A part takes so long at least, by what parts took before: handing one on costs a few milliseconds of two nodes.
_LEAST_PART_S = 0.1
_NEWEST = 0.2  # weight of the newest part in the average
# What a child said of a model counts for so long; then it is asked again while work goes on.
_FRESH_S = 30.0
_STALE_S = 300.0
# A child that was never asked is waited for so long before others begin without it.
_ASK_S = 1.0
_MAX_KNOWN = 4096
_MAX_TEAMS = 256


class _Item(NamedTuple):
    """A request, whole or a part, as any node can be asked it."""

    head: Head
    asked: Asked
    rows: int


class _Answered(NamedTuple):
    body: bytes
    headers: Headers
    media_type: bytes


class _Known(NamedTuple):
    at_s: float
    model: ModelMetadata | None


class Spreading:
    """Answers what is to be spread.

    Args:
        node: This node.
        infer: Inference on tensors, here.
        predict: Predictions, here.
        jobs: Where they are computed.
    """

    def __init__(self, node: Node, *, infer: Inference, predict: Predict, jobs: Jobs) -> None:
        self._node = node
        self._name = node.settings.node.name
        self._infer = infer
        self._predict = predict
        self._jobs = jobs
        self._known: dict[tuple[str, str], _Known] = {}
        self._asking: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._teams: dict[tuple[str, str, str], Team[_Item, _Answered]] = {}
        self._row_s: dict[str, float] = {}

    async def __call__(self, request: Request, passed: Pass) -> None:
        """Answers one request.

        Raises:
            NotFoundError: No node that is there has the model.
            EdgewiseError: As the path without the prefix.
        """
        path = request.path.removeprefix(PREFIX)
        words = path.split("/")
        kind, name = words[1], words[3]
        body = await self._body(request)
        version = words[5] if len(words) > 6 else _version_of(request)
        model = await self._find(name, version)
        team = self._team(kind, name, model.versions[0])
        now_ns = self._node.clock.time_ns()
        asked = asked_of(request, passed.principal, path=path, body=body, node=self._name, now_ns=now_ns)
        if kind == "v1":
            query = request.scope.get("query_string", b"")
            if not version:
                query = b"&".join([*filter(None, [query]), b"version=" + quote(model.versions[0]).encode()])
            (done,) = await while_there(request, team.do([_item(asked, path=path, query=query)]))
            await request.respond(done[1].body, headers=[_nodes([done[0]])])
            return
        path = f"/v2/models/{name}/versions/{model.versions[0]}/infer"
        nodes, answered = await while_there(request, self._infer_spread(team, asked, path=path, model=model))
        headers = [*answered.headers, _nodes(nodes)]
        await request.respond(answered.body, media_type=answered.media_type, headers=headers)

    async def _body(self, request: Request) -> bytes:
        body = await request.body(max_bytes=MAX_REQUEST_BYTES)
        if encoding := request.header(b"content-encoding"):
            body = await self._jobs.run(functools.partial(expand, max_bytes=MAX_REQUEST_BYTES), body, encoding)
        return bytes(body)

    async def _infer_spread(
        self, team: Team[_Item, _Answered], asked: Asked, *, path: str, model: ModelMetadata
    ) -> tuple[list[str], _Answered]:
        """Who worked on it, and the answer."""
        batch = await asyncio.to_thread(self._batch, asked, model)  # off the loop: it may be megabytes of JSON
        if batch is None:
            (done,) = await team.do([_item(asked, path=path)])
            return [done[0]], done[1]
        runs, whole, arrays = batch
        items = []
        for first, end in runs:
            body, length = parts.part_of(whole, arrays, first, end)
            headers = ((b"content-type", _OCTETS), (_JSON_LENGTH, b"%d" % length))
            part = msgspec.structs.replace(asked, headers=headers, body=body)
            items.append(_item(part, path=path, rows=end - first))
        done_all = await team.do(items)
        sizes = [end - first for first, end in runs]
        answered = await asyncio.to_thread(_joined, whole, [each for _, each in done_all], sizes)
        return [node for node, _ in done_all], answered

    def _batch(
        self, asked: Asked, model: ModelMetadata
    ) -> tuple[list[tuple[int, int]], InferRequest, dict[str, Array]] | None:
        """The runs of rows that a request is split into; None when it stays whole."""
        headers = dict(asked.headers)
        json_length = codec.header_length(headers.get(_JSON_LENGTH, b""))
        if json_length == 0:
            return None
        whole, arrays = codec.decode(memoryview(bytearray(asked.body)), json_length)
        rows = parts.rows_of(whole, arrays, open_first=_open_first(model))
        places = self._places(model.name, model.versions[0])
        at_once = sum(count if node == self._name else count - 1 for node, count in places.items())
        most = _PARTS_EACH * max(2, at_once)
        worth = int(rows * self._row_s.get(model.name, _LEAST_PART_S) / _LEAST_PART_S)
        runs = split(rows, min(most, max(1, worth)))
        return (runs, whole, arrays) if len(runs) > 1 else None

    # Who has the model.

    async def _find(self, name: str, version: str) -> ModelMetadata:
        """The model, its one version the one that all nodes are to use: the one that is asked for, else this node's
        own, else the first child's that has it.
        """
        await self._ask_children(name)
        own = self._own(name)
        found = [own] if own else []
        found += [
            known.model for child in self._children() if (known := self._known.get((child, name))) and known.model
        ]
        for model in found:
            chosen = version or model.versions[0]
            if chosen in model.versions and self._places(name, chosen):
                return msgspec.structs.replace(model, versions=[chosen])
        self._node.repository.state(name, version)  # tells what is wrong
        raise NotFoundError(f"No node that is there has a model {name!r}", kind="model", name=name)

    def _own(self, name: str) -> ModelMetadata | None:
        repository = self._node.repository
        try:
            manifest, versions = repository.state(name).manifest, repository.versions(name)
        except NotFoundError:
            return None
        inputs = [TensorMetadata(each.name, each.datatype, list(each.shape)) for each in manifest.inputs]
        outputs = [TensorMetadata(each.name, each.datatype, list(each.shape)) for each in manifest.outputs]
        return ModelMetadata(name, versions, "", inputs, outputs)

    def _children(self) -> list[str]:
        """Those that are there."""
        parenting = self._node.parenting
        if parenting is None:
            return []
        return [child.name for child in parenting.fleet.children() if parenting.relaying.is_there(child.name)]

    def _relaying(self) -> Relaying:
        if self._node.parenting is None:
            raise UnavailableError("This node takes no children")
        return self._node.parenting.relaying

    def _places(self, name: str, version: str) -> dict[str, int]:
        own = self._own(name)
        places = {self._name: self._node.pool.workers} if own and version in own.versions else {}
        parenting = self._node.parenting
        for child in self._children():
            known = self._known.get((child, name))
            if parenting and known and known.model and version in known.model.versions:
                places[child] = parenting.relaying.places(child)
        return places

    async def _ask_children(self, name: str) -> None:
        """Asks children for a model: those that were never asked are waited for a moment."""
        now_s = self._node.clock.monotonic()
        new = []
        for child in self._children():
            key = child, name
            known = self._known.get(key)
            if known is not None and now_s - known.at_s < _FRESH_S:
                continue
            if key not in self._asking:
                self._asking[key] = asyncio.create_task(self._ask_child(child, name), name="who has the model")
            if known is None or now_s - known.at_s >= _STALE_S:
                new.append(self._asking[key])
        if new:
            await asyncio.wait(new, timeout=_ASK_S)

    async def _ask_child(self, child: str, name: str) -> None:
        asked = Asked("0" * 32, "GET", f"/v2/models/{name}", who=f"@{self._name}", permissions=("predict",))
        model = None
        try:
            answer = await self._relaying().ask(child, asked)
            body = await answer.all(max_bytes=1 << 20)
            if answer.status == HTTPStatus.OK:
                model = msgspec.json.decode(body, type=ModelMetadata)
        except (EdgewiseError, msgspec.MsgspecError, UnicodeDecodeError):
            return  # it is asked again
        finally:
            del self._asking[child, name]
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[child, name] = _Known(self._node.clock.monotonic(), model)

    # Having it done.

    def _team(self, kind: str, name: str, version: str) -> Team[_Item, _Answered]:
        key = kind, name, version
        if key not in self._teams:
            if len(self._teams) >= _MAX_TEAMS:
                del self._teams[next(iter(self._teams))]
            places = functools.partial(self._places, name, version)
            run = functools.partial(self._run, name)
            self._teams[key] = Team(run=run, places=places, clock=self._node.clock)
        return self._teams[key]

    async def _run(self, name: str, node: str, item: _Item) -> _Answered:
        begun_s = self._node.clock.monotonic()
        answered = await self._answered(name, node, item)
        row_s = (self._node.clock.monotonic() - begun_s) / item.rows
        before_s = self._row_s.get(name, row_s)
        if len(self._row_s) >= _MAX_TEAMS:
            self._row_s.clear()
        self._row_s[name] = before_s + (row_s - before_s) * _NEWEST
        return answered

    async def _answered(self, name: str, node: str, item: _Item) -> _Answered:
        if node == self._name:
            work = self._predict.plain_work(item.head) or self._infer.plain_work(item.head)
            if work is None:
                raise InputError("This request cannot be spread", hint="Ask for no compression.")
            answer = await self._jobs.run(work.run, memoryview(bytearray(item.asked.body)), time.perf_counter_ns())
            return _Answered(answer.content, answer.headers, answer.media_type)
        relayed = await self._relaying().ask(node, item.asked)
        try:
            body = await relayed.all(max_bytes=MAX_REQUEST_BYTES)
        finally:
            relayed.drop()
        if relayed.status != HTTPStatus.OK:
            if relayed.status == HTTPStatus.NOT_FOUND:
                self._known[node, name] = _Known(self._node.clock.monotonic(), None)
            raise _refused(relayed.status, body)
        headers = dict(relayed.headers)
        kept = [(_JSON_LENGTH, headers[_JSON_LENGTH])] if _JSON_LENGTH in headers else []
        return _Answered(body, kept, headers.get(b"content-type", JSON))


def _joined(whole: InferRequest, answered: Sequence[_Answered], sizes: Sequence[int]) -> _Answered:
    """The answers to the parts of a request as one."""
    answers = [
        parts.outputs_of(each.body, codec.header_length(dict(each.headers).get(_JSON_LENGTH, b""))) for each in answered
    ]
    content, json_length = parts.joined(whole, answers, sizes)
    if json_length is None:
        return _Answered(content, (), JSON)
    return _Answered(content, [(_JSON_LENGTH, b"%d" % json_length)], _OCTETS)


def _item(asked: Asked, *, path: str, query: bytes = b"", rows: int = 1) -> _Item:
    """What is asked, for this node and for children; what is compressed is so on the caller's own connection."""
    headers = tuple(header for header in asked.headers if header[0] not in _ENCODINGS)
    asked = msgspec.structs.replace(asked, path=path, query=query, headers=headers)
    scope = {"method": "POST", "path": path, "query_string": query, "headers": headers, "scheme": "http"}
    return _Item(Head(scope), asked, rows)


def _version_of(request: Head) -> str:
    return request.query().get("version", "")


def _nodes(names: list[str]) -> tuple[bytes, bytes]:
    counts = Counter(names)
    return b"x-edgewise-nodes", ", ".join(f"{name}={counts[name]}" for name in sorted(counts)).encode()


def _open_first(model: ModelMetadata) -> bool:
    tensors = [*model.inputs, *model.outputs]
    return bool(tensors) and all(tensor.shape[:1] == [-1] for tensor in tensors)


class _OipError(msgspec.Struct):
    error: str


def _refused(status: int, body: bytes) -> EdgewiseError:
    """The error that a child's answer tells, in either form."""
    try:
        message = msgspec.json.decode(body, type=_OipError).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return refused(status, body)
    if status == HTTPStatus.NOT_FOUND:
        return NotFoundError(message)
    return InputError(message) if status < HTTPStatus.INTERNAL_SERVER_ERROR else UnavailableError(message)
