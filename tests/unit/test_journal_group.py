"""Group commit: who leads, who follows, and what happens when a leader fails."""

import threading
from collections.abc import Sequence

import pytest

from edgewise.journal.group import GroupCommit, Work


class Recorder:
    """Runs groups and remembers them; can be held up in the middle of one."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.entered = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def run(self, group: Sequence[Work[object]]) -> None:
        self.groups.append(len(group))
        self.entered.release()
        assert self.go.acquire(timeout=30)
        for work in group:
            try:
                work.result = work.action()
            except ValueError as error:
                work.error = error


def in_threads(commit: GroupCommit, count: int, results: list[int]) -> list[threading.Thread]:
    def submit(number: int) -> None:
        results.append(commit.submit(lambda: number))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


def wait_for_queue(commit: GroupCommit, length: int) -> None:
    while len(commit._queue) < length:
        threading.Event().wait(0.001)


def test_a_lone_caller_waits_for_nobody() -> None:
    recorder = Recorder()
    recorder.go.release()
    assert GroupCommit(recorder.run).submit(lambda: 42) == 42
    assert recorder.groups == [1]


def test_what_comes_while_one_group_runs_is_the_next_group() -> None:
    recorder, results = Recorder(), list[int]()
    commit = GroupCommit(recorder.run)
    threads = in_threads(commit, 8, results)
    assert recorder.entered.acquire(timeout=30)
    wait_for_queue(commit, 7)
    recorder.go.release(2)
    for thread in threads:
        thread.join(30)
    assert recorder.groups == [1, 7]
    assert sorted(results) == list(range(8))


def test_an_error_reaches_only_the_one_whose_work_it_was() -> None:
    recorder = Recorder()
    commit = GroupCommit(recorder.run)
    recorder.go.release(2)

    def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        commit.submit(fail)
    assert commit.submit(lambda: 1) == 1


def test_a_group_that_fails_as_a_whole_fails_for_all_and_the_next_one_runs() -> None:
    broken = threading.Event()
    broken.set()
    entered, go = threading.Semaphore(0), threading.Semaphore(0)
    failures: list[str] = []

    def run(group: Sequence[Work[object]]) -> None:
        entered.release()
        assert go.acquire(timeout=30)
        if broken.is_set():
            raise OSError("disk")
        for work in group:
            work.result = work.action()

    commit = GroupCommit(run)

    def submit() -> None:
        try:
            commit.submit(lambda: 1)
        except OSError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert entered.acquire(timeout=30)
    wait_for_queue(commit, 3)
    go.release(2)
    for thread in threads:
        thread.join(30)
    assert failures == ["disk"] * 4
    broken.clear()
    go.release()
    assert commit.submit(lambda: 5) == 5


def test_an_interrupted_leader_hands_the_lead_on() -> None:
    entered, go = threading.Semaphore(0), threading.Semaphore(0)
    interrupted: list[str] = []

    def run(group: Sequence[Work[object]]) -> None:
        entered.release()
        assert go.acquire(timeout=30)
        if not interrupted:
            interrupted.append("once")
            raise KeyboardInterrupt
        for work in group:
            work.result = work.action()

    commit, results = GroupCommit(run), list[int]()

    def lead() -> None:
        with pytest.raises(KeyboardInterrupt):
            commit.submit(lambda: 1)

    leader = threading.Thread(target=lead)
    leader.start()
    assert entered.acquire(timeout=30)
    followers = in_threads(commit, 3, results)
    wait_for_queue(commit, 3)
    go.release(3)
    for thread in (leader, *followers):
        thread.join(30)
    assert sorted(results) == [0, 1, 2]


def test_a_heavy_group_does_not_wait_for_those_who_still_prepare_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    yielded: list[float] = []
    monkeypatch.setattr("edgewise.journal.group.time.sleep", yielded.append)
    recorder = Recorder()
    recorder.go.release(2)
    commit = GroupCommit(recorder.run)
    commit._expected = 8
    commit.submit(lambda: 1, size=10 << 20)
    assert yielded == []
    commit._expected = 8
    commit.submit(lambda: 1, size=1000)
    assert len(yielded) > 1
