"""Ports that are bound early, and where they are then reached."""

from __future__ import annotations

import socket

import pytest

from oddaemon.app.exit_codes import StartFailed
from oddaemon.app.listeners import listen, url_of


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:"), ("localhost", "http://")]
)
def test_an_address_of_either_family_is_listened_on(host: str, shown: str) -> None:
    with listen(host, 0, setting="server.port", variable="OD_SERVER_PORT") as listener:
        assert url_of(listener).startswith(shown)
        with socket.create_connection(listener.getsockname()[:2], timeout=5):
            pass


def test_every_address_of_both_families() -> None:
    with listen("::", 0, setting="server.port", variable="OD_SERVER_PORT") as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port), timeout=5):
                pass


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 300])
def test_what_is_no_address_names_the_setting(host: str) -> None:
    with pytest.raises(StartFailed, match="is no address of this machine") as failed:
        listen(host, 0, setting="server.port", variable="OD_SERVER_PORT")
    assert "server.host" in failed.value.hint
