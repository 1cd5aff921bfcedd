"""A fresh installation lets nobody in but its operator, and shares no secret with another."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import bcrypt
import pytest

from oddaemon.domain.errors import LoginThrottled, NotAllowed, OpenDebridError, Unauthenticated
from oddaemon.services.accounts import Accounts
from tests.support.accounts import CHEAP
from tests.support.controller import Composed, composed

COMMON = [
    ("admin", "admin"), ("admin", ""), ("admin", "password"), ("admin", "changeme"), ("admin", "opendebrid"),
    ("root", "root"), ("opendebrid", "opendebrid"), ("", ""), ("user", "user"),
]  # fmt: skip


def secrets_of(home: Composed, folder: Path) -> set[bytes]:
    with closing(sqlite3.connect(folder / "data" / "opendebrid.db")) as connection:
        rows = connection.execute("SELECT value FROM secrets WHERE name NOT LIKE 'sentinel:%'").fetchall()
    return {value for (value,) in rows}


async def let_in(accounts: Accounts) -> list[object]:
    """Whatever gets in without anybody having made it."""
    found: list[object] = []
    for name, password in COMMON:
        try:
            found.append(await accounts.login(name, password, address=""))
        except (Unauthenticated, LoginThrottled):
            continue
    for call in (accounts.by_api_key, accounts.by_access_token, accounts.refresh):
        for text in ("", "admin", "odk_" + "0" * 32 + "_" + "A" * 43, "eyJhbGciOiJub25lIn0.e30."):
            try:
                found.append(await call(text))
            except Unauthenticated:
                continue
    return found


async def test_nobody_but_the_operator_gets_in_and_no_secret_is_shared(tmp_path: Path) -> None:
    made: list[set[bytes]] = []
    for name in ("one", "two"):
        async with composed(tmp_path / name) as home:
            accounts = home.controller.accounts
            accounts.passwords._cost, accounts.passwords._nobody = CHEAP, bcrypt.gensalt(CHEAP)
            assert await let_in(accounts) == []
            with pytest.raises(NotAllowed):
                await accounts.register("ann", "a good password", address="192.0.2.1")
            for uid in (1, 1234, 65533):
                with pytest.raises(OpenDebridError):
                    await accounts.by_uid(uid)
            operator = await accounts.by_uid(os.geteuid())
            assert operator.is_admin
            # until the operator makes one over the socket
            await accounts.add_user(operator, "ann", password="a good password")
            tokens = await accounts.login("ann", "a good password", address="")
            assert (await accounts.by_access_token(tokens.access_token)).username == "ann"
            made.append(secrets_of(home, tmp_path / name))
    assert all(len(found) >= 2 for found in made), "the link key and the key of access tokens"
    assert not made[0] & made[1]
