"""Gives downloads to aria2 and takes them away again. Every option that aria2 gets is written here."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from oddaemon.domain.errors import EngineUnavailable
from oddaemon.domain.types import ReplicaId, Seconds
from oddaemon.engines.aria2.fill import PHASES, Fill, gid_of
from oddaemon.engines.aria2.options import header_lines, seed_options
from oddaemon.engines.aria2.origin import Ask, Origin
from oddaemon.engines.aria2.rpc import Rpc, RpcRefused
from oddaemon.engines.aria2.settings import Aria2Settings
from oddaemon.ports.supervisor import SupervisedDaemon

_FORGET_DEADLINE = Seconds(5)
_ENDED = frozenset({"removed", "complete", "error"})
_FIXED_AT_ADD = frozenset({"gid", "pause"})
_CONNECT_TIMEOUT = "15"
_TRIES = "50"
"""Attempts at connections inside one attempt of ours: an origin that drops the connection every few hundred kilobytes
is got through with the bytes kept. How long a silent one is waited for is decided in `Aria2Engine`."""
_MIN_SPLIT = "4M"


class Downloads:
    def __init__(self, rpc: Rpc, settings: Aria2Settings) -> None:
        self._rpc = rpc
        self._settings = settings
        self.daemon: SupervisedDaemon | None = None

    async def fetch_url(self, fill: Fill, ask: Ask, origin: Origin, *, use_head: bool) -> None:
        options = self._common(fill, str(fill.request.directory)) | {
            "out": fill.names[1],
            "max-tries": _TRIES,
            # with more than 0, aria2 waits out a 503 by itself and does not heed Retry-After
            "retry-wait": "0",
            "timeout": _CONNECT_TIMEOUT,
            "connect-timeout": _CONNECT_TIMEOUT,
            "min-split-size": _MIN_SPLIT,
            "user-agent": ask.user_agent,
            "use-head": "true" if use_head else "false",
        }
        given = fill.request.options
        connections = given.get("connections", str(self._settings.connections_per_server))
        if origin.encoding:
            # what is encoded on the way cannot be split or continued
            options |= {"http-accept-gzip": "true", "split": "1", "max-connection-per-server": "1"}
        elif fill.anew > 1:
            options |= {"split": "1", "max-connection-per-server": "1"}
        else:
            options |= {"split": given.get("split", connections), "max-connection-per-server": connections}
        if ask.referer:
            options["referer"] = ask.referer
        url = ask.url
        if ask.has_secrets and not origin.same_site:
            # aria2 would send the credentials on to where the origin redirects
            url = origin.url
        else:
            options["header"] = list(ask.headers)
            url = _with_credentials(url, ask)
        await self._give(fill, "data", options, uri=url)

    async def fetch_metadata(self, fill: Fill, directory: str) -> None:
        options = self._common(fill, directory) | {
            "bt-metadata-only": "true",
            "bt-save-metadata": "true",
            "force-save": "false",
            **self._trackers(fill),
        }
        await self._give(fill, "meta", options, uri=f"magnet:?xt=urn:btih:{fill.request.source.info_hash}")

    async def fetch_torrent(self, fill: Fill, torrent: bytes, *, verify: bool, whole: bool) -> None:
        """`verify`: hash what is on disk first, there being no control file that says which parts are good. `whole`:
        every file of the torrent is there, it is only to be seeded."""
        assert fill.info is not None
        # padding files have gaps for their indices; should one be written, it gets a name of ours as well
        highest = max(fill.names)
        names = (fill.names.get(index, f"{index:05d}.pad") for index in range(1, highest + 1))
        options = self._common(fill, str(fill.request.directory)) | {
            "index-out": [f"{index}={name}" for index, name in enumerate(names, 1)],
            "select-file": ranges(fill.wanted),
            "check-integrity": "true" if verify else "false",
            "bt-seed-unverified": "true" if whole else "false",
            "max-upload-limit": str(fill.request.max_rate_up or 0),
            **seed_options(fill.request.options),
            **self._trackers(fill),
        }
        encoded = await asyncio.to_thread(lambda: base64.b64encode(torrent).decode("ascii"))
        await self._give(fill, "data", options, torrent=encoded)

    async def limit(self, fill: Fill) -> None:
        if fill.gid is None:
            return
        request = fill.request
        changed = {"max-download-limit": str(request.max_rate_down or 0)}
        if fill.is_torrent:
            changed["max-upload-limit"] = str(request.max_rate_up or 0)
        try:
            await self._rpc.change_option(fill.gid, changed)
        except RpcRefused:
            return  # it ended meanwhile

    async def take_back(self, fill: Fill) -> None:
        """aria2 lets go of it; when this returns it has no file of it open. The bytes and their control file stay."""
        gid = fill.gid
        if gid is None:
            return
        if self.daemon is not None and self.daemon.running:
            await self.forget(gid)
        fill.gid, fill.attached = None, False

    async def drop(self, replica: ReplicaId) -> None:
        """As `take_back`, of what nobody here works on. An aria2 that does not run holds no file open."""
        if self.daemon is not None and self.daemon.running:
            for phase in PHASES:
                await self.forget(gid_of(replica, phase))

    async def forget(self, gid: str) -> None:
        row = await self._rpc.status(gid)
        if row is None:
            return
        if row["status"] not in _ENDED:
            with contextlib.suppress(RpcRefused):  # it ended by itself just now
                await self._rpc.force_remove(gid)
            await self._until_ended(gid)
        with contextlib.suppress(RpcRefused):  # its result was dropped already
            await self._rpc.remove_result(gid)

    async def _until_ended(self, gid: str) -> None:
        wait = 0.01
        try:
            async with asyncio.timeout(_FORGET_DEADLINE):
                while True:
                    row = await self._rpc.status(gid)
                    if row is None or row["status"] in _ENDED:
                        return
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, 0.2)
        except TimeoutError as error:
            raise EngineUnavailable("aria2 does not let go of a download") from error

    async def _give(
        self, fill: Fill, phase: str, options: Mapping[str, object], *, uri: str = "", torrent: str = ""
    ) -> None:
        if self.daemon is None or not self.daemon.running:
            raise EngineUnavailable("aria2 is not running")
        gid = gid_of(fill.replica, phase)
        fill.gid, fill.attached, fill.generation = gid, False, self.daemon.generation
        if not await self._take_up(gid, options):
            if torrent:
                await self._rpc.add_torrent(torrent, {**options, "gid": gid, "pause": "false"})
            else:
                await self._rpc.add_uri(uri, {**options, "gid": gid, "pause": "false"})
        fill.attached = True

    async def _take_up(self, gid: str, options: Mapping[str, object]) -> bool:
        """Goes on with what a restarted aria2 found in its session, with the options of now."""
        row = await self._rpc.status(gid)
        if row is None:
            return False
        if row["status"] == "paused":
            try:
                await self._rpc.change_option(gid, {k: v for k, v in options.items() if k not in _FIXED_AT_ADD})
                await self._rpc.unpause(gid)
            except RpcRefused:
                await self.forget(gid)
                return False
            return True
        await self.forget(gid)
        return False

    def _common(self, fill: Fill, directory: str) -> dict[str, object]:
        return {"dir": directory, "max-download-limit": str(fill.request.max_rate_down or 0)}

    def _trackers(self, fill: Fill) -> dict[str, object]:
        """A comma separates trackers in aria2, so one inside an address is written as an escape."""
        given = list(fill.request.source.trackers)
        given += [one for one in fill.request.options.get("trackers", "").split(",") if one]
        unique = dict.fromkeys(one.replace(",", "%2C") for one in given)
        return {"bt-tracker": ",".join(unique)} if unique else {}


def ask_of(fill: Fill, version: str) -> Ask:
    """How to ask the origin of a URL fill."""
    source, options = fill.request.source, fill.request.options
    return Ask(
        url=source.uri.partition("#")[0],
        user_agent=options.get("user-agent", f"aria2/{version}"),
        referer=options.get("referer"),
        headers=header_lines(options),
        user=options.get("http-user", source.username),
        password=options.get("http-password", source.password),
    )


def ranges(indices: Iterable[int]) -> str:
    """`1-3,7`."""
    parts: list[list[int]] = []
    for index in sorted(indices):
        if parts and parts[-1][1] == index - 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _with_credentials(url: str, ask: Ask) -> str:
    """In the URL rather than in options: options would go along with redirects to other hosts."""
    if ask.user is None:
        return url
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{quote(ask.user, safe='')}:{quote(ask.password or '', safe='')}@{rest}"
