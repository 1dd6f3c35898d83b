"""Join tokens: one line that tells its typing errors, and lets in one node, once."""

from __future__ import annotations

import secrets

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import AccessError, InputError
from edgewise.trust.joining import MAX_VALID_S, PREFIX, Invitation, JoinToken, digest_of, invite, redeem

FINGERPRINT = "ab" * 32
NOW = 1_800_000_000 * 10**9
HOUR = 3600 * 10**9
KEY, OTHER = "1" * 64, "2" * 64

tokens = st.builds(JoinToken, st.binary(min_size=32, max_size=32).map(bytes.hex), st.binary(min_size=16, max_size=16))
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def invited(**more: str) -> tuple[JoinToken, Invitation]:
    return invite(FINGERPRINT, random=secrets.token_bytes, time_ns=NOW, **more)


def refused(stored: Invitation | None, secret: bytes, *, node: str = "cam", key: str = KEY, time_ns: int = NOW) -> str:
    with pytest.raises(AccessError) as caught:
        redeem(stored, secret, node=node, key=key, time_ns=time_ns)
    return str(caught.value.facts["reason"])


@given(tokens)
def test_a_token_reads_as_it_was_written(token: JoinToken) -> None:
    assert JoinToken.parse(token.text) == token
    assert token.text.startswith(PREFIX)
    assert len(token.text) < 80


@given(tokens, st.data())
def test_blanks_and_line_breaks_do_not_matter(token: JoinToken, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(token.text)))
    assert JoinToken.parse(f"  {token.text[:at]}\n {token.text[at:]}\r\n") == token


@given(tokens, st.data())
def test_a_typing_error_is_told_as_such(token: JoinToken, data: st.DataObject) -> None:
    at = data.draw(st.integers(len(PREFIX), len(token.text) - 1))
    wrong = data.draw(st.sampled_from(CHARACTERS).filter(lambda character: character != token.text[at]))
    with pytest.raises(InputError) as caught:
        JoinToken.parse(token.text[:at] + wrong + token.text[at + 1 :])
    assert caught.value.facts["problem"] == "typo"


@given(tokens, st.data())
def test_two_characters_that_changed_places_are_told(token: JoinToken, data: st.DataObject) -> None:
    text = token.text
    at = data.draw(st.integers(len(PREFIX), len(text) - 2).filter(lambda at: text[at] != text[at + 1]))
    with pytest.raises(InputError, match="typing error"):
        JoinToken.parse(text[:at] + text[at + 1] + text[at] + text[at + 2 :])


@given(st.text(max_size=200))
def test_anything_else_is_told_to_be_no_token(text: str) -> None:
    with pytest.raises(InputError):
        JoinToken.parse(text)


def test_what_is_wrong_is_told() -> None:
    token, _ = invited()
    for text, problem in (
        (token.text.removeprefix(PREFIX), "prefix"),
        (token.text[:-1], "length"),
        (token.text + "A" * 10_000, "length"),
        (token.text[:-1] + "é", "typo"),
    ):
        with pytest.raises(InputError) as caught:
            JoinToken.parse(text)
        assert caught.value.facts["problem"] == problem


def test_a_secret_is_not_shown_by_accident() -> None:
    token, stored = invited()
    assert token.text not in repr(token)
    assert token.secret.hex() not in repr(token)
    assert token.secret.hex() not in msgspec.json.encode(stored).decode()
    assert len({invited()[0].secret for _ in range(50)}) == 50


def test_a_token_lets_one_node_in() -> None:
    token, stored = invited()
    used = redeem(stored, token.secret, node="cam", key=KEY, time_ns=NOW + HOUR - 1)
    assert (used.node, used.used_by, used.digest) == ("cam", KEY, digest_of(token.secret))
    assert refused(used, token.secret, key=OTHER) == "used"
    assert refused(used, token.secret, key=OTHER, time_ns=NOW + HOUR) == "used"


def test_a_node_whose_answer_was_lost_may_ask_again_and_gets_the_same() -> None:
    token, stored = invited()
    used = redeem(stored, token.secret, node="cam", key=KEY, time_ns=NOW)
    assert redeem(used, token.secret, node="cam", key=KEY, time_ns=NOW) == used
    assert refused(used, token.secret, node="another") == "wrong_name"


def test_what_the_parent_does_not_know_has_expired_or_is_for_another_is_refused() -> None:
    token, stored = invited(node="porch")
    assert refused(None, token.secret) == "unknown"
    assert refused(stored, b"x" * 16) == "unknown"
    assert refused(stored, token.secret, node="porch", time_ns=NOW + HOUR) == "expired"
    assert refused(stored, token.secret, node="cam") == "wrong_name"
    assert redeem(stored, token.secret, node="porch", key=KEY, time_ns=NOW).used_by == KEY


def test_labels_go_with_the_node() -> None:
    _, stored = invite(FINGERPRINT, random=secrets.token_bytes, time_ns=NOW, labels={"site": "north"})
    assert stored.labels == {"site": "north"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"valid_s": 0},
        {"valid_s": MAX_VALID_S + 1},
        {"valid_s": float("nan")},
        {"node": "Cam 1"},
        {"node": "cam\n"},
        {"labels": {"a b": "c"}},
        {"labels": {"a": "x" * 64}},
        {"labels": {f"l{number}": "x" for number in range(17)}},
    ],
)
def test_invitations_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        invite(FINGERPRINT, random=secrets.token_bytes, time_ns=NOW, **wrong)  # type: ignore[arg-type]


def test_no_node_joins_under_a_name_that_none_can_have() -> None:
    token, stored = invited()
    with pytest.raises(InputError, match="no name of a node"):
        redeem(stored, token.secret, node="../cam", key=KEY, time_ns=NOW)
