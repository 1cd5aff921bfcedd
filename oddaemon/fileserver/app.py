"""`/d/{token}/{name}`: verify, look up, open, answer. No database: what a link's file is called and where it
lies comes from the daemon over a pipe (`lookup`), and is kept for a few seconds.

The name in the address is for people; only the token counts.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from oddaemon.domain.byte_range import parse_range
from oddaemon.domain.errors import NotFound, NotReady, OpenDebridError, StorageMissing
from oddaemon.domain.link import LinkContent, LinkKind
from oddaemon.domain.link_token import LinkToken, TokenExpired, TokenTampered, verify
from oddaemon.domain.types import ReplicaId
from oddaemon.fileserver.allowances import Allowances
from oddaemon.fileserver.archive import Archive
from oddaemon.fileserver.conditional import Verdict, evaluate, range_applies
from oddaemon.fileserver.http import Request
from oddaemon.fileserver.response import (
    Response,
    Variant,
    not_modified,
    partial,
    refusal,
    streamed,
    unsatisfiable,
    variant_of,
    whole,
)
from oddaemon.ports.storage import StorageProvider

log = logging.getLogger(__name__)

Lookup = Callable[[LinkToken], Awaitable[LinkContent]]
"""What a link serves now. Raises NotFound (gone), NotReady (being fetched again), StorageMissing, or
TimeoutError."""
Use = Callable[[LinkToken, str, bool], Awaitable[bool]]
"""Whether a limited link may be used (once more) by the client at this address; the last says that the request goes on
with what was begun. Raises TimeoutError, NotFound."""
Gone = Callable[[ReplicaId], None]
"""Told of a replica of which a recorded file is not there as it was recorded."""
Spawn = Callable[[Coroutine[None, None, None], str], object]
"""Starts a named task."""

FRESH_SECONDS = 5.0
"""For how long an answer of the daemon is used without asking again."""
STALE_SECONDS = 60.0
"""For how long it is still used while the daemon does not answer."""
MAX_KNOWN_FILES = 100_000
"""Over all links that are remembered, members of archives counted."""
_BEHIND_THE_FIRST = re.compile(r"bytes\s*=\s*(\d{1,18})-\d*", re.IGNORECASE | re.ASCII)
_METHODS = frozenset({"GET", "HEAD"})
_RETRY = "Retry-After: 10\r\n"
_PLAYLIST_TYPE = "audio/x-mpegurl"


@dataclass(slots=True, eq=False)
class Known:
    """A token that was verified, and what the daemon said of it."""

    token: LinkToken
    link: bytes
    content: LinkContent
    asked_at: float
    keys: Sequence[bytes]
    """Those of which one had signed it."""
    variant: Variant | None = None
    archive: Archive | None = None

    @property
    def weight(self) -> int:
        return 1 + len(self.content.files) + len(self.content.text) // 128


Answer = Response | Known
"""What a question to the daemon ends in: a refusal, or what is known now."""


class FileApp:
    """Requests to answers, for one process. Used from one event loop."""

    def __init__(
        self,
        *,
        storage: StorageProvider,
        keys: Sequence[bytes],
        lookup: Lookup,
        use: Use,
        gone: Gone,
        spawn: Spawn,
        referers: Sequence[str] = (),
    ) -> None:
        self._storage = storage
        self._keys = keys
        self._lookup = lookup
        self._use = use
        self._gone = gone
        self._spawn = spawn
        self._referers = tuple(pattern.lower() for pattern in referers)
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._weight = 0
        self._asking: dict[str, asyncio.Future[Answer]] = {}
        self._revoked: dict[bytes, float] = {}
        self.allowances = Allowances()

    # -- revocation

    def revoke(self, links: Mapping[bytes, float]) -> None:
        """From now on these link ids are refused; values are the Unix times from which on expiry does it."""
        self._revoked.update(links)

    def rekey(self, keys: Sequence[bytes]) -> None:
        """From now on what none of these keys signed is refused."""
        self._keys = keys
        self._known.clear()
        self._weight = 0

    def forget(self, replicas: Sequence[ReplicaId]) -> None:
        """What is known of these replicas is asked anew."""
        gone = set(replicas)
        for text in [text for text, known in self._known.items() if known.token.replica_id in gone]:
            self._drop(text)

    def trim(self) -> None:
        """Lets go of revocations that expiry has overtaken."""
        now = time.time()
        self._revoked = {link: expiry for link, expiry in self._revoked.items() if expiry > now}

    # -- requests

    def respond(self, request: Request, client: Callable[[], str]) -> Response | asyncio.Future[Answer]:
        """The answer; or a future, to whose result `resume` then gives the answer. `client` tells the address of who
        asks."""
        path = request.path
        has_body = request.method != "HEAD"
        if not path.startswith("/d/"):
            if path == "/healthz":
                return _health(request)
            return refusal(HTTPStatus.NOT_FOUND, "there is nothing here", body=has_body)
        if request.method not in _METHODS:
            return _method_refused()
        text = path[3:].partition("/")[0]
        known = self._known.get(text)
        now = time.time()
        if known is None:
            try:
                token = verify(text, self._keys, datetime.fromtimestamp(now, UTC))
            except TokenTampered:
                return refusal(HTTPStatus.FORBIDDEN, "this link is not valid", body=has_body)
            except TokenExpired:
                return refusal(HTTPStatus.GONE, "this link has expired", body=has_body)
            link = token.link_id.bytes
        else:
            token, link = known.token, known.link
            if now >= token.expires_at:
                self._drop(text)
                return refusal(HTTPStatus.GONE, "this link has expired", body=has_body)
        if link in self._revoked:
            return refusal(HTTPStatus.GONE, "this link was revoked", body=has_body)
        if wait := self.allowances.wait(token.user_id):
            return _spent(wait, body=has_body)
        if self._referers and not self._referer_allowed(request.fields.get("referer")):
            return refusal(HTTPStatus.FORBIDDEN, "this link may not be used from that site", body=has_body)
        if token.limited and request.method == "GET":
            return self._ask_leave(request, text, token, client())
        if known is None or time.monotonic() - known.asked_at > FRESH_SECONDS:
            return self._ask(text, token)
        return self._serve(request, text, known)

    def resume(self, request: Request, asked: Answer) -> Response:
        """The answer to a request that had to wait. Whatever changed meanwhile counts."""
        if isinstance(asked, Response):
            return asked.again(with_body=request.method != "HEAD")
        if asked.keys is not self._keys:
            return refusal(HTTPStatus.FORBIDDEN, "this link is not valid", body=request.method != "HEAD")
        if asked.link in self._revoked:
            return refusal(HTTPStatus.GONE, "this link was revoked", body=request.method != "HEAD")
        if wait := self.allowances.wait(asked.token.user_id):
            return _spent(wait, body=request.method != "HEAD")
        return self._serve(request, None, asked)

    def _referer_allowed(self, referer: str | None) -> bool:
        """Players and command lines send none: only a foreign one is refused. `*.host` stands for its
        subdomains."""
        if not referer:
            return True
        try:
            host = (urlsplit(referer).hostname or "").lower()
        except ValueError:
            return False
        return any(
            host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern for pattern in self._referers
        )

    # -- what the daemon knows

    def _ask(self, text: str, token: LinkToken) -> asyncio.Future[Answer]:
        """One question at a time for a token, however many wait for it."""
        waiting = self._asking.get(text)
        if waiting is None:
            waiting = self._asking[text] = asyncio.get_running_loop().create_future()
            self._spawn(self._ask_daemon(text, token, waiting), f"fileserver.lookup.{token.link_id}")
        return waiting

    def _ask_leave(self, request: Request, text: str, token: LinkToken, client: str) -> asyncio.Future[Answer]:
        """A link that asks: each request has a question of its own."""
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._spawn(self._with_leave(request, text, token, client, waiting), f"fileserver.use.{token.link_id}")
        return waiting

    async def _with_leave(
        self, request: Request, text: str, token: LinkToken, client: str, answer: asyncio.Future[Answer]
    ) -> None:
        """A use is taken only of what is there."""
        result: Answer = refusal(HTTPStatus.SERVICE_UNAVAILABLE, "try again", extra=_RETRY)
        try:
            result = await self._looked_up(text, token)
            if isinstance(result, Known) and not await self._use(token, client, self._goes_on(request, result)):
                result = refusal(HTTPStatus.GONE, "this link is used up, or is not for this address")
        except (TimeoutError, OSError, OpenDebridError):
            result = refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the daemon does not answer", extra=_RETRY)
        finally:
            if not answer.done():
                answer.set_result(result)

    async def _ask_daemon(self, text: str, token: LinkToken, answer: asyncio.Future[Answer]) -> None:
        result: Answer = refusal(HTTPStatus.SERVICE_UNAVAILABLE, "try again", extra=_RETRY)
        try:
            result = await self._looked_up(text, token)
        finally:
            self._asking.pop(text, None)
            if not answer.done():
                answer.set_result(result)

    async def _looked_up(self, text: str, token: LinkToken) -> Answer:
        asked_at, keys = time.monotonic(), self._keys
        try:
            content = await self._lookup(token)
            archive = None
            if token.kind is LinkKind.ZIP:
                archive = await asyncio.to_thread(self._archive, token, content)
                if archive is None:
                    self._gone(token.replica_id)
                    raise NotReady("a file of this archive is not there")
        except NotFound:
            self._drop(text)
            return refusal(HTTPStatus.GONE, "what this link gave is not there any more")
        except (NotReady, StorageMissing) as error:
            self._drop(text)
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, _unavailable(error), extra=_RETRY)
        except (TimeoutError, OSError, OpenDebridError):
            old = self._known.get(text)
            if old is not None and asked_at - old.asked_at < STALE_SECONDS:
                return old
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the daemon does not answer", extra=_RETRY)
        old = self._known.get(text)
        variant = old.variant if old is not None and old.content == content else None
        self._drop(text)
        known = Known(token, token.link_id.bytes, content, asked_at, keys, variant, archive)
        if keys is not self._keys:
            return known  # refused in `resume`
        self._known[text] = known
        self._weight += known.weight
        while self._weight > MAX_KNOWN_FILES and len(self._known) > 1:
            self._drop(next(iter(self._known)))
        return known

    def _archive(self, token: LinkToken, content: LinkContent) -> Archive | None:
        """Blocks on the disk. None if a member is not there as it was recorded."""
        found = self._storage.stat(token.replica_id, [file.disk_path for file in content.files])
        whole = all(
            there is not None and there.size == file.size for there, file in zip(found, content.files, strict=True)
        )
        return Archive(content.files) if whole else None

    def _drop(self, text: str) -> None:
        known = self._known.pop(text, None)
        if known is not None:
            self._weight -= known.weight

    def _goes_on(self, request: Request, known: Known) -> bool:
        """It gets bytes behind the first alone: a client goes on with what it has begun, or a player seeks. A range
        that will be ignored, for what it says or for its If-Range, gets everything."""
        if known.token.kind is not LinkKind.FILE:
            return False  # an archive has no ranges: it is always sent from its beginning
        fields, file = request.fields, known.content.files[0]
        wanted = fields.get("range", "").strip()
        match = _BEHIND_THE_FIRST.fullmatch(wanted)
        if match is None or int(match[1]) == 0 or parse_range(wanted, file.size) is None:
            return False
        if "if-range" not in fields:
            return True
        try:
            fd = self._storage.open(known.token.replica_id, file.disk_path)
        except (NotFound, StorageMissing, OSError):
            return False
        try:
            return range_applies(fields["if-range"], _variant(known, os.fstat(fd)).validators, time.time())
        finally:
            os.close(fd)

    # -- answers

    def _serve(self, request: Request, text: str | None, known: Known) -> Response:
        try:
            if known.token.kind is LinkKind.FILE:
                response = self._serve_file(request, known)
            else:
                response = self._serve_made(request, known)
        except NotFound:
            if text is not None:
                self._drop(text)
            self._gone(known.token.replica_id)
            return refusal(HTTPStatus.NOT_FOUND, "the file is not there", body=request.method != "HEAD")
        except StorageMissing as error:
            return refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, _unavailable(error), body=request.method != "HEAD", extra=_RETRY
            )
        except OSError as error:
            log.warning(
                "a file could not be opened",
                extra={
                    "action": "fileserver.open_failed",
                    "replica": str(known.token.replica_id),
                    "errno": error.errno,
                },
            )
            return refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, "the file cannot be read", body=request.method != "HEAD", extra=_RETRY
            )
        if response.status in (200, 206) and request.method == "GET":
            response.link, response.user = known.link, known.token.user_id
        return response

    def _serve_file(self, request: Request, known: Known) -> Response:
        file = known.content.files[0]
        fd = self._storage.open(known.token.replica_id, file.disk_path)
        try:
            found = os.fstat(fd)
            if found.st_size != file.size:
                raise NotFound
            response = _conditional(request, _variant(known, found), fd)
        except BaseException:
            os.close(fd)
            raise
        if response.body is None or response.status not in (200, 206):
            os.close(fd)
        return response

    def _serve_made(self, request: Request, known: Known) -> Response:
        """An archive or a playlist."""
        content, replica_id = known.content, known.token.replica_id
        wanted = request.method == "GET"
        if known.archive is None:
            text = content.text.encode("utf-8", "replace")
            return streamed(iter([text]) if wanted else None, len(text), content.name, _PLAYLIST_TYPE, _nothing)
        archive = known.archive
        stream = archive.stream(lambda path: self._storage.open(replica_id, path))
        return streamed(stream if wanted else None, archive.length, content.name, "application/zip", stream.close)


def _conditional(request: Request, variant: Variant, fd: int) -> Response:
    """RFC 9110 section 13.2.2. A Range field counts with GET alone (section 14.2)."""
    fields = request.fields
    is_get = request.method == "GET"
    verdict = evaluate(fields, variant.validators)
    if verdict is Verdict.FAILED:
        return refusal(HTTPStatus.PRECONDITION_FAILED, "the file is not the one that was meant", body=is_get)
    if verdict is Verdict.NOT_MODIFIED:
        return not_modified(variant)
    if is_get and "range" in fields and range_applies(fields.get("if-range"), variant.validators, time.time()):
        ranges = parse_range(fields["range"], variant.size)
        if ranges is not None:
            return partial(variant, fd, ranges) if ranges else unsatisfiable(variant, body=True)
    return whole(variant, fd if is_get else None)


def _variant(known: Known, found: os.stat_result) -> Variant:
    variant = known.variant
    if variant is None or variant.modified_ns != found.st_mtime_ns or variant.size != found.st_size:
        token, file = known.token, known.content.files[0]
        variant = known.variant = variant_of(
            token.replica_id, token.file_index, file, known.content.name, found, inline=token.inline
        )
    return variant


def _health(request: Request) -> Response:
    if request.method not in _METHODS:
        return _method_refused()
    return refusal(HTTPStatus.OK, "ok", body=request.method == "GET")


def _method_refused() -> Response:
    return refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD", extra="Allow: GET, HEAD\r\n")


def _spent(wait: float, *, body: bool) -> Response:
    return refusal(
        HTTPStatus.TOO_MANY_REQUESTS, "the links of its user have given all that they may today: again from 00:00 UTC",
        body=body, extra=f"Retry-After: {math.ceil(wait)}\r\n",
    )  # fmt: skip


def _unavailable(error: OpenDebridError) -> str:
    if isinstance(error, StorageMissing):
        return "the disk with this file is not there at the moment"
    return "the file is being fetched again"


def _nothing() -> None:
    """Nothing to release."""
