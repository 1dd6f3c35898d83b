"""One answer, one write."""

import asyncio

from edgewise.api.server import OneWrite, address_of


class Wire:
    """Notes what is written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def writelines(self, parts: list[bytes]) -> None:
        self.writes.append(b"".join(parts))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self.writes.append(b"<closed>")


def written(story) -> list[bytes]:
    wire = Wire()

    async def run() -> None:
        await story(OneWrite(wire, asyncio.get_running_loop()))
        await asyncio.sleep(0)

    asyncio.run(run())
    return wire.writes


def test_head_and_body_leave_together_however_large_the_body() -> None:
    for size in (3, 1_000_000):

        async def story(wire: OneWrite, body: bytes = b"x" * size) -> None:
            wire.write(b"head")
            wire.write(body)
            wire.write(b"more")

        assert written(story) == [b"head" + b"x" * size, b"more"]


def test_a_head_whose_body_takes_its_time_goes_ahead() -> None:
    async def story(wire: OneWrite) -> None:
        wire.write(b"head")
        await asyncio.sleep(0)
        wire.write(b"body")

    assert written(story) == [b"head", b"body"]


def test_a_head_is_sent_before_closing() -> None:
    async def story(wire: OneWrite) -> None:
        wire.write(b"head")
        wire.close()

    assert written(story) == [b"head", b"<closed>"]


def test_the_address_is_one_a_browser_takes() -> None:
    assert address_of("0.0.0.0", 8470) == "http://127.0.0.1:8470"
    assert address_of("::1", 8470) == "http://[::1]:8470"
    assert address_of("localhost", 1) == "http://localhost:1"
