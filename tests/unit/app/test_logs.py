from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from oddaemon.app.log_ring import LogRing
from oddaemon.app.logs import Logs, setup_logging
from oddaemon.domain.types import JobNumber
from oddaemon.ports.log_book import LogLine

log = logging.getLogger("oddaemon.test")


@pytest.fixture
def set_up() -> Iterator[Callable[..., Logs]]:
    """The root logger is the process's: each test gives it back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    made: list[Logs] = []

    def make(**options: object) -> Logs:
        made.append(setup_logging(**options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for logs in made:
        logs.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_json_lines_hold_the_facts(set_up: Callable[..., Logs]) -> None:
    out = io.StringIO()
    logs = set_up(style="json", stream=out, secrets=["hunter2hunter2"])
    log.info("job added", extra={"action": "job.add", "job": 128, "source": "http://u:p@h/", "note": "hunter2hunter2"})
    logs.close()
    line = json.loads(out.getvalue())
    assert line["event"] == "job added"
    assert line["action"] == "job.add"
    assert line["job"] == 128
    assert line["level"] == "info"
    assert line["logger"] == "oddaemon.test"
    assert datetime.fromisoformat(line["timestamp"]).tzinfo is not None
    assert "hunter2" not in out.getvalue()
    assert "u:p" not in out.getvalue()


@pytest.mark.parametrize("style", ["pretty", "json"])
def test_neither_names_nor_errors_can_forge_a_line(style: str, set_up: Callable[..., Logs]) -> None:
    out = io.StringIO()
    logs = set_up(style=style, stream=out)
    forged = "x\n2026-01-01T00:00:00Z [info     ] all is well\r\x1b[2K\u2028y"
    log.warning("seen", extra={"name2": forged})
    log.warning("seen %s", forged)
    try:
        raise ValueError(forged)
    except ValueError:
        log.exception("failed")
    logs.close()
    text = out.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    assert not [line for line in text.splitlines() if line.startswith("2026-01-01")]
    for line in logs.book.tail(lines=10):
        assert "\n" not in line.message


def test_level_and_third_party_noise(set_up: Callable[..., Logs]) -> None:
    logs = set_up(level="warn", stream=io.StringIO())
    log.info("not this")
    logs.set_level("debug")
    log.debug("but this")
    logging.getLogger("alembic").debug("nor this")
    assert [line.message for line in logs.book.tail(lines=10)] == ["but this"]


def test_the_file_gets_the_lines_and_is_opened_anew_after_rotation(
    tmp_path: Path, set_up: Callable[..., Logs]
) -> None:
    file = tmp_path / "sub" / "oddaemon.log"
    logs = set_up(style="json", stream=io.StringIO(), file=str(file))
    log.info("one")
    deadline = threading.Event()
    for _ in range(500):
        if file.exists() and "one" in file.read_text():
            break
        deadline.wait(0.01)
    file.rename(tmp_path / "oddaemon.log.1")
    log.info("two")
    logs.close()
    assert "two" in file.read_text()
    assert "two" not in (tmp_path / "oddaemon.log.1").read_text()


def test_a_reader_that_stalls_does_not_stop_the_daemon(set_up: Callable[..., Logs]) -> None:
    """A pipe that nobody reads holds 64 KiB; we write far more than it and the queue hold."""
    read_end, write_end = os.pipe()
    stream = os.fdopen(write_end, "w")
    try:
        logs = set_up(style="json", stream=stream)
        done = threading.Event()

        def talk() -> None:
            for number in range(6000):
                log.info("line", extra={"number": number, "filler": "x" * 200})
            done.set()

        threading.Thread(target=talk, daemon=True).start()
        assert done.wait(30)
        assert len(logs.book.tail(lines=10)) == 10
    finally:
        os.close(read_end)
        logs.close()
        with pytest.raises(OSError, match="pipe"):
            stream.close()


def line(number: int, *, level: str = "info", job: int | None = None) -> LogLine:
    return LogLine(
        at=datetime(2026, 1, 1, tzinfo=UTC), level=level, message=str(number),
        job=None if job is None else JobNumber(job),
    )  # fmt: skip


def test_tail_gives_the_newest_that_match_oldest_first() -> None:
    ring = LogRing(capacity=5)
    for number in range(8):
        ring.add(line(number, level="warn" if number % 2 else "debug", job=number % 3))
    assert [item.message for item in ring.tail(lines=3)] == ["5", "6", "7"]
    assert [item.message for item in ring.tail(lines=99)] == ["3", "4", "5", "6", "7"]
    assert [item.message for item in ring.tail(lines=99, level="warn")] == ["3", "5", "7"]
    assert [item.message for item in ring.tail(lines=99, job=JobNumber(0))] == ["3", "6"]
    assert ring.tail(lines=0) == []
    assert ring.tail(lines=9, since=datetime(2027, 1, 1, tzinfo=UTC)) == []


async def test_followers_get_lines_from_threads_and_lose_the_oldest_when_slow() -> None:
    ring = LogRing()
    following = ring.follow()

    def talk() -> None:
        for number in range(1500):
            ring.add(line(number))

    await asyncio.to_thread(talk)
    async with asyncio.timeout(60):
        seen = [(await anext(following)).message for _ in range(1000)]
    assert seen[-1] == "1499"
    assert seen == [str(number) for number in range(500, 1500)]
    await following.aclose()  # type: ignore[attr-defined]
    assert ring._followers == set()


async def test_a_follower_that_never_reads_is_forgotten_when_closed() -> None:
    ring = LogRing()
    following = ring.follow(level="error")
    ring.add(line(1))
    ring.add(line(2, level="error"))
    async with asyncio.timeout(60):
        assert (await anext(following)).message == "2"
    await following.aclose()  # type: ignore[attr-defined]
    assert ring._followers == set()
