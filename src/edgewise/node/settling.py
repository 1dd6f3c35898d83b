"""Making a node what its parent wants, beside everything else it does, and remembering what that was.

What is wanted is on the disk before it is tried, so a node that starts again, with or without a network, becomes the
same. A document that is wrong, or that does not fit this node, changes nothing: the last one that did fit still counts.
What of a good one does not work (a model that is not here) leaves the rest as wanted, is reported, and tried again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from edgewise._lib.clock import Clock
from edgewise._lib.files import write_atomic
from edgewise.errors import ClosedError, EdgewiseError, SettingsError
from edgewise.fleet.desired import NOTHING, digest_of, read
from edgewise.link.desired import Handed, Problem, Report, SectionState, Wanted
from edgewise.node.desired import Combined, combine, told
from edgewise.node.reconcile import SECTION, Shape, Step, after, plan
from edgewise.node.settings import Settings

AGAIN_S = 30.0
"""What did not work is tried again after so long: somebody may have installed what was missing."""

_MAX_TEXT = 2000
_MAX_PROBLEMS = 64

logger = logging.getLogger(__name__)


class Kept(msgspec.Struct, frozen=True):
    """What a node remembers of what is wanted of it.

    Attributes:
        parent: Which parent that was (``Membership.identity``): what another one wanted counts no more.
        position: How far it has everything.
        newest: The newest document; None for none.
        accepted: The last one that fitted.
    """

    parent: str = ""
    position: str = ""
    newest: Wanted | None = None
    accepted: Wanted | None = None


class Workshop(Protocol):
    """What carries steps out: the running node."""

    def carry_out(self, step: Step, wanted: Settings) -> None:
        """Takes one step, wholly or not at all; raises when it does not work."""
        ...


def shape_of(settings: Settings) -> Shape:
    """What a node with these settings does."""
    return Shape(settings.pipelines, settings.rules, settings.models, settings.parent)


class Settling:
    """See the module's docstring. Safe for threads.

    Args:
        file: Where it is remembered.
        own: The node's own settings.
        parent: Which parent the node has (``Membership.identity``); empty for none.
        clock: The wall clock.

    Attributes:
        combined: What counts now: the node's own settings, or a document laid over them.
    """

    def __init__(self, file: Path, *, own: Settings, parent: str, clock: Clock) -> None:
        self._file = file
        self._own = own
        self._clock = clock
        self._report: Callable[[Report], None] = lambda _: None
        self._changed = threading.Condition()
        self._stopped = False
        self._fresh = False
        self._kept, self.combined, self._refusal = self._decide(_load(file, parent))
        self._running = Shape()
        self._workshop: Workshop | None = None
        self._told: Report | None = None
        self._thread = threading.Thread(target=self._run, name="desired", daemon=True)

    @property
    def position(self) -> str:
        """How far it has everything that its parent wants."""
        return self._kept.position

    def start(self, workshop: Workshop, running: Shape) -> None:
        """Makes the node what is wanted, as far as that works now, and goes on doing so.

        Args:
            workshop: Takes the steps, in this thread and then in another.
            running: What the node does already.
        """
        self._workshop, self._running = workshop, running
        self._fresh = True
        self._settle()
        self._thread.start()

    def follow(self, report: Callable[[Report], None]) -> None:
        """Calls ``report`` with what became of the newest document, and with each change of that."""
        with self._changed:
            self._report = report
            if (newest := self._told) is not None:
                report(newest)

    def part(self) -> None:
        """The parent was left: what it wanted counts no more."""
        with self._changed:
            self._file.unlink(missing_ok=True)
            self._kept, self.combined, self._refusal = self._decide(Kept())
            self._report, self._told, self._fresh = lambda _: None, None, True
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends, after the step under way."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def take(self, handed: Handed, *, parent: str) -> None:
        """Takes what the parent hands down; once it returns it is remembered.

        Args:
            handed: What came; documents of other nodes are passed over.
            parent: Which parent that is (``Membership.identity``).

        Raises:
            StorageFullError: It is not remembered; nothing changes.
        """
        with self._changed:
            own = next((each for each in reversed(handed.wanted) if each.node == self._own.node.name), None)
            newest = self._kept.newest
            if own is not None:
                newest = own
            elif handed.whole and not handed.more:
                newest = None
            kept, combined, refusal = Kept(parent, handed.position, newest, self._kept.accepted), self.combined, None
            fresh = newest != self._kept.newest
            if fresh:
                kept, combined, refusal = self._decide(kept)
            if kept != self._kept:
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_atomic(self._file, msgspec.json.encode(kept), mode=0o600)
            self._kept = kept
            if fresh:
                self.combined, self._refusal, self._fresh = combined, refusal, True
                self._changed.notify_all()

    def _decide(self, kept: Kept) -> tuple[Kept, Combined, EdgewiseError | None]:
        """Which document counts: the newest, when it fits, else the last one that did; and why not the newest."""
        try:
            return msgspec.structs.replace(kept, accepted=kept.newest), self._combined(kept.newest), None
        except EdgewiseError as error:
            refusal = error
            logger.warning("what the parent wants is refused: %s %s", error, error.hint)
        try:
            return kept, self._combined(kept.accepted), refusal
        except EdgewiseError as error:  # the node's own file changed since
            logger.warning("what the parent wanted before does not fit any more: %s %s", error, error.hint)
            return kept, Combined(self._own, frozenset(), ()), refusal

    def _combined(self, wanted: Wanted | None) -> Combined:
        if wanted is None:
            return Combined(self._own, frozenset(), ())
        return combine(self._own, wanted.document, by=wanted.by)

    def _run(self) -> None:
        failing = False
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._fresh, AGAIN_S if failing else None)
                if self._stopped:
                    return
            try:
                failing = self._settle()
            except ClosedError:
                return

    def _settle(self) -> bool:
        """Takes all steps that there are now, and reports; whether any failed."""
        if self._workshop is None:
            raise ClosedError("It was not started")
        with self._changed:
            self._fresh = False
            combined, kept, refusal = self.combined, self._kept, self._refusal
        wanted = shape_of(combined.settings)
        problems: dict[str, list[Problem]] = {}
        for step in plan(self._running, wanted):
            if self._stopped:
                return False
            try:
                self._workshop.carry_out(step, combined.settings)
            except ClosedError:
                raise
            except Exception as error:
                if not isinstance(error, EdgewiseError):
                    logger.exception("%s %s failed", step.kind, step.name)
                where = SECTION[step.kind]
                problems.setdefault(where, []).append(_problem(f"{where}.{step.name}".rstrip("."), error))
                continue
            self._running = after(self._running, step, wanted)
        self._tell(kept, combined, refusal, problems)
        return bool(problems)

    def _tell(
        self, kept: Kept, combined: Combined, refusal: EdgewiseError | None, problems: dict[str, list[Problem]]
    ) -> None:
        newest = kept.newest or Wanted(self._own.node.name, "", 0, NOTHING)
        if refusal is not None:
            sections: Iterable[str] = _sections(newest.document)
            problems = {section: [_problem(section, refusal)] for section in sections}
        else:
            sections = (*combined.taken, *combined.refused)
            for section in combined.refused:
                problems.setdefault(section, []).insert(0, _problem(section, _not_allowed(section)))
        report = Report(
            newest.node,
            newest.by,
            newest.revision,
            digest_of(newest.document),
            refusal is None,
            self._clock.time_ns(),
            tuple(
                SectionState(section, tuple(problems.get(section, ())[:_MAX_PROBLEMS])) for section in sorted(sections)
            ),
        )
        with self._changed:
            if self._told is not None and report == msgspec.structs.replace(self._told, time_ns=report.time_ns):
                return
            self._told = report
            self._report(report)


def _load(file: Path, parent: str) -> Kept:
    """What is remembered; nothing of another parent. A damaged file is as none: the parent tells it anew."""
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=Kept)
    except FileNotFoundError:
        return Kept()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        logger.warning("%s cannot be read, and is asked for anew: %s", file, error)
        return Kept()
    return kept if kept.parent == parent else Kept()


def _sections(document: str) -> tuple[str, ...]:
    try:
        return tuple(section[:64] for section in read(document))[:16]
    except (msgspec.MsgspecError, RecursionError):
        return ()


def _not_allowed(section: str) -> SettingsError:
    return SettingsError(
        f"This node does not let its parent change {section}",
        hint=f"If it is to, add to its edgewise.yaml: parent: {{may_change: [{section}]}}",
        field="parent.may_change",
    )


def _problem(what: str, error: Exception) -> Problem:
    code, message, hint = told(error)
    return Problem(what[:_MAX_TEXT], code, message[:_MAX_TEXT], hint[:_MAX_TEXT])
