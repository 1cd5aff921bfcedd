"""Asks an http(s) origin what it would send, before and after aria2 fetches it.

aria2 splices two versions of a file into one, loses Retry-After and gives up on a 429 (measured on 1.36), so the
questions that decide about that are asked here.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urljoin

import aiohttp
from yarl import URL

from oddaemon.domain.errors import InvalidSource
from oddaemon.domain.failure import Failure, FailureCode, Retry
from oddaemon.domain.files import HTML
from oddaemon.domain.types import Bytes, Seconds
from oddaemon.domain.url import Url, parse_url
from oddaemon.engines.aria2.disposition import display_name, filename_of

DEADLINE = Seconds(15)
_REDIRECTS = 10
_MAX_RETRY_AFTER = Seconds(86_400)
_MAX_LENGTH = Bytes(2**44)
"""The largest file of ext4. aria2 keeps a few bits for each MiB that is declared: what an origin makes up would end it,
and every other download with it."""
_CALL_FAILED = "Connect call failed"
_WEB = frozenset({"http", "https"})
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset({404, 410})
_BUSY = frozenset({408, 425, 429, 503})


class FillFailed(Exception):
    """A fill ends with this failure. Never leaves the engine."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What an origin says of a file at one moment."""

    length: Bytes | None = None
    """Of the file itself; None: not told, or told of an encoded form only."""
    etag: str | None = None
    last_modified: str | None = None
    encoding: str | None = None
    """The Content-Encoding that it insists on, though none was asked for."""
    name: str | None = None
    """For display."""
    content_type: str | None = None
    url: str = ""
    """After redirects."""
    same_site: bool = True
    """No redirect led to another scheme, host or port."""
    by_head: bool = False
    """A HEAD told this."""
    ranged: bool = False
    """It sent the first byte alone when asked for it alone."""

    @property
    def is_page(self) -> bool:
        return self.content_type in HTML

    def changed_since(self, before: Origin) -> bool:
        """Whether something that both tell is different, a validator or the length, or no validator is left of those
        that there were: then nothing shows that it is the same file."""
        pairs = (
            (self.etag, before.etag),
            (self.last_modified, before.last_modified),
            (self.length, before.length),
        )
        if any(now is not None and then is not None and now != then for now, then in pairs):
            return True
        return bool(before.etag or before.last_modified) and not self._shares_validator(before)

    def continues(self, before: Origin) -> bool:
        """Whether bytes of `before` may be continued with bytes of this. With a validator in common it decides;
        without one the length has to be known and unchanged. What is encoded on the way can't be continued."""
        if self.encoding or before.encoding or self.changed_since(before):
            return False
        return self._shares_validator(before) or (self.length is not None and before.length is not None)

    def _shares_validator(self, other: Origin) -> bool:
        return bool((self.etag and other.etag) or (self.last_modified and other.last_modified))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """How to ask, with the credentials that go to the first site only."""

    url: str
    user_agent: str
    referer: str | None = None
    headers: Sequence[str] = ()
    """`Name: value`."""
    user: str | None = None
    password: str | None = None

    @property
    def has_secrets(self) -> bool:
        return bool(self.headers or self.user is not None)


class OriginProbe:
    """Owns the connections of these questions."""

    def __init__(self, ca_certificate: str) -> None:
        self._ca_certificate = ca_certificate
        self._connector: aiohttp.TCPConnector | None = None

    async def open(self) -> None:
        # loading the system's certificates takes some 20 ms of disk and CPU
        context = await asyncio.to_thread(ssl.create_default_context, cafile=self._ca_certificate or None)
        self._connector = aiohttp.TCPConnector(ssl=context, limit=64, limit_per_host=8)

    async def close(self) -> None:
        connector, self._connector = self._connector, None
        if connector is not None:
            await connector.close()

    async def ask(
        self, ask: Ask, *, deadline: Seconds = DEADLINE, insist: bool = False, whole: bool = False
    ) -> Origin:
        """HEAD, and where that tells nothing a GET of the first byte, whose body is not read. `insist`: the GET at
        once, for origins whose HEAD tells something else; `whole`: without a range. Raises FillFailed."""
        if self._connector is None:
            raise FillFailed(_network("the engine is stopping"))
        jar = aiohttp.CookieJar(unsafe=True)  # `unsafe` is about addresses without a name, which count as hosts here
        try:
            async with (
                asyncio.timeout(deadline),
                aiohttp.ClientSession(
                    connector=self._connector,
                    connector_owner=False,
                    cookie_jar=jar,
                    auto_decompress=False,
                    skip_auto_headers=("Accept-Encoding", "User-Agent"),
                    max_field_size=32_768,
                    max_line_size=32_768,
                ) as session,
            ):
                if not insist:
                    found = await self._follow(session, ask, "HEAD")
                    if isinstance(found, Origin):
                        return found
                answer = await self._follow(session, ask, "GET", whole=whole)
                if isinstance(answer, Origin):
                    return answer
                raise FillFailed(answer)
        except TimeoutError as error:
            raise FillFailed(
                Failure(
                    code=FailureCode.TIMEOUT,
                    message=f"the origin did not answer within {deadline:g} s",
                    retry=Retry.PASSING,
                )
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise FillFailed(_client_failure(error)) from error

    async def _follow(
        self, session: aiohttp.ClientSession, ask: Ask, method: str, *, whole: bool = False
    ) -> Origin | Failure:
        """What the origin says, or the refusal of the last hop. A HEAD that is refused or tells no length gives a
        Failure too, so that a GET follows; a wish to come back later is taken from a HEAD as well."""
        first = at = _checked(ask.url)
        same_site = True
        for _ in range(_REDIRECTS + 1):
            headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": ask.user_agent}
            if method == "GET" and not whole:
                headers["Range"] = "bytes=0-0"
            if ask.referer:
                headers["Referer"] = ask.referer
            if _site(at) == _site(first):
                headers.update((name, value.strip()) for name, _, value in (h.partition(":") for h in ask.headers))
                if ask.user is not None:
                    pair = f"{ask.user}:{ask.password or ''}".encode()
                    headers["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
            async with session.request(
                method, URL(at.text.partition("#")[0], encoded=True), headers=headers, allow_redirects=False
            ) as response:
                location = response.headers.get("Location")
                if response.status in _REDIRECT_STATUSES and location:
                    at = _checked(urljoin(at.text, location), redirected=True)
                    same_site = same_site and _site(at) == _site(first)
                    response.close()
                    continue
                try:
                    return _judge(method, response, at, same_site)
                finally:
                    # the body is not wanted, and may be the whole file
                    response.close()
        raise FillFailed(_refused(f"the origin redirects more than {_REDIRECTS} times"))


def _judge(method: str, response: aiohttp.ClientResponse, at: Url, same_site: bool) -> Origin | Failure:
    status, headers = response.status, response.headers
    ranged = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+|\*)", headers.get("Content-Range", ""))
    empty = method == "GET" and status == 416 and ranged is not None and ranged[1] == "0"
    if status not in (200, 206) and not empty:
        failure = failure_of_status(status, headers.get("Retry-After"))
        if method == "HEAD" and status in _BUSY and headers.get("Retry-After"):
            raise FillFailed(failure)
        return failure
    encoding = headers.get("Content-Encoding", "").strip().lower()
    encoding = "" if encoding == "identity" else encoding
    length: int | None = None
    if not encoding:
        if status != 200:
            length = int(ranged[1]) if ranged is not None and ranged[1] != "*" else None
        else:
            length = response.content_length
    if method == "HEAD" and not encoding and not length:
        return Failure(code=FailureCode.ORIGIN_ERROR, message="the origin told no length")
    # a media type is shown and served again: one that is malformed is none
    content_type = response.content_type if "Content-Type" in headers else None
    return Origin(
        length=believable(length),
        etag=headers.get("ETag"),
        last_modified=headers.get("Last-Modified"),
        encoding=encoding or None,
        name=filename_of(headers.get("Content-Disposition")) or name_of_url(at),
        content_type=content_type,
        url=at.text.partition("#")[0],
        same_site=same_site,
        by_head=method == "HEAD",
        ranged=status == 206,
    )


def believable(length: int | None) -> Bytes | None:
    """Raises FillFailed if no file is as long as that."""
    if length is not None and length > _MAX_LENGTH:
        raise FillFailed(
            Failure(
                code=FailureCode.ORIGIN_ERROR, message=f"the origin declares {length:.3g} bytes: no file is so long"
            )
        )
    return None if length is None else Bytes(length)


def failure_of_status(status: int, retry_after: str | None = None) -> Failure:
    """Invariant 10 of product.md section 5."""
    message = f"the origin answered {status}"
    wait = _retry_after(retry_after)
    if status in _GONE:
        return Failure(code=FailureCode.ORIGIN_GONE, message=message)
    if status in _BUSY:
        return Failure(code=FailureCode.ORIGIN_BUSY, message=message, retry=Retry.PASSING, retry_after=wait)
    if status >= 500 or status < 400:
        return Failure(code=FailureCode.ORIGIN_ERROR, message=message, retry=Retry.PASSING, retry_after=wait)
    return Failure(code=FailureCode.ORIGIN_DENIED, message=message)


def name_of_url(url: Url) -> str | None:
    return display_name(unquote(url.path.rpartition("/")[2]))


def _retry_after(text: str | None) -> Seconds | None:
    """Seconds or a date (RFC 9110 section 10.2.3), not longer than a day."""
    if not text:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        wait = float(text)
    else:
        try:
            when = parsedate_to_datetime(text)
        except (ValueError, IndexError):
            return None
        wait = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return Seconds(min(max(wait, 0.0), _MAX_RETRY_AFTER))


def _checked(url: str, *, redirected: bool = False) -> Url:
    try:
        return parse_url(url, schemes=_WEB)
    except InvalidSource as error:
        if redirected:
            scheme = url.partition(":")[0][:20]
            where = f" to a {scheme} address" if scheme.isalnum() and scheme.lower() not in _WEB else ""
            raise FillFailed(_refused(f"the origin redirects{where}, which is not fetched: {error.message}")) from error
        raise FillFailed(Failure(code=FailureCode.BAD_SOURCE, message=error.message)) from error


def _site(url: Url) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _refused(message: str) -> Failure:
    return Failure(code=FailureCode.ORIGIN_REFUSED_URL, message=message)


def _network(message: str) -> Failure:
    return Failure(code=FailureCode.NETWORK, message=message, retry=Retry.PASSING)


def words_of(error: Exception) -> str:
    """Why there is no connection. asyncio writes the address that it called as Python does: the system's words then."""
    if not isinstance(error, OSError) or not error.strerror:
        return "the connection was closed"
    return os.strerror(error.errno) if error.errno and error.strerror.startswith(_CALL_FAILED) else error.strerror


def _client_failure(error: Exception) -> Failure:
    if isinstance(error, aiohttp.InvalidURL):
        return Failure(code=FailureCode.BAD_SOURCE, message="the URL cannot be used")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Failure(
            code=FailureCode.NETWORK, message=f"the origin's certificate is not trusted: {error.certificate_error}"
        )
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientOSError | aiohttp.ServerDisconnectedError):
        what = words_of(error)
        return _network(f"the origin cannot be reached: {what}")
    if isinstance(error, aiohttp.ClientError | ValueError):
        message = "the origin's answer breaks the protocol"
        return Failure(code=FailureCode.ORIGIN_ERROR, message=message, retry=Retry.PASSING)
    return _network(f"the origin cannot be reached: {error}")
