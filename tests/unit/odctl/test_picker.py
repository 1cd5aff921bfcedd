"""The tree in which files are picked: its keys, what it shows, and its answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot

from odctl.client.models import File
from odctl.dashboard.ascii_only import AsciiOnly
from odctl.dashboard.glyphs import ASCII, UNICODE, Glyphs
from odctl.dashboard.picker import INTERRUPTED, Picker
from tests.support.dashboard import text
from tests.support.hostile import HOSTILE

PATHS = ("readme.txt", "S01/E01.mkv", "S02/E01.mkv", "S01/subs/E01.srt", "S01/E02.mkv")


def file(index: int, path: str, size: int | None = 1 << 20) -> File:
    return File(
        job=0, index=index, path=path, size=size, done=0, progress=0.0, selected=True, priority=0,
        content_type=None, sha256=None, ready=False, error=None,
    )  # fmt: skip


FILES = [file(index, path) for index, path in enumerate(PATHS, start=1)]


@contextlib.asynccontextmanager
async def picking(
    files: Sequence[File] = FILES, name: str = "Show", size: tuple[int, int] = (80, 24), glyphs: Glyphs = UNICODE
) -> AsyncIterator[tuple[Picker, Pilot[frozenset[int]]]]:
    app = Picker(files, name, glyphs)
    async with app.run_test(size=size) as pilot:
        yield app, pilot


def boxes(app: Picker) -> dict[str, str]:
    """Each line's box by its name."""
    lines = [line[1:-1] for line in text(app).splitlines() if "[" in line]
    return {line.split()[1]: line.split()[0] for line in (line.replace("[ ]", "[_]") for line in lines)}


async def test_the_tree_goes_by_folders_with_sizes_and_totals() -> None:
    async with picking() as (app, pilot):
        shown = text(app)
        assert list(boxes(app)) == ["S01/", "E01.mkv", "E02.mkv", "subs/", "E01.srt", "S02/", "readme.txt"]
        assert "Show" in shown.splitlines()[0]
        assert "5 of 5 files ─ 5.0 MiB of 5.0 MiB" in shown
        (folder,) = [line for line in shown.splitlines() if "S01/" in line]
        assert "3.0 MiB" in folder
        await pilot.press("enter")
    assert app.return_value == frozenset({1, 2, 3, 4, 5})


@pytest.mark.parametrize(
    ("keys", "picked"),
    [
        ("space", {1, 3}), ("down space", {1, 3, 4, 5}), ("j space space", {1, 3, 4}), ("j j j space", {1, 2, 3, 5}),
        ("asterisk G space", {1}), ("end k space", {1, 2, 4, 5}), ("asterisk home space", {2, 4, 5}),
        ("slash m k v enter asterisk escape", {1, 4}), ("f s 0 2 enter asterisk", {1, 2, 4, 5}),
        ("asterisk slash asterisk full_stop s r t enter asterisk escape", {4}), ("space space", {1, 2, 3, 4, 5}),
    ],
)  # fmt: skip
async def test_keys_pick(keys: str, picked: set[int]) -> None:
    async with picking() as (app, pilot):
        await pilot.press(*keys.split(), "enter")
    assert app.return_value == frozenset(picked)


async def test_a_folder_shows_that_a_part_of_it_is_picked() -> None:
    async with picking() as (app, pilot):
        await pilot.press("down", "space")
        assert boxes(app)["S01/"] == "[-]"
        assert "4 of 5 files ─ 4.0 MiB of 5.0 MiB" in text(app)
        await pilot.press("home", "space")
        assert boxes(app)["S01/"] == "[x]"
        await pilot.press("space")
        assert (boxes(app)["S01/"], boxes(app)["subs/"], boxes(app)["E02.mkv"]) == ("[_]", "[_]", "[_]")


async def test_what_was_picked_before_is_shown() -> None:
    async with picking([replace(one, selected=one.index == 4) for one in FILES]) as (app, pilot):
        assert boxes(app)["S01/"] == "[-]"
        await pilot.press("enter")
    assert app.return_value == frozenset({4})


@pytest.mark.parametrize("keys", ["q", "escape", "space q", "slash m escape escape", "slash m enter escape escape"])
async def test_leaving_picks_nothing(keys: str) -> None:
    async with picking() as (app, pilot):
        await pilot.press(*keys.split())
    assert (app.return_value, app.return_code) == (None, 0)


@pytest.mark.parametrize("keys", ["ctrl+c", "slash m ctrl+c"])
async def test_ctrl_c_ends_it(keys: str) -> None:
    async with picking() as (app, pilot):
        await pilot.press(*keys.split())
    assert (app.return_value, app.return_code) == (None, INTERRUPTED)


async def test_none_at_all_is_no_answer() -> None:
    async with picking() as (app, pilot):
        await pilot.press("asterisk", "enter")
        await pilot.pause()
        assert app.is_running
        assert any("at least one" in note.message for note in app._notifications)
        await pilot.press("G", "space", "enter")
    assert app.return_value == frozenset({1})


async def test_letters_in_the_filter_are_no_keys() -> None:
    async with picking() as (app, pilot):
        await pilot.press("slash", *"qf*")
        assert app.is_running
        assert app.listed.filter == "qf*"
        assert "0 of" not in text(app), "what is filtered out stays picked"
        await pilot.press("escape")
        assert app.listed.filter == ""
        assert app.focused is app.listed


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (60, 15), (40, 10)])
async def test_every_line_fits(size: tuple[int, int]) -> None:
    deep = [file(1, "/".join(f"folder {depth}" for depth in range(30)) + "/end.mkv"), file(2, "x" * 300)]
    async with picking(deep, name="y" * 300, size=size) as (app, pilot):
        await pilot.press("end")
        lines = text(app).splitlines()
        assert all(len(line) <= size[0] for line in lines)
        assert "2 of 2 files" in text(app)
        assert "enter OK  q Quit" in lines[-1]


async def test_names_from_outside_are_only_text() -> None:
    hostile = [file(at, name.replace("/", "_")) for at, name in enumerate(HOSTILE, start=1)]
    for name in HOSTILE:
        async with picking(hostile, name=name) as (app, pilot):
            drawn = text(app).replace("\n", "")
            assert all(char.isprintable() or char == "\u200d" for char in drawn), drawn
            await pilot.press("space", "enter")
        assert app.return_value is not None
        assert len(app.return_value) == len(hostile) - 1


async def test_ascii_alone_where_the_terminal_has_no_more() -> None:
    async with picking([*FILES, file(6, "日本.mkv")], name="Ünïcode", glyphs=ASCII) as (app, _):
        assert any(isinstance(known, AsciiOnly) for known in app.get_line_filters())


async def test_ten_thousand_files_scroll_and_toggle() -> None:
    many = [file(at, f"disc {at // 100:03}/part {at:05}.bin") for at in range(1, 10_001)]
    async with picking(many, size=(80, 24)) as (app, pilot):
        began = time.monotonic()
        await pilot.press("G")
        assert "part 10000.bin" in text(app)
        await pilot.press("pageup", "pageup", "home", "space", "asterisk")
        assert "10000 of 10000 files" in text(app)
        await pilot.press("slash", *"10000", "enter", "space")
        assert "9999 of 10000 files" in text(app)
        await pilot.press("escape", "enter")
        assert time.monotonic() - began < 30
    assert app.return_value == frozenset(range(1, 10_000))
