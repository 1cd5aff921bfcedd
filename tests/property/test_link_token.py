"""Tokens: what is signed comes back, and nothing else is accepted."""

import base64
import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.domain.link import LinkKind
from oddaemon.domain.link_token import (
    TOKEN_LENGTH,
    LinkToken,
    TokenExpired,
    TokenTampered,
    new_link_id,
    new_master_key,
    node_key,
    sign,
    verify,
)
from oddaemon.domain.types import LinkId, NodeId, ReplicaId, UserId

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
KEY = bytes(range(32))
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
uuids = st.binary(min_size=16, max_size=16).map(lambda raw: UUID(bytes=raw))
tokens = st.builds(
    LinkToken,
    link_id=uuids.map(LinkId),
    replica_id=uuids.map(ReplicaId),
    user_id=uuids.map(UserId),
    file_index=st.integers(0, (1 << 32) - 1),
    kind=st.sampled_from(LinkKind),
    inline=st.booleans(),
    limited=st.booleans(),
    expires_at=st.integers(int(NOW.timestamp()) + 1, (1 << 40) - 1),
)


def example(**changes: object) -> LinkToken:
    values: dict[str, object] = {
        "link_id": new_link_id(), "replica_id": ReplicaId(UUID(int=1)), "user_id": UserId(UUID(int=2)), "file_index": 3,
        "kind": LinkKind.FILE, "inline": False, "expires_at": int((NOW + timedelta(hours=1)).timestamp()),
    }  # fmt: skip
    return LinkToken(**values | changes)  # type: ignore[arg-type]


@given(tokens)
def test_what_is_signed_comes_back(token: LinkToken) -> None:
    text = sign(token, KEY)
    assert len(text) == TOKEN_LENGTH <= 128
    assert set(text) <= set(ALPHABET)
    assert verify(text, [KEY], NOW) == token
    assert verify(text, [b"another" * 5, KEY], NOW) == token


def test_every_alteration_of_every_character_is_noticed() -> None:
    text = sign(example(), KEY)
    for place, character in enumerate(text):
        for other in ALPHABET:
            if other != character:
                with pytest.raises(TokenTampered):
                    verify(text[:place] + other + text[place + 1 :], [KEY], NOW)


@given(st.data())
def test_other_lengths_and_characters_are_noticed(data: st.DataObject) -> None:
    text = sign(example(), KEY)
    place = data.draw(st.integers(0, len(text)))
    extra = data.draw(st.text(min_size=1, max_size=3))
    for altered in (
        text[:place] + extra + text[place:],
        text[:place],
        text + "=",
        text + "\n",
        " " + text,
        text.swapcase(),
    ):
        if altered != text:
            with pytest.raises(TokenTampered):
                verify(altered, [KEY], NOW)


@given(st.text(max_size=150))
def test_no_text_is_a_token_by_chance(text: str) -> None:
    with pytest.raises(TokenTampered):
        verify(text, [KEY], NOW)


def test_a_thousand_guesses_find_none() -> None:
    real = sign(example(), KEY)
    payload = base64.urlsafe_b64decode(real)[:-16]
    for _ in range(1000):
        with pytest.raises(TokenTampered):
            verify(base64.urlsafe_b64encode(payload + secrets.token_bytes(16)).decode(), [KEY], NOW)


def test_expiry_is_the_first_second_that_is_refused() -> None:
    end = int(NOW.timestamp()) + 10
    text = sign(example(expires_at=end), KEY)
    verify(text, [KEY], datetime.fromtimestamp(end - 0.001, UTC))
    for later in (end, end + 0.5, end + 10**8):
        with pytest.raises(TokenExpired):
            verify(text, [KEY], datetime.fromtimestamp(later, UTC))


def test_an_expired_token_that_was_altered_is_altered() -> None:
    text = sign(example(expires_at=1), KEY)
    with pytest.raises(TokenTampered):
        verify(("B" if text[50] != "B" else "C").join([text[:50], text[51:]]), [KEY], NOW)


def test_each_node_and_installation_has_its_own_key() -> None:
    master = new_master_key()
    keys = {node_key(master, NodeId("a")), node_key(master, NodeId("b")), node_key(new_master_key(), NodeId("a"))}
    assert len(keys) == 3
    assert node_key(master, NodeId("a")) in keys
    assert master not in keys
    text = sign(example(), node_key(master, NodeId("a")))
    with pytest.raises(TokenTampered):
        verify(text, [node_key(master, NodeId("b"))], NOW)
    with pytest.raises(TokenTampered):
        verify(text, [], NOW)
    with pytest.raises(ValueError, match="too short"):
        node_key(b"short", NodeId("a"))


def test_link_ids_have_128_random_bits() -> None:
    """Every bit is sometimes set and sometimes not: none is a version or a time."""
    found = [new_link_id().int for _ in range(200)]
    ones, zeros = 0, (1 << 128) - 1
    for number in found:
        ones |= number
        zeros &= number
    assert ones == (1 << 128) - 1
    assert zeros == 0


@pytest.mark.parametrize(
    "changes", [{"file_index": -1}, {"file_index": 1 << 32}, {"expires_at": 1 << 40}, {"expires_at": -1}]
)
def test_what_does_not_fit_is_not_signed(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        sign(example(**changes), KEY)
