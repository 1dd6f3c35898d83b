"""SIGKILL at any moment: every append that returned is there, sequences have no gaps, the audit balances.

Eight threads append in a process of their own and tell what was accepted; a ninth claims and acknowledges. The process
is killed at random moments, again and again on the same folder, whose segments are small and soon full; after
``KILLS_A_FOLDER`` of them it begins anew. ``EDGEWISE_JOURNAL_KILLS`` sets how often.
"""

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

from edgewise.journal.base import StreamSettings, WhenFull
from edgewise.journal.disk import DiskJournal
from edgewise.testing.journal import thinned

KILLS = int(os.environ.get("EDGEWISE_JOURNAL_KILLS", "10"))
KILLS_A_FOLDER = 20
STREAMS = {
    "kept": StreamSettings(),
    "tight": StreamSettings(max_bytes=200_000, lease_s=0.01),
    "thin": StreamSettings(max_bytes=200_000, when_full=WhenFull.THIN),
}

WRITER = """
import os, sys, threading
from pathlib import Path
from edgewise.journal.base import StreamSettings, WhenFull
from edgewise.journal.disk import DiskJournal
from edgewise.types import Entry

journal = DiskJournal(
    Path(sys.argv[1]),
    node="here",
    streams={
        "kept": StreamSettings(),
        "tight": StreamSettings(max_bytes=200_000, lease_s=0.01),
        "thin": StreamSettings(max_bytes=200_000, when_full=WhenFull.THIN),
    },
    segment_bytes=300_000,
)

def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # one write: lines of threads do not mix

def append(thread):
    for step in range(10**9):
        stream = ("kept", "tight", "thin")[step % 3]
        count = 1 + step % 7 if step % 60 else 700
        batch = [Entry("test", {"thread": thread, "step": step, "n": n, "x": "x" * 100}) for n in range(count)]
        accepted = journal.append(stream, batch)
        tell("accepted", stream, accepted[0], accepted[-1], thread, step)

def consume():
    while True:
        for stream in ("kept", "tight"):
            claim = journal.claim(stream, "link", limit=50)
            if claim:
                journal.ack(stream, "link", claim.last)
                tell("acked", stream, claim.last)

tell("ready")
for thread in range(8):
    threading.Thread(target=append, args=(thread,)).start()
threading.Thread(target=consume).start()
"""


def run_until_killed(folder: Path, after_s: float, *, while_opening: bool) -> list[list[str]]:
    """What the writers told before they were killed; a half-written last line is dropped."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        if not while_opening:
            assert process.stdout.readline() == b"ready\n"
        killer = threading.Timer(after_s, process.kill)
        killer.start()
        told = process.stdout.read().decode()
        killer.join()
    assert process.returncode == -signal.SIGKILL
    lines = [line.split() for line in told.splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in lines if line != ["ready"]]


def check(folder: Path, accepted: dict[int, tuple[str, str]], acked: dict[str, int]) -> None:
    """Opens what the crash left and holds it against what was told."""
    journal = DiskJournal(folder, node="here", streams=STREAMS, segment_bytes=300_000)
    try:
        assert journal.verify() == 0
        assert [balance for balance in journal.audit() if not balance.balanced] == []
        records = journal.read("kept", limit=10**9)
        assert [record.sequence for record in records] == list(range(1, len(records) + 1))
        owners = {record.sequence: (str(record.body["thread"]), str(record.body["step"])) for record in records}
        assert {sequence: owners.get(sequence) for sequence in accepted} == accepted
        left = [record.sequence for record in journal.read("thin", limit=10**9)]
        assert left[:1] in ([], [1])
        assert thinned(journal, "") == set(range(1, left[-1] + 1 if left else 1)) - set(left)
        for stream, through in acked.items():
            claim = journal.claim(stream, "link")
            assert claim is None or claim.records[0].sequence > through
    finally:
        journal.close()


def test_nothing_accepted_is_lost_however_often_the_process_is_killed(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    print(f"seed {seed}")
    rounds = [min(KILLS_A_FOLDER, KILLS - begun) for begun in range(0, KILLS, KILLS_A_FOLDER)]
    accepted = sum(kill_and_check(tmp_path / str(number), kills, chance) for number, kills in enumerate(rounds))
    print(f"{KILLS} kills, {accepted} records accepted: none lost")
    assert accepted > 10 * KILLS


def kill_and_check(folder: Path, kills: int, chance: random.Random) -> int:
    """Kills the writers of one folder again and again; how many records were accepted of which none may be lost."""
    accepted: dict[int, tuple[str, str]] = {}
    acked: dict[str, int] = {}
    for kill in range(kills):
        for kind, stream, *numbers in run_until_killed(folder, chance.uniform(0, 0.5), while_opening=kill % 5 == 4):
            if kind == "acked":
                acked[stream] = int(numbers[0])
            elif stream == "kept":
                first, last, *owner = numbers
                accepted.update(dict.fromkeys(range(int(first), int(last) + 1), (owner[0], owner[1])))
        check(folder, accepted, acked)
    assert acked
    return len(accepted)
