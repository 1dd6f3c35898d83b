"""A node changes its key: the parent takes the change once, and from nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import AccessError
from edgewise.trust import jws, rotation
from edgewise.trust.keys import drop_next_keys, keys_of, name_of, next_key, open_key, promote_key
from edgewise.trust.rotation import rotate, take

PARENT, BEFORE = "aa" * 32, "bb" * 32


def key(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def stated(old: int = 1, new: int = 2, *, node: str = "cam", parent: str = PARENT, number: int = 1) -> str:
    return rotate(key(old), key(new), node=node, parent=parent, number=number)


def taken(text: str, *, known: int = 1, number: int = 0) -> str:
    return take(text, node="cam", audiences=(PARENT, BEFORE), key=name_of(key(known)), number=number)


def refused(text: str, *, known: int = 1, number: int = 0) -> str:
    with pytest.raises(AccessError) as caught:
        taken(text, known=known, number=number)
    return str(caught.value.facts["reason"])


def test_the_parent_takes_a_new_key_by_the_old_ones_word() -> None:
    assert taken(stated()) == name_of(key(2))
    assert taken(stated(parent=BEFORE)) == name_of(key(2))


def test_a_change_is_taken_once_even_if_the_key_comes_back() -> None:
    there, back = stated(1, 2, number=1), stated(2, 1, number=2)
    assert taken(there) == name_of(key(2))
    assert refused(there, known=2, number=1) == "used"
    assert taken(back, known=2, number=1) == name_of(key(1))
    assert refused(there, known=1, number=2) == "used"


def test_a_change_that_starts_from_another_key_node_or_parent_is_refused() -> None:
    assert refused(stated(3, 2)) == "wrong_key"
    assert refused(stated(1, 1)) == "wrong_key"
    assert refused(stated(node="door")) == "wrong_name"
    assert refused(stated(parent="cc" * 32)) == "wrong_audience"
    assert refused(stated(number=2)) == "used"
    assert refused("") == "missing"
    assert refused("a" * 5000) == "oversize"
    assert refused("a.b.c") == "malformed"


def test_nobody_can_give_a_node_a_key_that_did_not_agree() -> None:
    claims = jws.read(stated(), typ="edgewise-rotation+jwt", max_bytes=4096, what="x").claims(rotation.Rotation)
    other = rotation.Rotation(claims.sub, claims.aud, claims.old, name_of(key(3)), 1, claims.agreed)
    assert refused(jws.sign(key(1), other, typ="edgewise-rotation+jwt")) == "bad_signature"
    assert refused(jws.sign(key(3), claims, typ="edgewise-rotation+jwt")) == "bad_signature"


@given(st.data())
def test_no_change_that_was_changed_is_taken(data: st.DataObject) -> None:
    text = stated()
    at = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.characters(codec="utf-8").filter(lambda character: character != text[at]))
    with pytest.raises(AccessError):
        taken(text[:at] + put + text[at + 1 :])


def names(path: Path) -> list[str]:
    return [name_of(each) for each in keys_of(path)]


def test_a_crash_between_stating_and_taking_leaves_both_keys(tmp_path: Path) -> None:
    path = tmp_path / "link.key"
    old, new = open_key(path), next_key(path)
    assert name_of(old) != name_of(new)
    assert names(path) == [name_of(old), name_of(new)]
    promote_key(path, name_of(new))
    assert names(path) == [name_of(new)]
    assert path.stat().st_mode & 0o777 == 0o600
    late = next_key(path)
    for key in (old, new):  # by somebody who is late, while the one after is made
        promote_key(path, name_of(key))
    assert names(path) == [name_of(new), name_of(late)]
    drop_next_keys(path)
    assert names(path) == [name_of(new)]


def test_a_key_that_was_made_before_is_not_the_next_one_and_may_still_be_taken(tmp_path: Path) -> None:
    path = tmp_path / "link.key"
    own = open_key(path)
    made = [name_of(next_key(path)) for _ in range(12)]
    assert len(set(made)) == 12
    assert names(path) == [name_of(own), *reversed(made[-8:])]
    promote_key(path, made[-3])
    assert names(path) == [made[-3]]
