"""How secrets are written, and that none is shown."""

from __future__ import annotations

import dataclasses
import re
from uuid import UUID, uuid4

import pytest

from oddaemon.domain.credentials import NewKey, Prefix, Tokens, new_secret, parse_secret
from oddaemon.domain.errors import InvalidArgument, NotAllowed
from oddaemon.domain.types import UserId
from oddaemon.domain.user import (
    Principal,
    Proof,
    Role,
    Scope,
    checked_username,
    require,
    require_admin,
)
from oddaemon.testing.store_samples import a_key, a_session, a_user, an_invitation


@pytest.mark.parametrize("prefix", list(Prefix))
def test_what_is_written_is_read(prefix: Prefix) -> None:
    made = new_secret(prefix, uuid4())
    assert re.fullmatch(rf"{prefix}_[0-9a-f]{{32}}_[A-Za-z0-9_-]{{43}}", made.written)
    assert parse_secret(prefix, made.written) == made
    assert re.fullmatch("[0-9a-f]{64}", made.digest)
    other = next(one for one in Prefix if one is not prefix)
    assert parse_secret(other, made.written) is None


def test_no_two_secrets_are_the_same() -> None:
    one = UUID(int=1)
    assert len({new_secret(Prefix.API_KEY, one).digest for _ in range(1000)}) == 1000


@pytest.mark.parametrize("text", ["", "odk_", "x" * 10_000, "odk_" + "0" * 32 + "_" + "é" * 43])
def test_what_is_written_otherwise_is_none(text: str) -> None:
    assert parse_secret(Prefix.API_KEY, text) is None


def test_any_other_character_makes_another_secret_or_none() -> None:
    made = new_secret(Prefix.API_KEY, uuid4()).written
    right = parse_secret(Prefix.API_KEY, made)
    for place in range(len(made)):
        for letter in "0_-A \n":
            altered = made[:place] + letter + made[place + 1 :]
            read = parse_secret(Prefix.API_KEY, altered)
            assert altered == made or read is None or (read.id, read.digest) != (right.id, right.digest)  # type: ignore[union-attr]
    for other in (made + "\n", made[:-1], " " + made, made.upper()):
        assert parse_secret(Prefix.API_KEY, other) is None


def test_nothing_shows_a_secret() -> None:
    user = a_user(password="$2b$hash-of-ann")
    secret = new_secret(Prefix.API_KEY, uuid4())
    key = a_key(user, digest=secret.digest)
    shown = repr(
        [
            user, secret, key, NewKey(key=key, secret=secret.written), a_session(user, digest="d" * 64),
            an_invitation(user, digest="d" * 64),
            Tokens(access_token="eyJhbGciOi", refresh_token=secret.written, expires_in=3600),
        ]
    ) + f"{secret} {key}"  # fmt: skip
    for hidden in ("hash-of-ann", secret.text, secret.digest, "d" * 64, "eyJhbGciOi"):
        assert hidden not in shown


def who(role: Role, *scopes: Scope) -> Principal:
    return Principal(
        user_id=UserId(uuid4()), username="ann", role=role, proof=Proof.API_KEY, scopes=frozenset(scopes)
    )


def test_a_scope_allows_what_those_below_it_do() -> None:
    order = [Scope.READ, Scope.JOBS, Scope.ADMIN]
    for held, scope in enumerate(order):
        caller = who(Role.USER, scope)
        for wanted, needed in enumerate(order):
            if wanted <= held:
                require(caller, needed)
                continue
            with pytest.raises(NotAllowed, match=str(needed)) as caught:
                require(caller, needed)
            assert caught.value.details["scope"] == str(needed)
    with pytest.raises(NotAllowed):
        require(who(Role.ADMIN), Scope.READ)


def test_an_admins_key_is_an_admin_only_with_the_scope() -> None:
    assert who(Role.ADMIN, Scope.ADMIN).is_admin
    assert not who(Role.ADMIN, Scope.JOBS).is_admin
    assert not who(Role.USER, *Scope).is_admin
    require_admin(who(Role.ADMIN, Scope.ADMIN))
    for other in (who(Role.ADMIN, Scope.JOBS, Scope.READ), who(Role.USER, *Scope)):
        with pytest.raises(NotAllowed):
            require_admin(other)


def test_by_default_a_principal_may_all_that_its_role_does() -> None:
    caller = dataclasses.replace(who(Role.ADMIN), scopes=frozenset(Scope))
    plain = Principal(user_id=caller.user_id, username="ann", role=Role.ADMIN, proof=Proof.API_KEY)
    assert plain == caller


@pytest.mark.parametrize("name", ["a", "ann", "Bob.Smith", "media_box", "_x", "0", "a" * 64])
def test_names(name: str) -> None:
    assert checked_username(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "a" * 65, "-rf", ".hidden", "a b", "a/b", "ann\n", "änn", "a:b", "a@b", "a\0",
        "355a7522-7783-43da-bd95-2774de4f299d", "33375eb034a643f5b57ce4badc27cadd",
    ],
)  # fmt: skip
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        checked_username(name)
    assert caught.value.field == "username"
