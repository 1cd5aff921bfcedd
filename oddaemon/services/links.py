"""Links: made, listed and revoked. A link belongs to a job and points at a replica; serving it is `link_serving`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from uuid import UUID

from oddaemon.domain.admission import human_time
from oddaemon.domain.cache import EntryFile, Replica
from oddaemon.domain.errors import InvalidArgument, LimitExceeded, NodeUnavailable, NotFound
from oddaemon.domain.job import Job
from oddaemon.domain.link import LONGEST_LINK, Link, LinkKind, LinkState
from oddaemon.domain.link_token import new_link_id
from oddaemon.domain.types import EntryId, JobNumber, LinkId, NodeId, Seconds
from oddaemon.domain.user import Principal, Scope, require
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Page, Store, Transaction
from oddaemon.services.file_servers import FileServers
from oddaemon.services.link_files import base_name, chosen_files, files_in, made_name, replica_of, targets
from oddaemon.services.selectors import find
from oddaemon.services.standing import check_stands
from oddaemon.services.views import LinkView

MAX_LINKS_AT_ONCE = 10_000
MOST_USES = 1_000_000
KEPT_AFTER_EXPIRY = timedelta(days=7)
"""For how long an expired link is still listed."""
_CONTENT_TYPES = {LinkKind.ZIP: "application/zip", LinkKind.M3U: "audio/x-mpegurl"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPolicy:
    expiry: Seconds = Seconds(3600)
    """When the caller names none."""
    maximum: Seconds = LONGEST_LINK


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    count: int
    """How many worked until now."""
    not_reached: Mapping[NodeId, datetime] = field(default_factory=dict)
    """Nodes that serve some of them and could not be told, and until when they may work there at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """What `create` found in the store."""

    job: Job
    replica: Replica
    links: Sequence[Link]
    files: Mapping[int, EntryFile]


@dataclass(slots=True)
class LinkService:
    store: Store
    clock: Clock
    servers: FileServers
    policy: Callable[[], LinkPolicy]
    look: Callable[[EntryId], Awaitable[object]] | None = None
    """Looks at an entry's files before links are made, and marks what is gone. Raises what keeps it from looking."""

    async def create(
        self, who: Principal, id: str, *, files: Sequence[str] = (), ttl: Seconds | None = None,
        inline: bool = False, kind: LinkKind = LinkKind.FILE, folder: str = "", max_uses: int | None = None,
        address: str = "",
    ) -> Sequence[LinkView]:  # fmt: skip
        """Links to ready files of a job, one for each; of kind zip one for a folder, of kind m3u one for a
        selection.

        `files` are indices, globs or paths; none: every ready file that the job selected. Raises NotFound for a job,
        file or folder, NotReady when one that was named (or all) is not ready, InvalidArgument for a lifetime out of
        bounds, NodeUnavailable when the files' node serves none, StorageMissing. Files that turn out to
        be gone from the disk are not ready, and are fetched again.
        """
        require(who, Scope.JOBS)
        _check_wish(kind, files, folder, max_uses)
        bound = _checked_address(address) if address else None
        now = self.clock.now()
        expires_at = now + timedelta(seconds=self._lifetime(ttl))

        def mint(tx: Transaction) -> _Served:
            check_stands(tx, who, now)
            job = _job(tx, who, id)
            replica, known = replica_of(tx, job)
            chosen = files_in(job, known, folder) if kind is LinkKind.ZIP else chosen_files(job, known, files)
            if kind is LinkKind.FILE and len(chosen) > MAX_LINKS_AT_ONCE:
                raise LimitExceeded(f"more than {MAX_LINKS_AT_ONCE} links at once", hint="use --m3u, or fewer files")
            made = [
                Link(
                    id=new_link_id(), job_id=job.id, user_id=who.user_id, entry_id=replica.entry_id,
                    replica_id=replica.id, node_id=replica.node_id, kind=kind, path=path, file_index=index,
                    created_at=now, expires_at=expires_at, inline=inline and kind is LinkKind.FILE,
                    max_uses=max_uses, uses_left=max_uses, address=bound,
                )
                for index, path in targets(kind, chosen, known, folder)
            ]  # fmt: skip
            if replica.node_id not in self.servers.nodes():
                raise NodeUnavailable(f"node {replica.node_id} serves no files at the moment")
            for link in made:
                tx.links.insert(link)
            tx.cache.touch(replica.entry_id, now, hit=False)
            return _Served(job=job, replica=replica, links=made, files={file.index: file for file in known})

        await self._check_files(who, id)
        served = await self.store.write(mint)
        return [await self._made(served, link) for link in served.links]

    async def page(
        self, who: Principal, *, id: str | None, offset: int, limit: int, state: LinkState | None = None
    ) -> Page[LinkView]:
        """A job's links, oldest first, or all of the caller's, newest first; with a state those that are in it now.
        Without their URLs."""
        require(who, Scope.READ)
        now = self.clock.now()

        def read(tx: Transaction) -> Page[LinkView]:
            if id:
                of_job = tx.links.of_job(_job(tx, who, id).id)
                links = [link for link in of_job if state in (None, link.state(now))]
                page = Page(rows=links[offset : offset + limit], total=len(links))
            else:
                page = tx.links.of_user(who.user_id, now=now, offset=offset, limit=limit, state=state)
            return Page(rows=_viewed(tx, page.rows, now), total=page.total)

        return await self.store.read(read)

    async def revoke(self, who: Principal, ids: Sequence[str], *, job: str | None = None) -> Revoked:
        """When this returns none of them works any more, but on the nodes that the answer names. A link that is not the
        caller's looks like one that does not exist, and then none is revoked."""
        require(who, Scope.JOBS)
        now = self.clock.now()

        def mark(tx: Transaction) -> Sequence[Link]:
            links = [_link(tx, who, text) for text in ids]
            if job:
                links += tx.links.of_job(_job(tx, who, job).id)
            distinct = {link.id: link for link in links if link.revoked_at is None and link.expires_at > now}
            tx.links.revoke(list(distinct), now)
            return list(distinct.values())

        if not ids and not job:
            raise InvalidArgument("no link is named", field="ids", hint="give link ids, or a job for all of its links")
        revoked = await self.store.write(mark)
        left = await self.servers.refuse({link.id: link.expires_at for link in revoked})
        last = {link.node_id: link.expires_at for link in sorted(revoked, key=lambda link: link.expires_at)}
        now = self.clock.now()
        until = {node: min(now + timedelta(seconds=left[node]), last[node]) for node in sorted(last) if node in left}
        return Revoked(count=len(revoked), not_reached=until)

    async def trim(self) -> int:
        """Forgets links that expired a week ago; how many."""
        before = self.clock.now() - KEPT_AFTER_EXPIRY
        return await self.store.write(lambda tx: tx.links.trim(before))

    def _lifetime(self, ttl: Seconds | None) -> Seconds:
        policy = self.policy()
        if not ttl:
            return min(policy.expiry, policy.maximum)
        if not 1 <= ttl <= policy.maximum:
            raise InvalidArgument(
                f"a link lives from 1 second to {human_time(policy.maximum)}", field="ttl",
                hint="give --ttl 1h; the longest is the setting limits.link_expiry_max",
            )
        return ttl

    async def _check_files(self, who: Principal, id: str) -> None:
        if self.look is None:
            return

        def entry(tx: Transaction) -> EntryId:
            return replica_of(tx, _job(tx, who, id))[0].entry_id

        await self.look(await self.store.read(entry))

    async def _made(self, served: _Served, link: Link) -> LinkView:
        file = served.files.get(link.file_index)
        if link.kind is LinkKind.FILE and file is not None:
            name, content_type, size = base_name(file.path), file.content_type, file.size
        else:
            name, content_type, size = made_name(served.job, link), _CONTENT_TYPES[link.kind], None
        return LinkView(
            link=link, state=LinkState.LIVE, job=served.job.number, size=size, content_type=content_type,
            url=await self.servers.url(link, link.kind, link.file_index, name),
        )  # fmt: skip


def _check_wish(kind: LinkKind, files: Sequence[str], folder: str, max_uses: int | None) -> None:
    """Raises InvalidArgument for what does not go together."""
    if kind is LinkKind.ZIP and files:
        raise InvalidArgument("an archive is made of a folder, not of files", field="files", hint="give --folder")
    if kind is not LinkKind.ZIP and folder:
        raise InvalidArgument("a folder is for archives", field="folder", hint="give the files as folder/*")
    if max_uses is not None and not 1 <= max_uses <= MOST_USES:
        raise InvalidArgument(f"a link has from 1 to {MOST_USES} uses", field="max_uses", hint="give --max-uses 3")
    if max_uses is not None and kind is LinkKind.M3U:
        raise InvalidArgument("a playlist is used once for each of its files", field="max_uses")


def _checked_address(text: str) -> str:
    """An address or network, as it is stored. Raises InvalidArgument."""
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError as error:
        raise InvalidArgument(
            f"{text[:80]!r} is no address and no network", field="address", hint="as in 192.0.2.7 or 192.0.2.0/24"
        ) from error
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None and network.prefixlen >= 96:
        # as callers with IPv4 are told apart
        network = IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _job(tx: Transaction, who: Principal, text: str) -> Job:
    found = find(tx, who, text)
    if found.errors:
        raise found.errors[0][1]
    if len(found.jobs) != 1:
        raise InvalidArgument(f"{text[:80]!r} is more than one job", field="id", hint="name one")
    return found.jobs[0]


def _link(tx: Transaction, who: Principal, text: str) -> Link:
    try:
        link = tx.links.get(LinkId(UUID(text)))
    except ValueError as error:
        raise InvalidArgument(f"{text[:80]!r} is not a link's id", field="ids") from error
    if link is None or (link.user_id != who.user_id and not who.is_admin):
        raise NotFound(f"there is no link {text[:80]!r}")
    return link


def _viewed(tx: Transaction, links: Sequence[Link], now: datetime) -> Sequence[LinkView]:
    jobs = {job_id: tx.jobs.get(job_id) for job_id in {link.job_id for link in links}}
    entries = tx.cache.files_of({link.entry_id for link in links})
    files = {(entry_id, file.index): file for entry_id, known in entries.items() for file in known}
    views = []
    for link in links:
        job = jobs[link.job_id]
        file = files.get((link.entry_id, link.file_index))
        views.append(
            LinkView(
                link=link,
                state=link.state(now),
                job=JobNumber(0) if job is None else job.number,
                size=None if file is None else file.size,
                content_type=_CONTENT_TYPES.get(link.kind) or (file.content_type if file else ""),
            )
        )
    return views
