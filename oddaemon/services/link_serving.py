"""Serving links: what a file server asks of one, and tells of its use.

What a link says is in its token, what it serves is read from the store when a file process asks (`content`), so that
nothing is served that the store does not know to be there.

A link that is bound to an address or network gives its files to no other client. A link with a limit may be used so
many times. A GET takes one use, whatever is made of its answer; HEAD takes none, and
neither does a GET for bytes behind the first from an address that has used the link within the last hour: that one goes
on with what it has begun. Addresses are kept in memory: after a restart of the daemon going on takes a use again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, ip_address, ip_network

from oddaemon.domain.cache import EntryFile, ReplicaState
from oddaemon.domain.errors import InvalidSelection, NotFound, NotReady
from oddaemon.domain.job import Job
from oddaemon.domain.link import Link, LinkContent, LinkFile, LinkKind, LinkUse
from oddaemon.domain.link_token import TokenError, verify
from oddaemon.domain.selection import select
from oddaemon.domain.types import Bytes, LinkId, ReplicaId, Seconds, UserId
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.file_servers import FileServers
from oddaemon.services.link_files import base_name, folder_prefix, made_name, selected_files
from oddaemon.services.served import day_of

CONTINUED_SECONDS = Seconds(3600)
"""For so long after its last request a client may go on with what it has begun."""
_GONE = frozenset({ReplicaState.DELETING})


@dataclass(slots=True)
class LinkServing:
    """Answers the file processes, which have verified a link's token."""

    store: Store
    clock: Clock
    servers: FileServers
    _users: dict[tuple[LinkId, str], Seconds] = field(default_factory=dict)
    """When an address last used a limited link, on the monotonic clock."""

    async def content(self, link_id: LinkId, replica_id: ReplicaId, file_index: int) -> LinkContent:
        """What a link serves now, for a file process that has verified its token. `file_index` is not 0 for a
        file, also for one of a playlist link. Raises NotFound when the link, its job or the file is gone,
        NotReady while the files are."""
        now = self.clock.now()

        def read(tx: Transaction) -> tuple[Link, Job, Sequence[EntryFile]]:
            link = tx.links.get(link_id)
            if link is None or link.revoked_at is not None or link.expires_at <= now:
                raise NotFound("the link is gone")
            job, owner = tx.jobs.get(link.job_id), tx.users.get(link.user_id)
            if job is None or owner is None or not owner.is_active or link.replica_id != replica_id:
                raise NotFound("the link's job is gone")
            found = tx.cache.replica(replica_id)
            if found is None or found.state in _GONE:
                raise NotFound("the files are gone")
            if found.state is ReplicaState.MISSING:
                raise NotReady("the files are being fetched again")
            return link, job, tx.cache.files(link.entry_id)

        link, job, files = await self.store.read(read)
        if file_index:
            return _file_content(link, files, file_index)
        if link.kind is LinkKind.ZIP:
            return _archive_content(job, link, files)
        if link.kind is LinkKind.M3U:
            return await self._playlist_content(job, link, files)
        raise NotFound("the link is gone")

    async def place(self, text: str) -> str:
        """The URL at which a link of this token is served. Whoever has the token may know. Raises NotFound."""
        now = self.clock.now()
        for node_id in self.servers.serving():
            try:
                token = verify(text, [await self.servers.node_key(node_id)], now)
            except TokenError:
                continue
            content = await self.content(token.link_id, token.replica_id, token.file_index)
            return self.servers.at(node_id, text, content.name)
        raise NotFound("there is no such link, or it has expired")

    async def use(self, link_id: LinkId, client: str, continued: bool) -> LinkUse:
        """Whether the client at this address may have a GET of a link that asks answered; takes a use if it needs one.
        Of any number at once no more take one than there are."""
        link = await self.store.read(lambda tx: tx.links.get(link_id))
        if link is None:
            return LinkUse.USED_UP
        if link.address is not None and not _comes_from(client, link.address):
            return LinkUse.ELSEWHERE
        if link.max_uses is None:
            return LinkUse.TAKEN
        now = self.clock.monotonic()
        self._users = {user: at for user, at in self._users.items() if now - at < CONTINUED_SECONDS}
        if not (continued and (link_id, client) in self._users) and not await self.store.write(
            lambda tx: tx.links.take_use(link_id)
        ):
            return LinkUse.USED_UP
        self._users[link_id, client] = now
        return LinkUse.TAKEN

    async def record_usage(self, usage: Mapping[LinkId, tuple[int, Bytes]]) -> None:
        """Adds accesses and bytes, to the link's and to those of its user's day, and notes that the content was
        used."""
        now = self.clock.now()

        def record(tx: Transaction) -> None:
            tx.links.add_usage(usage, now)
            links = [link for link_id in usage if (link := tx.links.get(link_id)) is not None]
            for entry_id in {link.entry_id for link in links}:
                tx.cache.touch(entry_id, now, hit=False)
            served: dict[UserId, Bytes] = {}
            for link in links:
                served[link.user_id] = Bytes(served.get(link.user_id, 0) + usage[link.id][1])
            # a removed user's links are refused, but what they gave before may be told now
            tx.served.add(day_of(now), {user: sent for user, sent in served.items() if sent and tx.users.get(user)})

        await self.store.write(record)

    async def _playlist_content(self, job: Job, link: Link, files: Sequence[EntryFile]) -> LinkContent:
        """Each entry is a token of this very link: what revokes the playlist revokes them."""
        if link.node_id not in self.servers.nodes():
            raise NotReady("the node serves no files at the moment")
        lines = ["#EXTM3U"]
        for file in _of_playlist(link, files):
            name = base_name(file.path)
            lines += [f"#EXTINF:-1,{name}", await self.servers.url(link, LinkKind.FILE, file.index, name)]
        return LinkContent(name=made_name(job, link), text="\n".join([*lines, ""]))


def _comes_from(client: str, allowed: str) -> bool:
    try:
        found = ip_address(client.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found in ip_network(allowed)


def _file_content(link: Link, files: Sequence[EntryFile], index: int) -> LinkContent:
    if link.kind is LinkKind.FILE and index != link.file_index:
        raise NotFound("the link is gone")
    among = _of_playlist(link, files) if link.kind is LinkKind.M3U else files
    file = next((file for file in among if file.index == index), None)
    if file is None or link.kind is LinkKind.ZIP:
        raise NotFound("the file is gone")
    if not file.ready or file.size is None:
        raise NotReady("the file is being fetched again")
    return LinkContent(name=base_name(file.path), files=(_served_file(file),))


def _archive_content(job: Job, link: Link, files: Sequence[EntryFile]) -> LinkContent:
    """The members are told by their paths below the folder."""
    prefix = folder_prefix(link.path)
    inside = [file for file in selected_files(job, files) if file.path.startswith(prefix) and file.ready]
    if not inside:
        raise NotReady("the files are being fetched again")
    members = tuple(replace(_served_file(file), path=file.path[len(prefix) :]) for file in inside)
    return LinkContent(name=made_name(job, link), files=members)


def _of_playlist(link: Link, files: Sequence[EntryFile]) -> Sequence[EntryFile]:
    try:
        wanted = select(link.path, files)
    except InvalidSelection:
        return []
    return [file for file in files if file.index in wanted and file.ready and file.size is not None]


def _served_file(file: EntryFile) -> LinkFile:
    return LinkFile(
        path=file.path, disk_path=file.disk_path, size=Bytes(file.size or 0), content_type=file.content_type
    )
