"""The question before something that cannot be taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from odctl.dashboard.dialogs.confirm import Choose, Confirm
from tests.support.dashboard import dashboard, text
from tests.support.hostile import HOSTILE


@pytest.mark.parametrize(("keys", "answer"), [
    (["enter"], False), (["escape"], False), (["n"], False), (["right", "enter"], True), (["tab", "enter"], True),
    (["y"], True), (["right", "left", "enter"], False),
])  # fmt: skip
async def test_the_answer_is_that_of_the_button_and_enter_alone_changes_nothing(
    tmp_path: Path, keys: list[str], answer: bool
) -> None:
    answers: list[object] = []
    async with dashboard(tmp_path / "nobody") as (app, pilot):
        await app.push_screen(Confirm("Remove 2 jobs?", ["2 GiB are freed"], "Remove"), answers.append)
        await pilot.pause()
        assert "Remove 2 jobs?" in text(app)
        assert "2 GiB are freed" in text(app)
        await pilot.press(*keys)
        await pilot.pause()
        assert answers == [answer]


async def test_it_says_which_server_it_is_about(tmp_path: Path) -> None:
    async with dashboard(tmp_path / "nobody", context="nas") as (app, pilot):
        await app.push_screen(Confirm("Remove it?", [], "Remove"))
        await pilot.pause()
        assert any("nas" in line and "esc" in line for line in text(app).splitlines()), text(app)


async def test_of_several_buttons_the_first_changes_nothing(tmp_path: Path) -> None:
    answers: list[object] = []
    async with dashboard(tmp_path / "nobody") as (app, pilot):
        for keys in (["enter"], ["right", "enter"], ["right", "right", "enter"], ["escape"]):
            await app.push_screen(Choose("Which?", [], [("keep", "Keep data"), ("all", "Remove")]), answers.append)
            await pilot.press(*keys)
            await pilot.pause()
        assert answers == [None, "keep", "all", None]


async def test_names_from_outside_are_only_text(tmp_path: Path) -> None:
    async with dashboard(tmp_path / "nobody", context="[/]") as (app, pilot):
        for name in HOSTILE:
            await app.push_screen(Confirm(name, [name, name], name))
            await pilot.pause()
            assert "\x1b[31m" not in text(app)
            await pilot.press("escape")


