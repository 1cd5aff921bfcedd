"""The help, and the choice of a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from odctl.client.contexts import change
from odctl.client.daemon import DaemonClient
from odctl.client.endpoints import Choice, choose
from odctl.dashboard.dialogs.contexts import Contexts, Server
from odctl.dashboard.dialogs.help import Help
from odctl.dashboard.state import Connection
from tests.support.control import desk
from tests.support.dashboard import dashboard, text, until_state
from tests.support.hostile import HOSTILE
from tests.support.wait import until


async def test_the_help_has_every_key_of_the_screen(tmp_path: Path) -> None:
    async with dashboard(tmp_path / "nobody", size=(130, 60)) as (app, pilot):
        bound = {
            binding.description
            for _, binding, _, _ in app.screen.active_bindings.values()
            if binding.id and binding.description
        }
        await pilot.press("question_mark")
        await until(lambda: isinstance(app.screen, Help))
        await pilot.pause()
        said = text(app)
        assert {"Pause", "Remove", "Filter"} <= bound
        assert not {words for words in bound if words not in said}
        assert "name~linux" in said
        lines = said.splitlines()
        assert [line for line in lines if "  1  Downloads" in line and "  2  Nodes" in line]
        assert [line for line in lines if "   q  Quit" in line]
        await pilot.press("escape")
        await pilot.pause()
        await pilot.press("f1")
        await until(lambda: isinstance(app.screen, Help))


async def test_another_server_is_chosen_without_any(tmp_path: Path) -> None:
    async with desk(tmp_path) as served, dashboard(tmp_path / "nobody", reach=reach) as (app, pilot):
        await until_state(app, pilot, lambda state: state.connection.error is not None)
        await pilot.press("C")
        await until(lambda: isinstance(app.screen, Contexts))
        await pilot.pause()
        assert "nobody" in text(app) or "unix://" in text(app)
        await pilot.press(*f"unix://{served.path}", "enter")
        await until_state(app, pilot, lambda state: state.live)
        assert app.state.connection.where == f"unix://{served.path}"


async def test_a_server_has_the_name_that_it_has_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODCTL_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    async with desk(tmp_path) as served:
        with change() as known:
            known.known["nas"] = {"endpoint": f"unix://{served.path}"}
        async with dashboard(tmp_path / "nobody", reach=reach) as (app, pilot):
            await pilot.press("C")
            await until(lambda: isinstance(app.screen, Contexts))
            await pilot.pause()
            await pilot.press("1")
            await until_state(app, pilot, lambda state: state.live)
            assert app.place == "nas"
            assert "nas" in text(app).splitlines()[0]


async def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    async with dashboard(tmp_path / "nobody", reach=reach) as (app, pilot):
        await pilot.press("C")
        await until(lambda: isinstance(app.screen, Contexts))
        await pilot.pause()
        await pilot.press(*"ftp://x", "enter")
        await until(lambda: any(note.severity == "error" for note in app._notifications))


async def test_hostile_addresses_are_only_text(tmp_path: Path) -> None:
    async with dashboard(tmp_path / "nobody") as (app, pilot):
        for name in HOSTILE:
            server = Server(address=name, how=name, name=name)
            await app.push_screen(Contexts(Connection(where=name, why=name), [server]))
            await pilot.pause()
            assert "\x1b[31m" not in text(app)
            await pilot.press("escape")


def reach(address: str) -> object:
    choice: Choice = choose(address)
    return lambda: DaemonClient(choice)


