"""Completion as a shell asks for it: instant, from what is remembered, and news for the next time."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from odproto.gen.opendebrid.common import v1 as common

from odctl.cli import filter_words, suggest
from odctl.cli.app import build_root, lookup_in
from odctl.cli.snapshots import ASK_SECONDS
from odctl.cli.suggest import LOCAL_FILES, read_line
from oddaemon.domain.filter_fields import CACHE, EVENTS, JOBS
from oddaemon.domain.filter_text import parse_filter
from tests.support.fake_control import FakeControl, FakeDaemon, job
from tests.support.wait import until

KNOWN = {
    "jobs": [("128", "Big.Buck.Bunny"), ("131", "ubuntu.iso")],
    "files": [("1", "S01/E01.mkv"), ("2", "S01/E02.mkv")],
    "keys": [("aria2:hash:aa", "thing")],
    "settings": [("limits.link_expiry", "how long")],
    "engines": [("aria2", "1.37"), ("ytdlp", "2026")],
    "users": [("admin", "admin"), ("maya", "user")],
    "apikeys": [("phone", "jobs")],
}


def fitting(text: str) -> list[str]:
    root = build_root()
    *before, last = text.split(" ")
    asked = read_line(before, lookup_in(root))
    return [word for word, _ in suggest.suggest(root, asked, last, lambda kind, about: KNOWN[kind])]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sho", ["show"]), ("show ", ["128", "131", "@last"]), ("show 12", ["128"]), ("show @", ["@last"]),
        ("show ubu", ["131"]), ("show 128 1", ["131"]), ("show 128 131 1", []), ("get 128 ", ["1", "2"]),
        ("get 128 S01/E02", ["S01/E02.mkv"]), ("get --into /x 12", ["128"]), ("link -q 128 1", ["1"]),
        ("files 128 ", []), ("cache sh", ["show"]), ("cache pin aria2:ha", ["aria2:hash:aa"]),
        ("cache delete ", ["aria2:hash:aa"]), ("settings set lim", ["limits.link_expiry="]),
        ("settings get ", ["limits.link_expiry"]), ("engines test y", ["ytdlp"]), ("add -e a", ["auto", "aria2"]),
        ("ls --output=cs", ["--output=csv"]), ("-H unix:///s show 13", ["131"]), ("logs --level w", ["warn"]),
        ("set 128 tags", ["tags=", "tags+=", "tags-="]), ("completion z", ["zsh"]), ("help exit", ["exit-codes"]),
        ("add ", [":files"]), ("get 128 -o ", [":files"]), ("status ", []), ("nonsense ", []), ("play 128 -- 1", ["1"]),
        ("wait --fo", ["--for"]), ("pause --for ", []), ("users rm m", ["maya"]), ("users rm maya ", []),
        ("users role maya ", ["user", "admin"]), ("users add --role a", ["admin"]), ("apikey revoke ", ["phone"]),
        ("ls fai", ["failed"]), ("ls failed st", ["stalled", "state="]), ("rm -f hold=u", ["hold=user"]),
        ("rm -f state=queued,f", ["state=queued,failed"]), ("pause --filter=!engine=a", ["--filter=!engine=aria2"]),
        ("ls user=", ["user=@me", "user=admin", "user=maya"]), ("ls -f nonsense=", []), ("events -f ty", ["type="]),
        ("cache ls pinned=", ["pinned=yes", "pinned=no"]), ("cache ls state=", []), ("ls (big|fai", ["(big|failed"]),
        ("ls big|(kin", ["big|(kind="]),
        ("apikey create x --scope j", ["jobs"]), ("apikey ls --user ma", ["maya"]), ("login --token-file ", [":files"]),
    ],
)  # fmt: skip
def test_words_fit_their_place(text: str, words: list[str]) -> None:
    assert fitting(text) == words


@pytest.mark.parametrize(
    ("known", "domain"),
    [(filter_words.JOBS, JOBS), (filter_words.CACHE, CACHE), (filter_words.EVENTS, EVENTS)],
    ids=["jobs", "cache", "events"],
)
def test_every_word_of_a_filter_is_one_that_the_daemon_takes(known: Any, domain: Any) -> None:
    """And all of its words and equal-able fields are there; what a field may be is all that it may be."""
    assert known.words.keys() == domain.shortcuts.keys()
    assert known.fields.keys() <= domain.fields.keys()
    for name, values in known.fields.items():
        for value in values:
            parse_filter(f"{name}={value}", domain)
        choices = domain.fields[name].choices
        assert not (choices and values) or set(values) == set(choices), name
    for word in known.words:
        parse_filter(word, domain)


def test_host_of_the_line_is_the_daemon_that_is_asked() -> None:
    lookup = lookup_in(build_root())
    for text in ("-H X show", "--host=X show", "show -H X", "show 1 -HX"):
        assert read_line(text.split(), lookup).host == "X"
    assert LOCAL_FILES == [(":files", "")]


@dataclass(slots=True)
class Shell:
    home: Path
    socket: Path

    def run(self, *command: str) -> asyncio.Task[str]:
        return asyncio.create_task(self._run(*command))

    async def _run(self, *command: str) -> str:
        environment = {
            "HOME": str(self.home), "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}", "LANG": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join(sys.path), "ODCTL_HOST": f"unix://{self.socket}",
        }  # fmt: skip
        child = await asyncio.create_subprocess_exec(
            *command, cwd=self.home, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await asyncio.wait_for(child.communicate(), 60)
        assert err == b""
        return out.decode()

    async def words(self, *before: str) -> list[str]:
        told = await self.run(sys.executable, "-m", "odctl", "__complete", *before)
        return [line.split("\t")[0] for line in told.splitlines()]

    @property
    def remembered(self) -> list[Path]:
        return sorted((self.home / ".cache/opendebrid").glob("*.json"))


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    folder = tempfile.mkdtemp(prefix="od")  # a socket's path is short: pytest's folders are too deep
    yield Shell(tmp_path, Path(folder) / "c.sock")
    shutil.rmtree(folder)


@pytest.fixture
async def control(shell: Shell) -> AsyncIterator[FakeControl]:
    async with FakeDaemon(shell.socket) as fake:
        fake.jobs[128] = job(128, name="Big")
        fake.files[128] = [common.File(job=128, index=3, path="a b.mkv", ready=True, selected=True)]
        yield fake


async def asked_once(shell: Shell) -> Path:
    """What a first TAB leaves behind, fit to be used for as long as the test takes."""
    await shell.words("show", "")
    await until(lambda: bool(shell.remembered), what="the answer")
    (known,) = shell.remembered
    os.utime(known, (time.time() + 600, time.time() + 600))
    return known


async def test_a_slow_answer_is_there_for_the_next_tab(shell: Shell, control: FakeControl) -> None:
    # whatever the first TAB knows, the process it started finishes
    known = await asked_once(shell)
    assert await shell.words("show", "") == ["128", "@last"]
    assert known.parent.stat().st_mode & 0o077 == 0


async def test_an_old_answer_is_better_than_none(shell: Shell, control: FakeControl) -> None:
    known = await asked_once(shell)
    known.write_text(json.dumps([["7", "old"]]))
    os.utime(known, (time.time() - 60, time.time() - 60))
    control.refuse["list_jobs"] = (Status.ABORTED, common.Error(code="CONFLICT", message="no"))
    assert await shell.words("show", "") == ["7", "@last"]
    await until(lambda: sum(name == "list_jobs" for name, _ in control.calls) == 2, what="the question")
    await until(lambda: free(known.with_suffix(".lock")), what="the process that asked to end")


def free(lock: Path) -> bool:
    with lock.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


async def test_a_daemon_that_hangs_costs_a_moment_and_what_was_known_is_told(
    shell: Shell, control: FakeControl
) -> None:
    known = await asked_once(shell)
    began = time.monotonic()
    await shell.words("sho")
    start = time.monotonic() - began
    control.hang = True
    os.utime(known, (time.time() - 60, time.time() - 60))
    began = time.monotonic()
    assert await shell.words("show", "") == ["128", "@last"]
    assert await shell.words("nodes", "show", "") == []
    # seconds, for a machine that is busy with something else; a call's own deadline is many times that
    assert time.monotonic() - began < 2 * (start + ASK_SECONDS) + 4
    control.hang = False


async def test_nobody_is_asked_for_a_password_and_nothing_is_said(shell: Shell, control: FakeControl) -> None:
    """`Shell.run` sees to it that stderr is empty."""
    control.refuse["list_jobs"] = (Status.UNAUTHENTICATED, common.Error(code="UNAUTHENTICATED", message="who are you"))
    assert await shell.words("show", "") == []
    shell.socket.unlink()
    assert await shell.words("show", "") == []
    assert await shell.words("-c", "nowhere", "show", "") == []
    assert await shell.words("-H", "ssh://nowhere.invalid", "show", "") == []
