"""Names and passwords: one spelling each, bounded, and hashes that are renewed."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.accounts import passwords
from edgewise.accounts.names import MAX_NAME, check_name, fold
from edgewise.accounts.passwords import check_password, hash_password, is_outdated, verify_password
from edgewise.errors import BusyError, InputError

GOOD = "four words in a row"


@given(st.text(max_size=300))
def test_folding_a_folded_name_changes_nothing(typed: str) -> None:
    assert fold(fold(typed)) == fold(typed)


@given(st.text(max_size=80))
def test_what_is_a_name_is_one_however_it_is_typed(typed: str) -> None:
    try:
        name = check_name(typed)
    except InputError:
        return
    assert 1 <= len(name) <= MAX_NAME
    assert check_name(name) == check_name(typed.upper().lower()) == name or typed.upper().lower() != typed.lower()


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Ada", "ada"),
        ("  ADA ", "ada"),
        ("Ａｄａ", "ada"),
        ("José", "josé"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("王小明", "王小明"),
        ("o'neil", "o'neil"),
        ("ﬁona", "fiona"),
    ],
)
def test_spellings_of_one_name_are_one_account(typed: str, name: str) -> None:
    assert check_name(typed) == name


@pytest.mark.parametrize(
    "typed", ["", "   ", "a" * 65, "ad\u200ba", "a\nb", "a/b", "ad\u202ea", "a  b", "\ufdfa" * 60, "a" * 300, "a\x00"]
)
def test_what_could_be_taken_for_another_is_no_name(typed: str) -> None:
    with pytest.raises(InputError):
        check_name(typed)


@pytest.mark.parametrize("password", ["short", "x" * 257, "abababababababab", "ada" * 5, ""])
def test_a_password_that_is_easy_to_guess_is_refused(password: str) -> None:
    with pytest.raises(InputError):
        check_password(password, name="ada")


def test_only_the_right_password_is_right_whatever_keyboard_it_comes_from() -> None:
    stored = hash_password("ﬁve wörds in a row")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert verify_password(stored, "five wo\u0308rds in a row")
    assert not verify_password(stored, "five words in a row")
    assert not verify_password(stored, "")
    assert not verify_password(stored, "x" * 10_000_000)
    assert hash_password(GOOD) != hash_password(GOOD)


def test_nobody_and_broken_hashes_match_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda *_: GOOD)
    passwords._nobodys.cache_clear()
    try:
        assert not verify_password("", GOOD)
    finally:
        passwords._nobodys.cache_clear()
    assert not verify_password("plain text", "plain text")


def test_a_hash_of_other_costs_is_still_right_and_known_as_outdated() -> None:
    from argon2 import PasswordHasher

    weak = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(GOOD)
    assert verify_password(weak, GOOD)
    assert is_outdated(weak)
    assert not is_outdated(hash_password(GOOD))


def test_few_wait_for_a_hash_and_the_next_is_told_to_come_again() -> None:
    begun = threading.Barrier(passwords.MAX_WAITING + 1)

    def wait() -> None:
        begun.wait(10)
        hash_password(GOOD)

    threads = [threading.Thread(target=wait) for _ in range(passwords.MAX_WAITING)]
    with passwords._TURN:
        for thread in threads:
            thread.start()
        begun.wait(10)
        while passwords._PLACES._value:  # each takes its place before it waits for its turn
            threading.Event().wait(0.001)
        with pytest.raises(BusyError):
            verify_password("", GOOD)
    for thread in threads:
        thread.join()
    assert not verify_password("", GOOD)
