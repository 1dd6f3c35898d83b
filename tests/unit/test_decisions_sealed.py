"""Decisions are sealed: every edit, removal and reordering is found, and an honest node never cries wolf."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise._lib.clock import ManualClock
from edgewise.errors import CorruptError, SettingsError, StorageFullError
from edgewise.journal.base import StreamSettings
from edgewise.journal.memory import MemoryJournal
from edgewise.node import sealing
from edgewise.node.sealing import HEAD, KEY, PUBLIC_KEY, Report, SealedStream, check
from edgewise.trust.chain import SEAL
from edgewise.types import Entry, Record

STREAM = "decisions"


class Archive:
    """A journal's records, to tamper with."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records

    def read(
        self, stream: str, *, after: int = 0, before: int = 0, limit: int = 100, newest_first: bool = False
    ) -> list[Record]:
        found = [record for record in self.records if record.sequence > after]
        return found[: -limit - 1 : -1] if newest_first else found[:limit]


def journal() -> MemoryJournal:
    return MemoryJournal(node="n", streams={STREAM: StreamSettings()}, clock=ManualClock())


def decide(sealed: SealedStream, *numbers: int) -> None:
    for number in numbers:
        body = {"rule": "open", "why": {"similarity": 0.1 * number, "name": "Zoë"}, "n": [number, None, True]}
        sealed.append(STREAM, [Entry("decision.done", body, ("a" * 64,))])


def written(folder: Path, count: int = 6) -> Archive:
    stream = journal()
    decide(SealedStream(stream, STREAM, folder, clock=ManualClock()), *range(1, count + 1))
    return Archive(stream.read(STREAM))


def report(archive: Archive, folder: Path) -> Report:
    return check(archive, STREAM, folder)


def test_what_nobody_touched_is_intact_also_after_restarts(tmp_path: Path) -> None:
    stream, clock = journal(), ManualClock()
    for _ in range(3):
        decide(SealedStream(stream, STREAM, tmp_path, clock=clock), 1, 2)
    found = check(stream, STREAM, tmp_path)
    assert (found.intact, found.sealed, found.first, found.last) == (True, 6, 1, 6)
    assert found.key == (tmp_path / PUBLIC_KEY).read_text().strip()


def test_records_from_before_there_were_seals_are_let_pass_but_none_in_between(tmp_path: Path) -> None:
    stream = journal()
    stream.append(STREAM, [Entry("decision.done", {"rule": "old"})])
    decide(SealedStream(stream, STREAM, tmp_path, clock=ManualClock()), 1, 2)
    assert check(stream, STREAM, tmp_path).intact
    stream.append(STREAM, [Entry("decision.done", {"rule": "forged"})])
    assert [(fault.sequence, fault.problem) for fault in check(stream, STREAM, tmp_path).faults] == [
        (4, "it has no seal")
    ]


def swap(records: list[Record], at: int) -> list[Record]:
    one, other = records[at], records[at + 1]
    exchanged = [
        msgspec.structs.replace(other, sequence=one.sequence),
        msgspec.structs.replace(one, sequence=other.sequence),
    ]
    return [*records[:at], *exchanged, *records[at + 2 :]]


def edit(records: list[Record], at: int, **changes: object) -> list[Record]:
    return [*records[:at], msgspec.structs.replace(records[at], **changes), *records[at + 1 :]]


def renumbered(records: list[Record]) -> list[Record]:
    return [msgspec.structs.replace(record, sequence=n) for n, record in enumerate(records, start=1)]


TAMPERINGS: dict[str, Callable[[list[Record], int], list[Record]]] = {
    "a value edited": lambda records, at: edit(records, at, body={**records[at].body, "rule": "shut"}),
    "a value added": lambda records, at: edit(records, at, body={**records[at].body, "extra": 1}),
    "the time edited": lambda records, at: edit(records, at, time_ns=records[at].time_ns + 1),
    "the kind edited": lambda records, at: edit(records, at, kind="decision.failed"),
    "the snapshot exchanged": lambda records, at: edit(records, at, blobs=("b" * 64,)),
    "the seal taken off": lambda records, at: edit(
        records, at, body={name: value for name, value in records[at].body.items() if name != SEAL}
    ),
    "one removed": lambda records, at: [*records[:at], *records[at + 1 :]],
    "one removed and the rest renumbered": lambda records, at: renumbered([*records[:at], *records[at + 1 :]]),
    "two exchanged": swap,
    "one repeated": lambda records, at: renumbered([*records[: at + 1], *records[at:]]),
}


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
@pytest.mark.parametrize("at", [1, 2, 4])
def test_every_tampering_in_the_middle_is_found_where_it_was_done(
    tmp_path: Path, tampering: Callable[[list[Record], int], list[Record]], at: int
) -> None:
    archive = written(tmp_path)
    archive.records = tampering(archive.records, at)
    faults = report(archive, tmp_path).faults
    assert faults
    assert min(fault.sequence for fault in faults if fault.sequence) in (at + 1, at + 2)


@given(data=st.data())
def test_no_edit_of_any_part_of_a_record_goes_unseen(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("chain")
    archive = written(folder, 3)
    at = data.draw(st.integers(0, 2))
    encoded = bytearray(msgspec.json.encode(archive.records[at]))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        changed = msgspec.json.decode(bytes(encoded), type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    same = msgspec.json.encode(changed) == msgspec.json.encode(archive.records[at])
    where = ("node", "stream", "sequence")  # where a record is kept, not what it says
    unsealed_parts = any(getattr(changed, name) != getattr(archive.records[at], name) for name in where)
    archive.records[at] = changed
    seen = not report(archive, folder).intact
    assert seen or same or unsealed_parts


def test_a_missing_end_is_found_by_the_head(tmp_path: Path) -> None:
    archive = written(tmp_path)
    archive.records = archive.records[:-2]
    assert [fault.problem for fault in report(archive, tmp_path).faults] == [
        "the last 2 records of the chain are missing"
    ]
    (tmp_path / HEAD).unlink()
    assert [fault.problem for fault in report(archive, tmp_path).faults] == [
        "the file that says how far the chain goes is gone"
    ]


def test_a_head_that_somebody_wrote_is_no_head(tmp_path: Path) -> None:
    archive = written(tmp_path)
    head = tmp_path / HEAD
    head.write_bytes(head.read_bytes().replace(b'"number":6', b'"number":4'))
    archive.records = archive.records[:4]
    assert not report(archive, tmp_path).intact
    with pytest.raises(CorruptError):
        SealedStream(journal(), STREAM, tmp_path, clock=ManualClock())


def test_what_retention_removed_at_the_beginning_is_no_fault(tmp_path: Path) -> None:
    archive = written(tmp_path)
    archive.records = archive.records[2:]
    found = report(archive, tmp_path)
    assert (found.intact, found.first, found.last) == (True, 3, 6)


def test_a_crash_between_record_and_head_is_made_good_at_the_next_start(tmp_path: Path) -> None:
    stream, clock = journal(), ManualClock()
    sealed = SealedStream(stream, STREAM, tmp_path, clock=clock)
    decide(sealed, 1)
    before = (tmp_path / HEAD).read_bytes()
    decide(sealed, 2)
    (tmp_path / HEAD).write_bytes(before)  # the power went between the two
    assert check(stream, STREAM, tmp_path).intact
    decide(SealedStream(stream, STREAM, tmp_path, clock=clock), 3)
    found = check(stream, STREAM, tmp_path)
    assert (found.intact, found.sealed) == (True, 3)


def test_records_sealed_with_another_key_are_found(tmp_path: Path) -> None:
    stream = journal()
    SealedStream(journal(), STREAM, tmp_path / "node", clock=ManualClock())
    decide(SealedStream(stream, STREAM, tmp_path / "thief", clock=ManualClock()), 1, 2)
    assert {fault.problem for fault in check(stream, STREAM, tmp_path / "node").faults} >= {
        "it is sealed with another key"
    }


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / KEY).chmod(0o644)
    with pytest.raises(SettingsError, match="others can read"):
        SealedStream(journal(), STREAM, tmp_path, clock=ManualClock())
    (tmp_path / KEY).chmod(0o600)
    (tmp_path / KEY).write_bytes(b"short")
    with pytest.raises(CorruptError):
        SealedStream(journal(), STREAM, tmp_path, clock=ManualClock())


def test_without_its_head_the_chain_goes_on_but_says_so_for_ever(tmp_path: Path) -> None:
    archive = written(tmp_path)
    (tmp_path / HEAD).unlink()
    stream = journal()
    for record in archive.records[:4]:  # the last two were removed together with the head
        stream.append(STREAM, [Entry(record.kind, record.body, record.blobs, record.time_ns)])
    decide(SealedStream(stream, STREAM, tmp_path, clock=ManualClock()), 7)
    decide(SealedStream(stream, STREAM, tmp_path, clock=ManualClock()), 8)
    (fault,) = check(stream, STREAM, tmp_path).faults
    assert (fault.sequence, "without knowing how far" in fault.problem) == (5, True)


@pytest.mark.parametrize("content", [None, b"\xff\xfe no key"])
def test_a_public_key_that_was_taken_away_or_spoilt_is_told(tmp_path: Path, content: bytes | None) -> None:
    archive = written(tmp_path)
    if content is None:
        (tmp_path / PUBLIC_KEY).unlink()
        assert not report(archive, tmp_path).intact
    else:
        (tmp_path / PUBLIC_KEY).write_bytes(content)
        with pytest.raises(CorruptError):
            report(archive, tmp_path)


def test_another_key_than_the_one_that_sealed_is_refused_with_a_hint(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / KEY).unlink()
    with pytest.raises(SettingsError, match="is not the key") as caught:
        SealedStream(journal(), STREAM, tmp_path, clock=ManualClock())
    assert "Put the key back" in caught.value.hint


def test_a_decision_that_is_written_while_the_audit_reads_is_no_fault(tmp_path: Path) -> None:
    stream, clock = journal(), ManualClock()
    sealed = SealedStream(stream, STREAM, tmp_path, clock=clock)
    decide(sealed, 1)

    class Busy:
        def read(self, name: str, **options: Any) -> list[Record]:
            page = stream.read(name, **options)
            decide(sealed, 2)  # behind the reader's back
            return page[:1] if not options.get("after") else []

    assert check(Busy(), STREAM, tmp_path).intact


def test_a_head_that_cannot_be_written_neither_fails_nor_doubles_a_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = journal()
    sealed = SealedStream(stream, STREAM, tmp_path, clock=ManualClock())

    def full(*_: object, **__: object) -> None:
        raise StorageFullError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(sealing, "atomic_writer", full)
        decide(sealed, 1)
    decide(sealed, 2)
    assert len(stream.read(STREAM)) == 2
    assert check(stream, STREAM, tmp_path).intact


def test_keys_that_are_numbers_are_sealed_as_json_has_them(tmp_path: Path) -> None:
    stream = journal()
    sealed = SealedStream(stream, STREAM, tmp_path, clock=ManualClock())
    sealed.append(STREAM, [Entry("decision.done", {"arguments": {1: {2: "x"}}})])
    assert check(stream, STREAM, tmp_path).intact
