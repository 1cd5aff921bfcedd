"""The word that is pasted on a worker: what it says, and what is said of one that does not fit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from oddaemon.domain.errors import InvalidArgument
from oddaemon.domain.join_token import KeptToken, TokenState, new_token, parse_token
from oddaemon.domain.types import UserId

PRINT = "AB" * 32


def test_a_word_comes_back_as_what_it_was_made_of() -> None:
    made = new_token(PRINT)
    assert parse_token(f"  {made.word}\n") == made
    assert made.fingerprint == PRINT.lower()
    assert new_token(PRINT).secret != made.secret
    assert made.secret not in f"{made} {made!r}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda word: "", "no join token is given"),
        (lambda word: "hunter2", "no join token: those begin with od1."),
        (lambda word: word.replace("od1.", "od2."), "another version"),
        (lambda word: word.rsplit(".", 1)[0], "3 of 4 parts"),
        (lambda word: f"{word}.x", "5 of 4 parts"),
        (lambda word: word[:-1], "cut off"),
        (lambda word: word.replace("od1.", "od1.XY"), "changed on its way"),
    ],
)
def test_what_does_not_fit_is_said_without_the_secret(change: object, said: str) -> None:
    made = new_token(PRINT)
    with pytest.raises(InvalidArgument) as told:
        parse_token(change(made.word))  # type: ignore[operator]
    assert said in told.value.message
    assert "odctl nodes token create" in told.value.hint
    assert made.secret not in f"{told.value.message}{told.value.hint}{told.value.details}"


def test_a_token_is_good_until_it_is_used_or_expires() -> None:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    token = KeptToken(id="0123456789ab", key=b"k", created_by=UserId(uuid4()), created_at=now,
                      expires_at=now + timedelta(hours=1))  # fmt: skip
    assert token.state(now) is TokenState.GOOD
    assert token.state(token.expires_at) is TokenState.EXPIRED
    used = {"id": token.id, "key": b"k", "created_by": token.created_by, "created_at": now,
            "expires_at": token.expires_at, "uses": 1}  # fmt: skip
    assert KeptToken(**used).state(now) is TokenState.USED  # type: ignore[arg-type]
    assert KeptToken(**used, reusable=True).state(now) is TokenState.GOOD  # type: ignore[arg-type]
