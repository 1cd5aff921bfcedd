"""Accounts as a household meets them: the real command line against a real daemon, one for all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemons import Daemon

pytestmark = pytest.mark.timeout(180)

PASSWORD, NEW = "correct horse", "battery staple"


def line(text: str) -> bytes:
    return f"{text}\n".encode()


async def test_a_household(tmp_path: Path) -> None:
    async with Daemon(tmp_path / "od", {"ENGINES_SIMULATED_ENABLED": "true"}) as daemon:
        await a_person(daemon)
        await a_program(daemon)
        await a_guest(daemon)
        assert PASSWORD not in daemon.log
        assert NEW not in daemon.log


async def a_person(daemon: Daemon) -> None:
    """Is added, logs in, sees only what is hers, forgets the password, and is locked out."""
    added = await daemon.odctl("users", "add", "maya", "--password-stdin", "--json", stdin=line(PASSWORD))
    assert added.ok().json["user"]["name"] == "maya"
    theirs = await daemon.add("http://sim.invalid/theirs.bin", "-e", "simulated", "--paused")
    login = await daemon.odctl("login", "--user", "maya", "--password-stdin", "--json", stdin=line(PASSWORD))
    assert login.ok().json == {"context": None, "user": "maya", "role": "user"}
    mine = await daemon.add("http://sim.invalid/mine.bin", "-e", "simulated", "--paused")
    assert [job["id"] for job in (await daemon.odctl("ls", "--json")).ok().json] == [mine]
    assert (await daemon.odctl("show", str(theirs))).code == 3
    assert (await daemon.odctl("logout")).code == 0

    assert (await daemon.odctl("users", "passwd", "maya", "--stdin", stdin=line(NEW))).code == 0
    old = await daemon.odctl("login", "--user", "maya", "--password-stdin", stdin=line(PASSWORD))
    assert (old.code, "wrong user name or password" in old.err) == (4, True)
    assert (await daemon.odctl("login", "--user", "maya", "--password-stdin", stdin=line(NEW))).code == 0
    token = await daemon.odctl("apikey", "create", "phone", "-q")
    assert token.code == 0, token.err

    ended = await daemon.odctl("users", "disable", "maya", env={"ODCTL_TOKEN": await admin_key(daemon)})
    assert ended.code == 0, ended.err
    for variables in ({}, {"ODCTL_TOKEN": token.out.strip()}):
        refused = await daemon.odctl("ls", env=variables)
        assert (refused.code, refused.out) == (4, "")
    assert "log in again: odctl login --user maya" in (await daemon.odctl("ls")).err
    assert (await daemon.odctl("logout")).code == 0


async def admin_key(daemon: Daemon) -> str:
    """Made by the operator's uid, whoever is logged in."""
    elsewhere = {"XDG_CONFIG_HOME": str(daemon.folder / "operator")}
    made = await daemon.odctl("apikey", "create", "admin", "--scope", "admin", env=elsewhere)
    assert made.code == 0, made.err
    return made.out.strip()


async def a_program(daemon: Daemon) -> None:
    """Has a key that may do a part, and then another in its place."""
    assert (await daemon.odctl("users", "add", "sonarr", "--no-password")).code == 0
    made = (await daemon.odctl("apikey", "create", "x", "--scope", "read", "--user", "sonarr", "--json")).ok().json
    key = {"ODCTL_TOKEN": made["key"]}
    add = await daemon.odctl("add", "http://sim.invalid/x.bin", "--no-input", env=key)
    assert (add.code, "lacks the scope jobs" in add.err) == (4, True)
    turned = (await daemon.odctl("apikey", "rotate", "x", "--user", "sonarr", "--json")).ok().json
    assert (await daemon.odctl("ls", env=key)).code == 4
    told = (await daemon.odctl("whoami", "--json", env={"ODCTL_TOKEN": turned["key"]})).ok().json
    assert (told["user"], told["auth"], told["scopes"]) == ("sonarr", "apikey", ["read"])


async def a_guest(daemon: Daemon) -> None:
    """Is invited, makes the account, and goes again, with everything."""
    invite = (await daemon.odctl("users", "add", "--invite", "--json")).ok().json["invite"]
    made = await daemon.odctl("login", invite, "--user", "noor", "--password-stdin", stdin=line(PASSWORD))
    assert made.code == 0, made.err
    job = await daemon.add("http://sim.invalid/noor.bin", "-e", "simulated", "--paused")
    assert (await daemon.odctl("users", "revoke", "noor")).code == 0  # one's own, without being an admin
    assert (await daemon.odctl("ls")).code == 4
    assert (await daemon.odctl("logout")).code == 0
    assert (await daemon.odctl("users", "rm", "noor", "-y")).code == 0
    assert (await daemon.odctl("show", str(job))).code == 3
