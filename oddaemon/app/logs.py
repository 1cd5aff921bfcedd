"""The log, set up once: structlog on top of the standard library, to standard error and, if wanted, to a file.

Every line passes the mask (no secrets) and is escaped (no forged lines) before anybody sees it: standard error, the
file and the ring in memory that `odctl logs` reads. Lines are written by a thread of their own: a reader that stalls
costs lines, counted and told of, but never stops the daemon.
"""

from __future__ import annotations

import logging
import logging.handlers
import queue
import re
import sys
import threading
from collections.abc import Iterable, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.types import EventDict, WrappedLogger

from oddaemon.app.log_ring import LogRing
from oddaemon.app.masking import Masker
from oddaemon.domain.types import JobNumber
from oddaemon.ports.log_book import LogLine

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_CHATTY = (
    "alembic", "asyncio", "sqlalchemy.engine", "sqlalchemy.pool", "grpclib", "hpack", "h2", "aiohttp.access", "urllib3",
)  # fmt: skip
"""Libraries whose debug and info lines tell nothing that ours do not."""
_QUEUE = 2000
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_OURS = frozenset({"event", "level", "timestamp", "logger", "exception", "_record", "_from_structlog"})


class Logs:
    """What `setup_logging` built. `book` is for the faces, `masker` takes secrets that turn up later."""

    def __init__(self, book: LogRing, masker: Masker, writer: _Writer, handler: logging.Handler) -> None:
        self.book = book
        self.masker = masker
        self._writer = writer
        self._handler = handler

    def set_level(self, level: str) -> None:
        """`debug`, `info`, `warn` or `error`; takes effect at once."""
        logging.getLogger().setLevel(_LEVELS[level])

    def close(self) -> None:
        """Writes what is queued, within two seconds, and lets go of the file."""
        logging.getLogger().removeHandler(self._handler)
        self._writer.close()


def setup_logging(
    *, level: str = "info", style: str = "pretty", file: str = "", secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> Logs:  # fmt: skip
    """Replaces whatever logging was set up before. `style` is `pretty` or `json`; the file gets the same lines as
    the stream, without colours, and is opened anew when it was moved away (logrotate). Raises OSError when the file
    cannot be opened."""
    out = stream or sys.stderr
    masker, book = Masker(secrets), LogRing()
    writer = _Writer(out, _open_file(file))
    handler = _Handler(writer, _formatter(masker, book, style, colours=style == "pretty" and out.isatty()))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(_LEVELS[level])
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return Logs(book, masker, writer, handler)


def _formatter(masker: Masker, book: LogRing, style: str, *, colours: bool) -> logging.Formatter:
    def record(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        book.add(_line(event))
        return event

    def mask(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return _masked(masker, event)

    render: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False, sort_keys=False)
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=40)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            mask,
            record,
            render,
        ],
    )


def _masked(masker: Masker, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Level and time are ours; a traceback keeps its lines, each of them masked and set in, so that none can pass for
    a line of the log."""
    clean: dict[str, Any] = {}
    for name, value in event.items():
        if name == "exception":
            clean[name] = "\n".join(f"  | {masker.text(line)}" for line in str(value).splitlines())
        elif name in ("level", "timestamp"):
            clean[name] = value
        else:
            clean[name] = masker.value("" if name == "event" else name, value)
    return clean


def _line(event: MutableMapping[str, Any]) -> LogLine:
    job = event.get("job", event.get("job_number"))
    fields = {name: value for name, value in event.items() if name not in _OURS}
    if "exception" in event:
        fields["exception"] = event["exception"]
    level = str(event.get("level", "info"))
    return LogLine(
        at=datetime.now(UTC),
        level={"warning": "warn", "critical": "error"}.get(level, level),
        message=str(event.get("event", "")),
        logger=str(event.get("logger", "")),
        job=JobNumber(job) if isinstance(job, int) and not isinstance(job, bool) else None,
        fields=fields,
    )


def _open_file(file: str) -> logging.handlers.WatchedFileHandler | None:
    if not file:
        return None
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.WatchedFileHandler(file, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(message)s"))
    return handler


class _Handler(logging.Handler):
    def __init__(self, writer: _Writer, formatter: logging.Formatter) -> None:
        super().__init__()
        self._writer = writer
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.put(self.format(record))
        except Exception:  # noqa: BLE001 - a log line must never break what it speaks of
            self._writer.put(f"log line could not be formatted: {record.name}")


class _Writer:
    """One thread, one bounded queue. When it is full, new lines are dropped; how many is told as soon as it moves."""

    def __init__(self, stream: TextIO, file: logging.handlers.WatchedFileHandler | None) -> None:
        self._stream = stream
        self._file = file
        self._queue: queue.Queue[str | None] = queue.Queue(_QUEUE)
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, text: str) -> None:
        try:
            self._queue.put_nowait(text)
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        try:
            self._queue.put(None, timeout=1)
        except queue.Full:
            return
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while (text := self._queue.get()) is not None:
            dropped, self._dropped = self._dropped, 0
            if dropped:
                self._write(f"{dropped} log lines were dropped: nobody read them")
            self._write(text)
        if self._file is not None:
            self._file.close()

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads standard error any more; the file and the ring still get the line
        if self._file is not None:
            plain = logging.LogRecord("", logging.INFO, "", 0, _without_colours(text), None, None)
            self._file.handle(plain)


def _without_colours(text: str) -> str:
    return text if "\x1b" not in text else _COLOUR.sub("", text)
