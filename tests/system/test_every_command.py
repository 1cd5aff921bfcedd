"""Every command of the tree, from tests.support.commands: without a daemon, with a real one that has real downloads in
every state, in a pipe and at a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import itertools
import json
import os
import re
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote

import pytest
import pytest_asyncio

from odctl.cli import tree
from odctl.cli.output import width
from odctl.client.models import Selection
from odctl.sources import Order
from tests.support.commands import PASSWORD, ROWS, Row
from tests.support.daemons import Answer, Daemon
from tests.support.forked import finished, forked
from tests.support.origin_server import Origin
from tests.support.terminal import Terminal
from tests.support.wait import until

WITH_DAEMON = pytest.mark.xdist_group("every command")
IN_ITS_LOOP = pytest.mark.asyncio(loop_scope="module")

HOSTILE = "steer \x1b]0;x\x07\x1b[2J [red] [bold\u202e.bin"
"""How a file is called that wants to steer the terminal."""
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What no text of ours holds, but for tabs and ends of lines."""
SEQUENCES = re.compile(r"\x1b\[\??[0-9;]*[mAGHJKhl]")
"""Colours, and what bars move and hide the cursor with."""
DRAWN = re.compile("[\u2500-\u259f]")
"""Boxes and blocks."""
CONTRACT = json.loads((Path(__file__).parent / "json_contract.json").read_text())
"""What the JSON of each command is: `[Job]` a list, `Job*` an object a line; and the fields of each type."""
COLUMNS = 80
TIMEOUT = 60.0


def paths() -> list[tuple[str, ...]]:
    return [path for path, _ in tree.entries()] + [(name,) for name in tree.HIDDEN]


def path_of(row: Row) -> tuple[str, ...]:
    words, known = tuple(row.line.split()), set(paths())
    return next(words[:count] for count in (3, 2, 1) if words[:count] in known or count == 1)


def test_every_command_of_the_tree_has_its_row() -> None:
    assert {path_of(row) for row in ROWS} == set(paths())


@dataclass(slots=True)
class House:
    """A daemon with a job in every state, and whatever a line needs."""

    daemon: Daemon
    origin: Origin
    folder: Path
    known: dict[str, str] = field(default_factory=dict)
    spares: list[str] = field(default_factory=list)
    """Keys of the cache that no job needs."""
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def furnish(self) -> None:
        origin, daemon = self.origin, self.daemon
        for name in (f"/f/{quote(HOSTILE)}", "/f/a", "/f/b", "/f/c"):
            origin.page(name, name.encode() * 50)
        origin.page("/slow", b"s" * 1_000_000, rate=2_000)
        origin.page("/gone", status=404)
        done = await daemon.add(origin.url(f"/f/{quote(HOSTILE)}"))
        spares = [await daemon.add(origin.url(f"/f/{name}")) for name in "abc"]
        failed, slow = await daemon.add(origin.url("/gone")), await daemon.add(origin.url("/slow"))
        paused = await daemon.add(origin.url("/slow?paused"), "--paused")
        await daemon.until_state(failed, "failed")
        await daemon.until_state(slow, "active")
        for number in (done, *spares):
            await daemon.until_state(number, "completed")
        (await daemon.odctl("pause", "--queue")).ok()  # what is added from here on stays where it is
        queued = await self._fresh()
        key = (await daemon.job(done))["cache_key"]
        self.spares += [(await daemon.job(number))["cache_key"] for number in spares]
        (await daemon.odctl("rm", "--keep-data", *map(str, spares))).ok()
        self.known = {"done": str(done), "failed": str(failed), "slow": str(slow), "paused": str(paused),
                      "queued": queued, "key": key}  # fmt: skip

    def new(self) -> str:
        return f"n{next(self._numbers)}"

    async def words(self, line: str) -> list[str]:
        return [await self._word(word) for word in line.split()]

    async def _word(self, word: str) -> str:
        if not word.startswith("{"):
            return word
        name = word.strip("{}")
        making: dict[str, Callable[[], Awaitable[str]]] = {
            "url": self._url, "fresh": self._fresh, "cancelled": self._cancelled, "user": self._user,
            "apikey": self._apikey, "token": self._token, "person": lambda: self._user(with_password=True),
        }  # fmt: skip
        if name in making:
            return await making[name]()
        return self.new() if name == "new" else self.spares.pop() if name == "spare" else self.known[name]

    async def _url(self) -> str:
        return self.origin.url(f"/slow?{self.new()}")

    async def _fresh(self) -> str:
        url = await self._url()
        async with self.daemon.client() as client:
            (added,) = await client.add([Order(input=url, source=url).item()])
        assert added.job is not None, added.failure
        return str(added.job.id)

    async def _cancelled(self) -> str:
        number = await self._fresh()
        async with self.daemon.client() as client:
            await client.cancel(Selection(ids=(number,)))
        return number

    async def _user(self, *, with_password: bool = False) -> str:
        async with self.daemon.client() as client:
            user = await client.accounts.add_user(self.new(), role="user", email="", password=PASSWORD, unix_user="")
        return user.name

    async def _apikey(self) -> str:
        async with self.daemon.client() as client:
            return (await client.accounts.create_api_key(self.new(), ["read"], None))[0].name

    async def _token(self) -> str:
        async with self.daemon.client() as client:
            return (await client.nodes.create_token(ttl_s=0, name="", reusable=False))[0].id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("house")
    async with Origin() as origin, Daemon(folder / "od") as daemon:
        found = House(daemon, origin, folder)
        await found.furnish()
        yield found


def new_home(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix="home", dir=folder))


# In a pipe


def environment_alone(row: Row, home: Path) -> dict[str, str]:
    """Of a user who has nothing. What needs a daemon is pointed away from one that this machine may have."""
    needs = {"ODCTL_HOST": f"unix://{home / 'c.sock'}"} if row.alone else {}
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **needs}


async def piped(row: Row, words: Sequence[str], environment: dict[str, str], home: Path) -> Answer:
    stdin = row.stdin.encode()
    if not row.until:
        return Answer(*await finished("odctl", *words, environment=environment, cwd=home, stdin=stdin,
                                      timeout=TIMEOUT))  # fmt: skip
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = forked("odctl", *words, environment=environment, cwd=home, stdout=out, stderr=err)

        def read(stream: IO[bytes]) -> str:
            return os.pread(stream.fileno(), 1 << 20, 0).decode()

        def shown() -> bool:
            return child.returncode is not None or any(text in read(out) + read(err) for text in row.until)

        try:
            await until(shown, timeout=TIMEOUT, what=f"{row.line} to show one of {row.until}")
            child.send_signal(signal.SIGINT)
            await asyncio.wait_for(child.wait(), TIMEOUT)
        finally:
            child.kill()
        return Answer(await child.wait(), read(out), read(err))


async def prepared(row: Row, environment: dict[str, str], home: Path) -> None:
    for line in row.before:
        await finished("odctl", *line.split(), environment=environment, cwd=home, stdin=b"", timeout=TIMEOUT)


def check(row: Row, answer: Answer, *, as_json: bool) -> None:
    for text in (answer.out, answer.err):
        assert not STEERING.search(text), ascii(text)
        assert "Traceback" not in text
    if as_json and row.json:
        for part in answer.out.splitlines() if row.lines else [answer.out]:
            assert not part or json.loads(part) is not None
        for line in answer.err.splitlines():
            assert list(json.loads(line)) in (["error"], ["note"]), line
    elif answer.code:
        assert len(answer.err.splitlines()) <= 3, answer.err


async def in_its_forms(row: Row, run: Callable[[Sequence[str]], Awaitable[None]]) -> None:
    """For people and as JSON, at the same time: each run is a process of its own that mostly waits."""
    forms = [[]] if not row.json else [["--json"]] if row.own else [[], ["--json"]]
    if row.in_turn:
        for form in forms:
            await run(form)
    else:
        await asyncio.gather(*map(run, forms))


@pytest.mark.parametrize("row", [row for row in ROWS if row.alone is not None], ids=lambda row: row.line)
async def test_without_a_daemon(row: Row, tmp_path: Path) -> None:
    words = row.line.replace("{url}", "http://h/x").replace("{", "").replace("}", "").split()

    async def run(options: Sequence[str]) -> None:
        home = new_home(tmp_path)
        environment = environment_alone(row, home)
        await prepared(row, environment, home)
        answer = await piped(row, [*words, *options], environment, home)
        assert answer.code == row.alone, answer
        check(row, answer, as_json=bool(options))
        if row.alone == 5:
            assert answer.out == "" or json.loads(answer.out)["state"] == "stopped"
            assert "is not running on this machine" in answer.err
            assert "start it: odctl daemon start" in answer.err

    await in_its_forms(row, run)


@WITH_DAEMON
@IN_ITS_LOOP
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.line)
async def test_in_a_pipe(row: Row, house: House, tmp_path: Path) -> None:
    async def run(options: Sequence[str]) -> None:
        async with at(row, house, new_home(tmp_path)) as environment:
            home = Path(environment["HOME"])
            await prepared(row, environment, home)
            answer = await piped(row, [*await house.words(row.line), *options], environment, home)
            assert answer.code == row.code, answer
            check(row, answer, as_json=bool(options))
            if options and row.json and answer.out:
                check_contract(row, answer)

    await in_its_forms(row, run)


def check_contract(row: Row, answer: Answer) -> None:
    """Programs rely on these fields: within API 1 some may come, none may go."""
    kind = CONTRACT["commands"][" ".join(path_of(row)) + (" -w" if " -w" in row.line else "")]
    found = json.loads(answer.out.splitlines()[0])
    assert kind == f"[{kind.strip('[]')}]" if isinstance(found, list) else kind.endswith("*") == row.lines
    for record in found if isinstance(found, list) else [found]:
        promised = set(CONTRACT["types"][kind.strip("[]*")])
        assert not promised - set(record)
        new = set(record) - promised
        assert not new or kind == "LogLine*", "write them down in json_contract.json, too"


@WITH_DAEMON
@IN_ITS_LOOP
@pytest.mark.parametrize("row", [row for row in ROWS if row.ids is not None], ids=lambda row: row.line)
async def test_in_the_other_formats(row: Row, house: House, tmp_path: Path) -> None:
    environment = {**house.daemon.environment, "HOME": str(tmp_path)}
    words = await house.words(row.line)

    async def run(*options: str) -> str:
        answer = await piped(row, [*words, *options], environment, tmp_path)
        assert answer.code == row.code, answer
        check(row, answer, as_json=False)
        return answer.out

    lines, table, ids = await asyncio.gather(run("-o", "csv"), run("-o", "plain"), run("-q"))
    heading, *records = csv.reader(io.StringIO(lines))
    assert all(len(record) == len(heading) for record in records)
    assert not DRAWN.search(table)
    assert not row.ids or all(len(line.split()) == 1 for line in ids.splitlines()), ids


# At a terminal


@WITH_DAEMON
@IN_ITS_LOOP
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.line)
async def test_at_a_terminal(row: Row, house: House, tmp_path: Path) -> None:
    home = new_home(tmp_path)
    async with at(row, house, home) as environment, Terminal(COLUMNS) as terminal:
        environment |= {"TERM": "xterm-256color", "ODCTL_PAGER": ""}
        await prepared(row, environment, home)
        words = [word for word in await house.words(row.line) if not (row.stdin and word.endswith("stdin"))]
        if row.screen:
            await terminal.run(*words, environment=environment, cwd=home)
        else:
            terminal.fork(*words, environment=environment, cwd=home)
        for shown, typed in row.typed:
            await terminal.shows(shown, timeout=TIMEOUT)
            terminal.type(typed, *([] if row.screen else ["enter"]))
        if row.until:
            await until(lambda: any(text in terminal.text for text in row.until), timeout=TIMEOUT, what=terminal.text)
            terminal.type("\x03")
        code = await terminal.ended()
        assert code == (row.code if row.at_a_terminal is None else row.at_a_terminal), terminal.text
        assert terminal.restored
        assert "Traceback" not in terminal.text
        if not row.screen:
            told = terminal.raw.decode()
            assert row.silent or told.strip()
            if row.line.endswith(" ls"):
                assert all(width(line) <= COLUMNS for line in SEQUENCES.sub("", told).splitlines()), terminal.text
            assert not STEERING.search(SEQUENCES.sub("", told).replace("\r", "")), ascii(told)


@contextlib.asynccontextmanager
async def at(row: Row, house: House, home: Path) -> AsyncIterator[dict[str, str]]:
    """The environment of odctl for a new user of the machine, beside the daemon."""
    if row.own:
        async with Daemon(home / "own") as daemon:
            try:
                yield {**daemon.environment, "HOME": str(home)}
            finally:
                await daemon.odctl("daemon", "stop")  # one that odctl started is nobody's child
    else:
        yield {**house.daemon.environment, "HOME": str(home)}
