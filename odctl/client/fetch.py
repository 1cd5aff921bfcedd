"""One file of a job over HTTP: resumed, re-minted, checked. Standard library only; runs in threads."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from odctl.client.errors import FAILURE, REFUSED, UNREACHABLE, OdctlError
from odctl.client.http_get import CHUNK, TRIES, Request, asked_wait, check_day, is_network
from odctl.client.models import Link
from odctl.client.placing import META, PART, open_parent

MINTS = 3
"""New links for one file without a byte between them."""
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.ASCII)


class Stopped(Exception):
    """The user wants to end."""


@dataclass(slots=True)
class Limiter:
    """Bytes a second over all threads; 0: none."""

    rate: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _free_at: float = 0.0

    def take(self, count: int, stop: threading.Event) -> None:
        if not self.rate:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + count / self.rate
            wait = self._free_at - time.monotonic()
        if wait > 0:
            stop.wait(wait)


@dataclass(slots=True, kw_only=True)
class Task:
    """One file to fetch to `relative` below `root`."""

    link: Link
    root: str
    relative: str
    checksum: str | None
    """What `verify` compares with: `algorithm=hex`."""
    mint: Callable[[], Link]
    """A new link for the same file. Raises OdctlError."""
    stop: threading.Event
    limiter: Limiter
    verify: bool = False
    overwrite: bool = False
    skip: bool = False
    done: int = 0
    """Bytes that are there, for the progress."""


class Fetched(Struct, frozen=True, kw_only=True):
    """What became of a file; the fields of the JSON interface."""

    path: str
    size: int | None
    resumed_from: int
    sha256: str | None
    verified: str | None
    """With --verify `checksum`, or `length` where no checksum is known."""
    seconds: float
    ok: bool
    error: dict[str, Any] | None


def fetch(task: Task) -> Fetched:
    """Never raises but for Stopped: the outcome tells."""
    began, resumed, digest, error = time.monotonic(), 0, None, None
    checked = ("checksum" if task.checksum else "length") if task.verify else None
    size = task.link.size
    try:
        with open_parent(task.root, task.relative) as (folder, name):
            resumed, size, digest = _Transfer(task, folder, name).run()
    except OdctlError as failure:
        error = failure
    except OSError as failure:
        error = OdctlError(f"{failure.strerror or failure}", code="IO", exit_code=FAILURE)
    return Fetched(
        path=os.path.join(task.root, task.relative),
        size=size,
        resumed_from=resumed,
        sha256=digest,
        verified=checked if error is None else None,
        seconds=round(time.monotonic() - began, 3),
        ok=error is None,
        error=None if error is None else error.as_json(),
    )


class _Transfer:
    """One file in an open folder. `name.part` grows; `name.part.meta` says what it is a part of."""

    def __init__(self, task: Task, folder: int, name: str) -> None:
        self.task = task
        self.folder = folder
        self.name = name
        self.link = task.link
        self.size = task.link.size

    def run(self) -> tuple[int, int | None, str | None]:
        """Where it went on, the size, the checksum if it was asked for."""
        there = self._existing()
        if there is not None:
            self.task.done = there
            return there, there, self._checked(self.name)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self.name + PART, flags, 0o666, dir_fd=self.folder), "r+b", buffering=0) as part:
            self._claim(part.fileno())
            etag = self._etag()
            if etag is None:
                part.truncate(0)
            resumed = part.seek(0, os.SEEK_END)
            self.task.done = resumed
            self._transfer(part, etag)
            os.fsync(part.fileno())
            length = part.seek(0, os.SEEK_END)
        digest = self._checked(self.name + PART)
        os.replace(self.name + PART, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        with contextlib.suppress(OSError):
            os.unlink(self.name + META, dir_fd=self.folder)
        return resumed, length, digest

    def _claim(self, part: int) -> None:
        """The partial file is ours until it is closed. Raises OdctlError while another process fetches it, whose bytes
        ours would be mixed with."""
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(part), os.stat(self.name + PART, dir_fd=self.folder))
        except BlockingIOError:
            ours = False
        except FileNotFoundError:
            ours = False  # the other has just finished
        except OSError:
            return  # a file system without locks
        if not ours:
            raise OdctlError(
                f"{self.task.relative} is being fetched by another odctl", code="CONFLICT", exit_code=REFUSED,
                hint="wait for it, or use another folder: --into DIR",
            )  # fmt: skip

    def _existing(self) -> int | None:
        """The size of the finished file that is there already; None: it has to be fetched."""
        try:
            found = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if self.task.skip or (not self.task.overwrite and self.size is not None and found.st_size == self.size):
            return found.st_size
        if self.task.overwrite:
            return None
        raise OdctlError(
            f"{self.task.relative} exists and has another size",
            code="ALREADY_EXISTS",
            exit_code=REFUSED,
            hint="replace it with --overwrite, or leave it with --skip",
        )

    def _etag(self) -> str | None:
        """The validator of the bytes in the partial file; None: they are of no use."""
        try:
            descriptor = os.open(self.name + META, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.folder)
            with os.fdopen(descriptor) as stream:
                known = json.loads(stream.read(4096))
            etag = known["etag"]
            fits = known["job"] == self.link.job and known["index"] == self.link.index and known["size"] == self.size
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return etag if fits and isinstance(etag, str) and etag.isascii() and etag.isprintable() else None

    def _remember(self, etag: str | None) -> None:
        if not etag or etag.startswith("W/"):
            # a weak validator says nothing about bytes (RFC 9110 section 13.1.5)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.name + META, dir_fd=self.folder)
            return
        known = {"etag": etag, "job": self.link.job, "index": self.link.index, "size": self.size}
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self.name + META, flags, 0o600, dir_fd=self.folder), "w") as stream:
            json.dump(known, stream)

    def _transfer(self, part: Any, etag: str | None) -> None:
        """Until every byte is there. Raises OdctlError when it cannot go on."""
        tries, mints = 0, 0
        while True:
            at = part.seek(0, os.SEEK_END)
            if self.size is not None and at == self.size and (etag or at == 0):
                return
            try:
                status, retry_after, etag, finished = self._once(part, etag)
            except (OSError, http.client.HTTPException) as error:
                if (
                    isinstance(error, OSError)
                    and error.errno is not None
                    and not isinstance(error, (ConnectionError, TimeoutError))
                    and not is_network(error)
                ):
                    raise
                status, retry_after, finished = 0, 0.0, False
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                etag = self._etag()
            else:
                reason = f"the file server answered {status}"
            self._check_stop()
            if finished:
                return
            if part.seek(0, os.SEEK_END) > at:
                tries, mints = 0, 0
            if status in (401, 403, 410):
                mints += 1
                if mints > MINTS:
                    raise OdctlError("new links are refused, too", code="UNAVAILABLE", exit_code=UNREACHABLE)
                self.link = self.task.mint()
                continue
            if status and status not in (200, 206, 408, 416, 425, 429) and status < 500:
                raise OdctlError(reason, code="NOT_FOUND" if status == 404 else "ERROR", exit_code=FAILURE)
            tries += 1
            if tries > TRIES:
                raise OdctlError(f"cannot fetch it: {reason}", code="UNAVAILABLE", exit_code=UNREACHABLE)
            self.task.stop.wait(retry_after or min(0.25 * 2**tries, 10.0))
            self._check_stop()

    def _check_stop(self) -> None:
        if self.task.stop.is_set():
            raise Stopped

    def _once(self, part: Any, etag: str | None) -> tuple[int, float, str | None, bool]:
        """One request: the status, how long to wait before the next, the validator, and whether every byte is there."""
        at = part.seek(0, os.SEEK_END)
        headers = {"Accept-Encoding": "identity", "User-Agent": "odctl"}
        if at and etag:
            headers |= {"Range": f"bytes={at}-", "If-Range": etag}
        with contextlib.closing(Request(self.link.url, headers)) as request:
            answer = request.answer
            if answer.status == 416:
                part.truncate(0)
                return 416, 0.0, None, False
            check_day(answer)
            if answer.status not in (200, 206):
                return answer.status, asked_wait(answer), etag, False
            if answer.status == 206:
                match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                if match is None or int(match[1]) != at:
                    part.truncate(0)
                    return 0, 0.0, None, False
                total = None if match[3] == "*" else int(match[3])
            else:
                part.truncate(0)
                part.seek(0)
                length = answer.headers.get("Content-Length", "")
                total = int(length) if length.isascii() and length.isdigit() else None
            if self.size is not None and total is not None and total != self.size:
                raise OdctlError(
                    f"it has {total} bytes instead of {self.size}", code="ENGINE_FAILED", exit_code=FAILURE
                )
            self.size = self.size if self.size is not None else total
            etag = answer.headers.get("ETag")
            self._remember(etag)
            self._copy(answer, part)
        end = part.seek(0, os.SEEK_END)
        # without a declared length the end of the stream is the end of the file
        return answer.status, 0.0, etag, self.size is None or end == self.size

    def _copy(self, answer: http.client.HTTPResponse, part: Any) -> None:
        self.task.done = part.tell()
        while True:
            self._check_stop()
            chunk = answer.read1(CHUNK)
            if not chunk:
                return
            view = memoryview(chunk)
            while view:
                view = view[part.write(view) :]
            self.task.done += len(chunk)
            if self.size is not None and self.task.done > self.size:
                part.truncate(0)
                raise OdctlError("the file server sends more than it said", code="CONFLICT", exit_code=FAILURE)
            self.task.limiter.take(len(chunk), self.task.stop)

    def _checked(self, name: str) -> str | None:
        """With --verify the SHA-256. Raises OdctlError, after removing the partial file, if length or checksum are not
        those that are known."""
        if not self.task.verify:
            return None
        algorithm, _, wanted = (self.task.checksum or "").partition("=")
        found = hashlib.sha256()
        asked = found if algorithm in ("", "sha256") else hashlib.new(algorithm, usedforsecurity=False)
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.folder)
        with os.fdopen(descriptor, "rb") as stream:
            length = 0
            while chunk := stream.read(1 << 20):
                self._check_stop()
                length += len(chunk)
                found.update(chunk)
                if asked is not found:
                    asked.update(chunk)
        if (wanted and wanted.lower() != asked.hexdigest()) or (self.size is not None and length != self.size):
            if name.endswith(PART):
                os.unlink(name, dir_fd=self.folder)
            raise OdctlError(
                "its checksum or size is wrong",
                code="CHECKSUM",
                exit_code=FAILURE,
                hint="fetch it again, with --overwrite if it is an older file",
            )
        return found.hexdigest()
