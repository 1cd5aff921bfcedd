"""The REST API of a composed controller: that it is there, where the settings say."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from oddaemon import __version__
from oddaemon.app.exit_codes import ExitCode, StartFailed
from oddaemon.app.tls import BadCertificate
from oddaemon.domain.user import Scope
from tests.support.controller import composed

DATABASES = ("sqlite", "postgresql")

TLS = Path(__file__).resolve().parents[1] / "support" / "tls"


async def test_a_controller_serves_it(tmp_path: Path) -> None:
    async with composed(tmp_path) as home, ClientSession() as session:
        assert home.controller.http_url.startswith("http://127.0.0.1:")
        async with session.get(f"{home.controller.http_url}/api/v1/version") as response:
            assert response.status == 200
            assert (await response.json())["data"] == {"version": __version__, "api": "v1"}


async def test_a_key_works_until_it_is_revoked(tmp_path: Path) -> None:
    async with composed(tmp_path) as home, ClientSession() as session:
        accounts = home.controller.accounts
        made = await accounts.create_key(home.admin, "phone", frozenset({Scope.READ}), None)

        async def me(**headers: str) -> tuple[int, Any]:
            async with session.get(f"{home.controller.http_url}/api/v1/auth/me", headers=headers) as response:
                return response.status, (await response.json())["data"]

        status, found = await me(Authorization=f"Bearer {made.secret}")
        assert (status, found["user"]["username"], found["scopes"]) == (200, "admin", ["read"])
        await accounts.revoke_key(home.admin, "phone")
        assert (await me(Authorization=f"Bearer {made.secret}"))[0] == 401
        assert (await me())[0] == 401


async def test_a_taken_port_ends_the_start_and_names_its_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StartFailed) as failed:
        async with composed(tmp_path, server_port=str(taken.getsockname()[1])):
            pass
    assert failed.value.code is ExitCode.UNAVAILABLE
    assert "server.port (OD_SERVER_PORT)" in failed.value.hint


async def test_no_address_of_this_machine_ends_the_start_too(tmp_path: Path) -> None:
    with pytest.raises(StartFailed) as failed:
        async with composed(tmp_path, server_host="192.0.2.1"):
            pass
    assert failed.value.code is ExitCode.CONFIG
    assert "server.port" in failed.value.hint


async def presented(url: str) -> str:
    """The certificate that a new connection is shown."""
    host, port = url.removeprefix("https://").rsplit(":", 1)
    return await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))


async def test_a_certificate_is_served_and_read_again(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def renew(name: str) -> None:
        shutil.copy(TLS / f"{name}.pem", cert)
        shutil.copy(TLS / f"{name}.key", key)

    renew("one")
    async with composed(tmp_path, server_tls_cert=str(cert), server_tls_key=str(key)) as home:
        url = home.controller.http_url
        assert url.startswith("https://")
        trusting = ssl.create_default_context(cafile=str(TLS / "one.pem"))
        async with ClientSession() as session, session.get(f"{url}/api/v1/version", ssl=trusting) as response:
            assert response.status == 200
        assert await presented(url) == (TLS / "one.pem").read_text()
        shutil.copy(TLS / "two.pem", cert)
        with pytest.raises(BadCertificate):
            home.controller.reload()
        assert await presented(url) == (TLS / "one.pem").read_text()
        renew("two")
        home.controller.reload()
        assert await presented(url) == (TLS / "two.pem").read_text()


async def test_a_connection_that_never_shakes_hands_holds_nobody_up(tmp_path: Path) -> None:
    settings = {"server_tls_cert": str(TLS / "one.pem"), "server_tls_key": str(TLS / "one.key")}
    async with composed(tmp_path, **settings) as home:
        host, port = home.controller.listener.socket.getsockname()[:2]
        _, silent = await asyncio.open_connection(host, port)
        try:
            assert await presented(home.controller.http_url)
        finally:
            silent.close()


async def test_who_may_ask_is_changed_while_it_runs(tmp_path: Path) -> None:
    async with composed(tmp_path) as home, ClientSession() as session:
        url = f"{home.controller.http_url}/api/v1/version"
        foreign = {"Host": "nas.example.org", "Origin": "https://app.example.org"}

        async def status() -> int:
            async with session.get(url, headers=foreign) as response:
                return response.status

        assert await status() == 403
        await home.set(server__allowed_hosts="nas.example.org")
        assert await status() == 403
        await home.set(server__cors_origins="https://app.example.org")
        assert await status() == 200


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
async def test_keys_in_the_clear_are_warned_of(tmp_path: Path, host: str, warned: bool) -> None:
    async with composed(tmp_path, server_host=host) as home:
        assert home.controller.listener.exposed is warned
