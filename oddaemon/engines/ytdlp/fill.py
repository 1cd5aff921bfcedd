"""One replica being filled: its child, the task that listens to it, and what it told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from oddaemon.domain.failure import Failure, FailureCode, Retry
from oddaemon.engines.ytdlp.failures import killed
from oddaemon.engines.ytdlp.process import ChildProcess
from oddaemon.engines.ytdlp.progress import Progress
from oddaemon.ports.tasks import TaskScope, to_the_end

log = logging.getLogger(__name__)


class Fill:
    """Begins at once, in the background. The scope has to be open."""

    def __init__(
        self, scope: TaskScope, task: Mapping[str, Any], progress: Progress, directory: Path, home: Path,
        news: Callable[[], None],
    ) -> None:  # fmt: skip
        """`news` is called when it has ended by itself."""
        self.progress = progress
        self.last_event: Mapping[str, Any] = {}
        """The last thing that the child said of a file."""
        self._news = news
        self._task = scope.start(self._run(task, directory, home), f"ytdlp fill {directory.name}")

    async def end(self) -> None:
        """When it returns no process of it is alive. Goes on to its end when cancelled."""
        self._task.cancel()
        await to_the_end(asyncio.ensure_future(asyncio.wait([self._task])))

    async def _run(self, task: Mapping[str, Any], directory: Path, home: Path) -> None:
        try:
            await self._listen(task, directory, home)
        except OSError as error:
            self.progress.fail(
                Failure(
                    code=FailureCode.ENGINE, message=f"yt-dlp cannot be started: {error.strerror}", retry=Retry.PASSING
                )
            )
        except Exception:
            log.exception("a fill broke", extra={"action": "ytdlp.fill"})
            self.progress.fail(
                Failure(code=FailureCode.ENGINE, message="internal error, see the log", retry=Retry.PASSING)
            )
        self._news()

    async def _listen(self, task: Mapping[str, Any], directory: Path, home: Path) -> None:
        child = await ChildProcess.start(cwd=directory, home=home)
        log.info("child started", extra={"action": "ytdlp.start", "pid": child.pid, "replica": directory.name})
        last: Mapping[str, Any] | None = None
        try:
            await child.send(task)
            async for event in child.events():
                if event["event"] in ("complete", "failed"):
                    last = event
                    break
                if event["event"] in ("progress", "post"):
                    self.last_event = event
                self.progress.apply(event)
        finally:
            await child.end()
            log.info("child ended", extra={"action": "ytdlp.end", "pid": child.pid, "replica": directory.name})
        # told only now: whoever hears of the end may touch the directory
        if last is not None:
            self.progress.apply(last)
        else:
            self.progress.fail(killed(child.last_words()))
