"""The settings of accounts, changed while the daemon runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oddaemon.domain.errors import InvalidArgument, NotAllowed
from oddaemon.services.passwords import Passwords
from tests.support.accounts import CHEAP
from tests.support.controller import composed

PASSWORD = "one of hers"
SIGNING = "0f1e2d3c4b5a69788796a5b4c3d2e1f0-and-more"
HERE = "192.0.2.1"


async def test_what_the_settings_say_holds_at_once(tmp_path: Path) -> None:
    async with composed(tmp_path) as home:
        accounts = home.controller.accounts
        accounts.passwords.close()
        accounts.passwords = Passwords(cost=CHEAP)
        with pytest.raises(NotAllowed):
            await accounts.register("ann", PASSWORD, address=HERE)
        await home.set(auth__registration_enabled="true")
        await accounts.register("ann", PASSWORD, address=HERE)
        assert (await accounts.login("ann", PASSWORD, address=HERE)).expires_in == 3600
        await home.set(auth__jwt_expiry="2m")
        assert (await accounts.login("ann", PASSWORD, address=HERE)).expires_in == 120
        with pytest.raises(InvalidArgument):
            await home.set(auth__jwt_expiry="25h")
        with pytest.raises(NotAllowed):
            await accounts.by_uid(4_000_000_000)
        await home.set(auth__unix_autoprovision="true")
        assert (await accounts.by_uid(4_000_000_000)).username == "uid4000000000"
        accounts.passwords.close()


async def test_a_given_signing_key_is_used(tmp_path: Path) -> None:
    async with composed(tmp_path, auth_jwt_secret=SIGNING) as home:
        accounts = home.controller.accounts
        assert accounts.fixed_key == SIGNING.encode()
        assert not await accounts.rotate_secret(await accounts.by_uid(os.geteuid()))
        assert accounts.fixed_key == SIGNING.encode()
        assert SIGNING not in repr(accounts)
