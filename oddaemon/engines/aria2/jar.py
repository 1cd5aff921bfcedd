"""Whose cookies aria2 may hold. aria2c has one jar for everything that it fetches, with no way to do without it: what a
site gives to someone who is logged in there goes along with whatever is fetched from it later, whoever asked for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from urllib.parse import urlsplit

from oddaemon.domain.errors import EngineUnavailable
from oddaemon.domain.failure import Failure, FailureCode, Retry
from oddaemon.domain.types import Seconds
from oddaemon.engines.aria2.fill import Fill
from oddaemon.engines.aria2.origin import Ask, FillFailed, Origin
from oddaemon.ports.supervisor import SupervisedDaemon

log = logging.getLogger(__name__)

_TURN = Seconds(30)
_Who = tuple[tuple[str, ...], str | None, str | None]


class Jar:
    def __init__(self) -> None:
        self._generation = 0
        self._logged_in: dict[str, dict[_Who, Fill]] = {}
        """By site: the credentials that were used there since this aria2c started, with the last fill that did."""

    def note(self, fill: Fill, ask: Ask, origin: Origin, daemon: SupervisedDaemon) -> None:
        """This is what aria2 gets now."""
        if self._generation != daemon.generation:
            self._generation = daemon.generation
            self._logged_in.clear()
        if ask.has_secrets and not ask.url.startswith("ftp:"):
            for site in _sites(ask, origin):
                self._logged_in.setdefault(site, {})[_who(ask)] = fill

    def clean(self, ask: Ask, origin: Origin, daemon: SupervisedDaemon) -> None:
        """For a download that turned out other than its origin says, or of which nothing will show whether it did. If
        someone else was logged in at its site, aria2c starts again without cookies, and everything goes on from the
        bytes that are there: raises EngineUnavailable. Whoever still is there is waited for: raises FillFailed."""
        sites, mine = _sites(ask, origin), _who(ask)
        others = [fill for site in sites for who, fill in self._logged_in.get(site, {}).items() if who != mine]
        if not others or self._generation != daemon.generation or daemon.pid is None:
            return
        if any(fill.attached for fill in others):
            message = "a download with other credentials runs at the same site, and its cookies could mix the two"
            raise FillFailed(Failure(code=FailureCode.ENGINE, message=message, retry=Retry.PASSING, retry_after=_TURN))
        log.warning("aria2c is ended for the cookies that it holds", extra={"action": "aria2.cookies"})
        # politely, it would tell of downloads that it takes down one after the other as if they had ended
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon.pid, signal.SIGKILL)
        raise EngineUnavailable("aria2c starts again, to forget the cookies of another download")


def _who(ask: Ask) -> _Who:
    return tuple(ask.headers), ask.user, ask.password


def _sites(ask: Ask, origin: Origin) -> set[str]:
    return {_site(ask.url), _site(origin.url)}


def _site(url: str) -> str:
    """Without the first names of a host: a cookie may be meant for all of a domain."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return host if ":" in host or host.replace(".", "").isdigit() else ".".join(host.split(".")[-2:])
