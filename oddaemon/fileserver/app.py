"""`/d/{token}/{name}`: verify, look up, open, answer. No database: what a link's file is called and where it
lies comes from the daemon over a pipe (`lookup`), and is kept for a few seconds.

The name in the address is for people; only the token counts.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from oddaemon.domain.errors import NotFound, OpenDebridError, StorageMissing
from oddaemon.domain.link import LinkUse
from oddaemon.domain.link_token import LinkToken, TokenExpired, TokenTampered, verify
from oddaemon.domain.relay_token import BadTicket, answer_to, read_ticket
from oddaemon.domain.types import ReplicaId
from oddaemon.fileserver.allowances import Allowances
from oddaemon.fileserver.elsewhere import Elsewhere, OpenElsewhere
from oddaemon.fileserver.http import Request
from oddaemon.fileserver.known import STALE_SECONDS, Answer, Gone, Known, KnownLinks, Lookup, Spawn
from oddaemon.fileserver.lease import now_asleep_too
from oddaemon.fileserver.response import Response, refusal, relayed, unavailable
from oddaemon.fileserver.serving import goes_on, serve
from oddaemon.ports.storage import StorageProvider

log = logging.getLogger(__name__)

Use = Callable[[LinkToken, str, str, bool], Awaitable[LinkUse]]
"""Whether a link with limits may be used (once more) from this address, with what the request says in X-Forwarded-For;
the last says that it goes on with what was begun. Raises TimeoutError, NotFound."""

FRESH_SECONDS = 5.0
"""For how long an answer of the daemon is used without asking again."""
_METHODS = frozenset({"GET", "HEAD"})


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
        elsewhere: OpenElsewhere,
        referers: Sequence[str] = (),
        stale_seconds: float = STALE_SECONDS,
        takes_tickets: bool = False,
    ) -> None:
        """`takes_tickets`: the controller relays from here (domain.relay_token)."""
        self._storage = storage
        self._use = use
        self._gone = gone
        self._spawn = spawn
        self._elsewhere = Elsewhere(elsewhere, spawn)
        self._takes_tickets = takes_tickets
        self._known = KnownLinks(
            storage=storage, keys=keys, lookup=lookup, gone=gone, spawn=spawn, stale_seconds=stale_seconds
        )
        self._referers = tuple(pattern.lower() for pattern in referers)
        self._revoked: dict[bytes, float] = {}
        self.allowances = Allowances()
        self.serve_until = math.inf
        """Nothing of a link is given later, by the clock that also counts while the machine sleeps
        (`now_asleep_too`)."""

    # -- revocation

    def revoke(self, links: Mapping[bytes, float]) -> None:
        """From now on these link ids are refused; values are the Unix times from which on expiry does it."""
        self._revoked.update(links)

    def rekey(self, keys: Sequence[bytes]) -> None:
        """From now on what none of these keys signed is refused."""
        self._known.rekey(keys)

    def forget(self, replicas: Sequence[ReplicaId]) -> None:
        """What is known of these replicas is asked anew."""
        self._known.forget(replicas)

    def trim(self) -> None:
        """Lets go of revocations that expiry has overtaken."""
        now = time.time()
        self._revoked = {link: expiry for link, expiry in self._revoked.items() if expiry > now}

    @property
    def is_unheard(self) -> bool:
        """The controller has not been heard for so long that nothing is known any more."""
        return self.serve_until < math.inf and now_asleep_too() >= self.serve_until

    # -- requests

    def respond(self, request: Request, client: Callable[[], str]) -> Response | asyncio.Future[Answer]:
        """The answer; or a future, to whose result `resume` then gives the answer. `client` tells the address of who
        asks."""
        path = request.path
        has_body = request.method != "HEAD"
        if not path.startswith("/d/"):
            if path == "/healthz":
                return _health(request)
            if path.startswith("/r/") and self._takes_tickets and request.method in _METHODS:
                return self._relayed(path[3:], with_body=has_body)
            return refusal(HTTPStatus.NOT_FOUND, "there is nothing here", body=has_body)
        if request.method not in _METHODS:
            return _method_refused()
        if self.is_unheard:
            return _unheard(body=has_body)
        text = path[3:].partition("/")[0]
        known = self._known.get(text)
        now = time.time()
        if known is None:
            try:
                token = verify(text, self._known.keys, datetime.fromtimestamp(now, UTC))
            except TokenTampered:
                return refusal(HTTPStatus.FORBIDDEN, "this link is not valid", body=has_body)
            except TokenExpired:
                return refusal(HTTPStatus.GONE, "this link has expired", body=has_body)
            link = token.link_id.bytes
        else:
            token, link = known.token, known.link
            if now >= token.expires_at:
                self._known.drop(text)
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
            return self._known.ask(text, token)
        return self._serve(request, text, known)

    def resume(self, request: Request, asked: Answer) -> Response:
        """The answer to a request that had to wait. Whatever changed meanwhile counts."""
        if self.is_unheard:
            return _unheard(body=request.method != "HEAD")
        if isinstance(asked, Response):
            return asked.again(with_body=request.method != "HEAD")
        if asked.keys is not self._known.keys:
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

    # -- limited links

    def _ask_leave(self, request: Request, text: str, token: LinkToken, client: str) -> asyncio.Future[Answer]:
        """A link that asks: each request has a question of its own."""
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._spawn(self._with_leave(request, text, token, client, waiting), f"fileserver.use.{token.link_id}")
        return waiting

    async def _with_leave(
        self, request: Request, text: str, token: LinkToken, client: str, answer: asyncio.Future[Answer]
    ) -> None:
        """A use is taken only of what is there."""
        result: Answer = unavailable("try again")
        try:
            result = await self._known.look_up(text, token)
            if isinstance(result, Known):
                continued = goes_on(self._storage, request, result)
                forwarded = request.fields.get("x-forwarded-for", "")
                use = await self._use(token, client, forwarded, continued)
                if use is LinkUse.ELSEWHERE:
                    result = refusal(HTTPStatus.FORBIDDEN, "this link is for another address")
                elif use is LinkUse.USED_UP:
                    result = refusal(HTTPStatus.GONE, "this link is used up")
        except (TimeoutError, OSError, OpenDebridError):
            result = unavailable("the daemon does not answer")
        finally:
            if not answer.done():
                answer.set_result(result)

    # -- answers

    def _serve(self, request: Request, text: str | None, known: Known) -> Response:
        try:
            return serve(self._storage, self._elsewhere, request, known)
        except NotFound:
            if text is not None:
                self._known.drop(text)
            self._gone(known.token.replica_id)
            return refusal(HTTPStatus.NOT_FOUND, "the file is not there", body=request.method != "HEAD")
        except StorageMissing as error:
            return unavailable(error, body=request.method != "HEAD")
        except OSError as error:
            log.warning(
                "a file could not be opened",
                extra={
                    "action": "fileserver.open_failed",
                    "replica": str(known.token.replica_id),
                    "errno": error.errno,
                },
            )
            return unavailable("the file cannot be read", body=request.method != "HEAD")


    def _relayed(self, text: str, *, with_body: bool) -> Response:
        """Bytes that the controller has asked for: it verified the link, and counts."""
        try:
            ticket, key = read_ticket(text, self._known.keys, time.time())
        except BadTicket:
            return refusal(HTTPStatus.FORBIDDEN, "this ticket is not good", body=with_body)
        try:
            fd = self._storage.open(ticket.replica_id, ticket.path)
        except (OpenDebridError, OSError):
            return refusal(HTTPStatus.NOT_FOUND, "the file is not there", body=with_body)
        if os.fstat(fd).st_size < ticket.offset + ticket.length:
            os.close(fd)
            return refusal(HTTPStatus.NOT_FOUND, "the file has no such bytes", body=with_body)
        return relayed(fd, ticket.offset, ticket.length, answer_to(text, key), body=with_body)


def _unheard(*, body: bool) -> Response:
    return refusal(
        HTTPStatus.SERVICE_UNAVAILABLE, "this node has not heard its controller for too long", body=body,
        extra="Retry-After: 30\r\n",
    )  # fmt: skip


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
