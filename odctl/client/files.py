"""Calls about the files of jobs and the links to them."""

from __future__ import annotations

from collections.abc import Sequence

from odctl.client import convert
from odctl.client.channel import Calls
from odctl.client.models import File, Link, MintedLink, NodeNotReached, Revoked
from odctl.client.protocol import wire

PAGE = 1000
LINKS_PAGE = 200


class Files:
    """Part of a DaemonClient. Every method raises OdctlError."""

    def __init__(self, calls: Calls) -> None:
        self._ask = calls.ask
        self._control = calls.control

    async def of(self, job: str) -> list[File]:
        found: list[File] = []
        while True:
            request = wire.ListFilesRequest(job=job, offset=len(found), limit=PAGE)
            answer: wire.ListFilesResponse = await self._ask(self._control, "list_files", request)
            found += [convert.file(item) for item in answer.files]
            if not answer.files or len(found) >= answer.total:
                return found

    async def page(self, job: str, offset: int, limit: int = 200) -> tuple[list[File], int]:
        """Some of them, and how many there are."""
        request = wire.ListFilesRequest(job=job, offset=offset, limit=limit)
        answer: wire.ListFilesResponse = await self._ask(self._control, "list_files", request)
        return [convert.file(item) for item in answer.files], answer.total

    async def select(self, job: str, selection: str) -> list[File]:
        answer: wire.ListFilesResponse = await self._ask(
            self._control, "select_files", wire.SelectFilesRequest(job=job, selection=selection)
        )
        if len(answer.files) < answer.total:
            return await self.of(job)
        return [convert.file(item) for item in answer.files]

    async def choose(self, job: str, selection: str) -> None:
        """As `select`, for whoever looks at the files page by page."""
        await self._ask(self._control, "select_files", wire.SelectFilesRequest(job=job, selection=selection))

    async def links(
        self,
        job: str,
        files: Sequence[str] = (),
        *,
        ttl_s: float = 0,
        inline: bool = False,
        kind: str = "",
        folder: str = "",
        max_uses: int = 0,
        address: str = "",
    ) -> list[Link]:
        request = wire.CreateLinksRequest(
            job=job, files=list(files), ttl_s=ttl_s, inline=inline, kind=kind, folder=folder, max_uses=max_uses,
            address=address,
        )
        answer: wire.CreateLinksResponse = await self._ask(self._control, "create_links", request)
        return [convert.link(item) for item in answer.links]

    async def minted_links(self, job: str = "", *, state: str = "") -> list[MintedLink]:
        """The links of a job, or all of the caller's; with a state those that are in it now."""
        found: list[MintedLink] = []
        while True:
            request = wire.ListLinksRequest(job=job, offset=len(found), limit=LINKS_PAGE, state=state)
            answer: wire.ListLinksResponse = await self._ask(self._control, "list_links", request)
            found += [convert.minted_link(item) for item in answer.links]
            if not answer.links or len(found) >= answer.total:
                return found

    async def revoke_links(self, ids: Sequence[str] = (), *, job: str = "") -> Revoked:
        answer: wire.RevokeLinksResponse = await self._ask(
            self._control, "revoke_links", wire.RevokeLinksRequest(ids=list(ids), job=job)
        )
        away = [NodeNotReached(node=one.node, until=one.until) for one in answer.not_reached]
        return Revoked(revoked=answer.revoked, not_reached=away)
