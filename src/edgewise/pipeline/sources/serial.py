"""Lines that a sensor writes on a serial port (by pyserial, which the extra ``sensors`` installs)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.errors import MissingExtraError, UnavailableError
from edgewise.pipeline.base import Value
from edgewise.pipeline.intake import MAX_CHANNELS, Capacity, Channel, IntakeSource, Session, clean, flatten
from edgewise.series.table import parse

# A longer line is none: something else is on the wire, or the speed is wrong.
MAX_LINE_BYTES = 4096


class JsonLines(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="as", tag="json"):
    """Each line is JSON; values inside become channels by their way through it, such as ``air.humidity``."""


class CsvLines(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="as", tag="csv"):
    """Each line is cells.

    Attributes:
        columns: Channels of the cells, in order.
        delimiter: Between cells; a space stands for any amount of it.
    """

    columns: Annotated[tuple[Channel, ...], Meta(min_length=1, max_length=MAX_CHANNELS)]
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","


class PatternLines(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="as", tag="pattern"):
    """Values are found in a line.

    Attributes:
        pattern: Regular expression of Python whose named groups are the channels, such as
            ``T=(?P<temperature>[-0-9.]+)``.
    """

    pattern: Annotated[str, Meta(min_length=1, max_length=1024)]

    def __post_init__(self) -> None:
        try:
            names = re.compile(self.pattern).groupindex
        except re.error as error:
            raise ValueError(f"the pattern is no regular expression: {error}") from error
        if not names:
            raise ValueError("the pattern has no named group, such as (?P<temperature>[-0-9.]+)")


class SerialSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="serial"):
    """A serial port.

    Attributes:
        device: Device file.
        lines: How a line is read.
        baud: Bits a second.
        parity: Of each byte.
        stop_bits: After each byte.
        queue: Lines that wait at most to be worked on; a newer one pushes the oldest out, which is counted.
    """

    device: Annotated[str, Meta(pattern=r"^/dev/", max_length=256)]
    lines: JsonLines | CsvLines | PatternLines
    baud: Annotated[int, Meta(ge=50, le=4_000_000)] = 9600
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Annotated[int, Meta(ge=1, le=2)] = 1
    queue: Capacity = 256


class SerialSource(IntakeSource):
    """Reads a serial port. Keeps the ``Source`` seam.

    A line that holds no reading is left out and counted. What comes before the first end of a line is left out: it may
    be the rest of a line, and look whole.
    """

    Settings = SerialSettings

    def __init__(self, name: str, settings: SerialSettings, *, clock: Clock) -> None:
        super().__init__(name, settings.queue, clock=clock)
        self._settings = settings
        self._pattern = re.compile(settings.lines.pattern) if isinstance(settings.lines, PatternLines) else None

    def _session(self, session: Session) -> None:
        port = self._open()
        session.on_stop(port.cancel_read)
        lines = _Lines()
        try:
            while not session.stopped.is_set():
                for line in lines.feed(port.read(max(1, min(port.in_waiting, MAX_LINE_BYTES)))):
                    self._take(session, line)
        except (OSError, TypeError) as error:  # pyserial's errors are OSErrors; a port closed under it is a TypeError
            raise self._unavailable("broke off", "Is it still plugged in?") from error
        finally:
            port.close()

    def _take(self, session: Session, line: bytes | None) -> None:
        try:
            values = self._decode(line)
        except (ValueError, TypeError):
            session.count_unreadable()
        else:
            session.put(values)

    def _decode(self, line: bytes | None) -> Mapping[str, Value]:
        if line is None:
            raise ValueError("the line is too long")
        text = line.decode("utf-8").strip("\r\n\0 ")
        match self._settings.lines:
            case JsonLines():
                found: Any = msgspec.json.decode(text)
                if not isinstance(found, dict):
                    raise TypeError("a line is a JSON object")
                return flatten(found, "")
            case CsvLines(columns, delimiter):
                cells = text.split() if delimiter == " " else text.split(delimiter)
                return {name: clean(parse(cell)) for name, cell in zip(columns, cells, strict=True)}
        if self._pattern is None or (match := self._pattern.search(text)) is None:
            raise ValueError("the pattern is not in the line")
        return {name: clean(parse(found or "")) for name, found in match.groupdict().items()}

    def _open(self) -> Any:
        try:
            import serial  # type: ignore[import-untyped]
        except ImportError as error:
            raise MissingExtraError(
                "Serial ports need pyserial", hint="pip install 'edgewise[sensors]'", extra="sensors"
            ) from error
        settings = self._settings
        try:
            return serial.Serial(
                settings.device,
                settings.baud,
                parity=settings.parity[0].upper(),
                stopbits=settings.stop_bits,
                exclusive=True,
            )
        except (OSError, ValueError) as error:
            raise self._unavailable(
                "cannot be opened",
                "Is it plugged in, not in use by another program, and this user in the group 'dialout'?",
            ) from error

    def _unavailable(self, what: str, hint: str) -> UnavailableError:
        return UnavailableError(
            f"The serial port {self._settings.device} {what}", hint=hint, device=self._settings.device
        )


class _Lines:
    """Cuts what comes into lines."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._skipping = True  # until the end of a line that is too long, or that began before we listened
        self._too_long = False

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """The lines that are whole now; None stands for one that was too long."""
        self._rest += data
        while (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[:end])
            del self._rest[: end + 1]
            if not self._skipping:
                yield line
            elif self._too_long:
                yield None
            self._skipping = self._too_long = False
        if len(self._rest) > MAX_LINE_BYTES:
            self._too_long = self._too_long or not self._skipping
            self._skipping = True
            self._rest.clear()
