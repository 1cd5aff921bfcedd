"""Accounts on the wire: what the daemon knows is what odctl shows, but for hashes and what could steer a terminal."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odproto.gen.opendebrid.control import v1 as pb

from odctl.client import convert
from oddaemon.domain.credentials import ApiKey, KeyId
from oddaemon.domain.errors import InvalidArgument
from oddaemon.domain.types import Bytes, UserId
from oddaemon.domain.user import Role, Scope, User, UserLimits
from oddaemon.wire import accounts as wire
from oddaemon.wire.decode import decoded

TEXT = st.text(max_size=20)
TIMES = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))
MAYBE_TIME = st.one_of(st.none(), TIMES)
LIMIT: Any = st.one_of(st.none(), st.integers(0, 2**62))
LIMITS = st.builds(
    UserLimits, running=LIMIT, jobs=LIMIT, storage=LIMIT, served_per_day=LIMIT, requests_per_minute=LIMIT
)
USERS = st.builds(
    User, id=st.builds(UserId, st.uuids()), username=st.from_regex(r"[A-Za-z0-9_]{1,64}", fullmatch=True),
    role=st.sampled_from(Role), created_at=TIMES, updated_at=TIMES, email=st.one_of(st.none(), TEXT),
    password=st.one_of(st.none(), st.just("$2b$12$hash-of-a-password")), is_active=st.booleans(), limits=LIMITS,
    unix_uid=st.one_of(st.none(), st.integers(0, 2**32 - 2)), last_seen_at=MAYBE_TIME,
)  # fmt: skip


@given(USERS, st.integers(0, 2**31), TEXT)
def test_a_user_arrives_as_it_left_but_for_the_hash(user: User, active: int, unix_user: str) -> None:
    data = bytes(wire.user_message(user, jobs_active=active, unix_user=unix_user))
    assert b"hash-of-a-password" not in data
    shown = convert.user(pb.User.parse(data))
    assert (shown.name, shown.role, shown.active) == (user.username, user.role.value, user.is_active)
    assert (shown.unix_uid, shown.jobs_active, shown.id) == (user.unix_uid, active, str(user.id))
    assert shown.has_password == (user.password is not None)
    assert shown.quota_bytes == user.limits.storage
    assert {name: getattr(shown.limits, name) for name in wire.LIMITS} == {
        name: getattr(user.limits, name) for name in wire.LIMITS
    }
    assert shown.last_seen_at == user.last_seen_at
    for text in (shown.unix_user or "", shown.email or ""):
        assert not [c for c in text if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs")]


@given(LIMITS, LIMITS, st.sets(st.sampled_from(wire.LIMITS)))
def test_only_the_named_limits_change(before: UserLimits, given: UserLimits, names: set[str]) -> None:
    message = decoded(bytes(pb.UserLimits(**{name: getattr(given, name) for name in wire.LIMITS})), pb.UserLimits)
    after = wire.changed_limits(before, sorted(names), message)
    for name in wire.LIMITS:
        assert getattr(after, name) == getattr(given if name in names else before, name)


def test_words_that_mean_nothing_are_refused() -> None:
    for work in (
        lambda: wire.role_of("boss"), lambda: wire.scopes_of(["all"]), lambda: wire.scopes_of([]),
        lambda: wire.changed_limits(UserLimits(storage=Bytes(1)), ["speed"], None),
    ):  # fmt: skip
        with pytest.raises(InvalidArgument):
            work()
    assert wire.role_of("") is Role.USER


def test_a_key_goes_without_its_digest() -> None:
    key = ApiKey(
        id=KeyId(UUID(int=7)), user_id=UserId(UUID(int=8)), name="phone\x1b[2J", digest="d1ge57", created_at=NOW,
        scopes=frozenset({Scope.JOBS, Scope.READ}),
    )  # fmt: skip
    data = bytes(wire.key_message(key, "maya"))
    assert b"d1ge57" not in data
    shown = convert.api_key(pb.ApiKey.parse(data))
    assert (shown.name, shown.user, shown.scopes, shown.expires_at) == ("phone [2J", "maya", ("read", "jobs"), None)


NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
