"""The link's routes of blobs. In threads of their own: what waits for a disk, or for this node's parent, holds up no
records.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from edgewise.errors import BusyError, NotFoundError
from edgewise.link.base import PREFIX, Offer, decode, encode
from edgewise.link.blobs import BlobIntake

_BASE = f"{PREFIX}/blobs"
_THREADS = 8
_MAX_WAITING = 256
_MAX_DIGITS = 12  # of an offset: a terabyte


class BlobRoutes:
    """Answers children about blobs.

    Args:
        intake: Takes them, and gives them back.
    """

    def __init__(self, intake: BlobIntake) -> None:
        self._intake = intake
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="blobs")
        self._waiting = 0

    async def answer(self, caller: str, method: str, path: str, body: bytes) -> bytes:
        """The answer to a proved request.

        Args:
            caller: The child.
            method: Such as ``PUT``.
            path: The whole path.
            body: Of the request.
        """
        if self._waiting >= _MAX_WAITING:
            raise BusyError("More blobs than can be answered wait already", retry_after_s=5)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._answer, caller, method, path, body)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Ends its threads."""
        self._threads.shutdown(cancel_futures=True)

    def _answer(self, caller: str, method: str, path: str, body: bytes) -> bytes:
        match method, path.removeprefix(_BASE).split("/")[1:]:
            case "GET", []:
                return encode(self._intake.begun(caller))
            case "POST", []:
                return encode(self._intake.begin(caller, decode(body, Offer)))
            case "PUT", [digest, offset] if _is_number(offset):
                return encode(self._intake.write(caller, digest, int(offset), body))
            case "GET", [digest, offset] if _is_number(offset):
                return encode(self._intake.give(caller, digest, int(offset)))
            case "DELETE", [digest]:
                self._intake.give_up(caller, digest)
                return b""
        raise NotFoundError(f"There is no {method} {path[:200]}", kind="route", name=path[:200])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
