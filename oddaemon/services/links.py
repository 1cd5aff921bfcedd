"""Links: mint, list, revoke, count, and tell a file process what a link serves. Verifying is
`domain.link_token`: no store.

A link belongs to a job and points at a replica. What it says is in its token, what it serves is read from the
store when a file process asks (`content`), so that nothing is served that the store does not know to be
there.

A link that is bound to an address or network gives its files to no other client. A link with a limit may be used so
many times. A GET takes one use, whatever is made of its answer; HEAD takes none, and
neither does a GET for bytes behind the first from an address that has used the link within the last hour: that one goes
on with what it has begun. Addresses are kept in memory: after a restart of the daemon going on takes a use again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Protocol
from urllib.parse import quote
from uuid import UUID

from oddaemon.domain.admission import human_time
from oddaemon.domain.cache import EntryFile, Replica, ReplicaState
from oddaemon.domain.errors import (
    InvalidArgument,
    InvalidSelection,
    LimitExceeded,
    NodeUnavailable,
    NotFound,
    NotReady,
)
from oddaemon.domain.files import display_name
from oddaemon.domain.job import Job, JobState
from oddaemon.domain.link import LONGEST_LINK, Link, LinkContent, LinkFile, LinkKind, LinkState
from oddaemon.domain.link_token import (
    MASTER_KEY_NAME,
    LinkToken,
    TokenError,
    new_link_id,
    new_master_key,
    node_key,
    sign,
    verify,
)
from oddaemon.domain.selection import compact, select
from oddaemon.domain.types import Bytes, EntryId, JobNumber, LinkId, NodeId, ReplicaId, Seconds, UserId
from oddaemon.domain.user import Principal, Scope, require
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Page, Store, Transaction
from oddaemon.services.selectors import find
from oddaemon.services.served import day_of
from oddaemon.services.standing import check_stands
from oddaemon.services.views import LinkView

log = logging.getLogger(__name__)

MAX_LINKS_AT_ONCE = 10_000
MOST_USES = 1_000_000
CONTINUED_SECONDS = Seconds(3600)
"""For so long after its last request a client may go on with what it has begun."""
KEPT_AFTER_EXPIRY = timedelta(days=7)
"""For how long an expired link is still listed."""
_CONTENT_TYPES = {LinkKind.ZIP: "application/zip", LinkKind.M3U: "audio/x-mpegurl"}
_GONE = frozenset({ReplicaState.DELETING})
_ABSENT = frozenset({ReplicaState.MISSING, ReplicaState.DELETING})


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPolicy:
    expiry: Seconds = Seconds(3600)
    """When the caller names none."""
    maximum: Seconds = LONGEST_LINK


class FilesOnNode(Protocol):
    """The file server of one node, as this service needs it."""

    async def revoke(self, links: Mapping[LinkId, datetime]) -> None:
        """Within a second none of them is served. Values are expiries."""

    async def rekey(self, keys: Sequence[bytes]) -> None:
        """Within a second no link is served that none of these keys signed."""


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
    policy: Callable[[], LinkPolicy]
    look: Callable[[EntryId], Awaitable[object]] | None = None
    """Looks at an entry's files before links are made, and marks what is gone. Raises what keeps it from looking."""
    _nodes: dict[NodeId, tuple[str, FilesOnNode]] = field(default_factory=dict)
    _keys: dict[NodeId, bytes] = field(default_factory=dict)
    _users: dict[tuple[LinkId, str], Seconds] = field(default_factory=dict)
    """When an address last used a limited link, on the monotonic clock."""

    def serve_on(self, node_id: NodeId, endpoint: str, files: FilesOnNode) -> None:
        """From now on links to this node's replicas can be made. `endpoint`: what their URLs begin with."""
        self._nodes[node_id] = (endpoint.rstrip("/"), files)

    async def node_key(self, node_id: NodeId) -> bytes:
        """What a node's file server verifies with. The master key is made on first use and never leaves the
        store."""
        if node_id not in self._keys:
            master = await self.store.write(lambda tx: tx.secrets.get_or_create(MASTER_KEY_NAME, new_master_key))
            self._keys[node_id] = node_key(master, node_id)
        return self._keys[node_id]

    async def rekey(self) -> None:
        """The store has another master key: within a second nothing that was signed with the old one is served."""
        self._keys.clear()
        for node_id, (_, server) in self._nodes.items():
            await server.rekey([await self.node_key(node_id)])

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
        if kind is LinkKind.ZIP and files:
            raise InvalidArgument("an archive is made of a folder, not of files", field="files", hint="give --folder")
        if kind is not LinkKind.ZIP and folder:
            raise InvalidArgument("a folder is for archives", field="folder", hint="give the files as folder/*")
        if max_uses is not None and not 1 <= max_uses <= MOST_USES:
            raise InvalidArgument(f"a link has from 1 to {MOST_USES} uses", field="max_uses", hint="give --max-uses 3")
        if max_uses is not None and kind is LinkKind.M3U:
            raise InvalidArgument("a playlist is used once for each of its files", field="max_uses")
        bound = _checked_address(address) if address else None
        now = self.clock.now()
        expires_at = now + timedelta(seconds=self._lifetime(ttl))

        def mint(tx: Transaction) -> _Served:
            check_stands(tx, who, now)
            job = _job(tx, who, id)
            replica, known = _replica_of(tx, job)
            chosen = _folder(job, known, folder) if kind is LinkKind.ZIP else _chosen(job, known, files)
            if kind is LinkKind.FILE and len(chosen) > MAX_LINKS_AT_ONCE:
                raise LimitExceeded(f"more than {MAX_LINKS_AT_ONCE} links at once", hint="use --m3u, or fewer files")
            made = [
                Link(
                    id=new_link_id(), job_id=job.id, user_id=who.user_id, entry_id=replica.entry_id,
                    replica_id=replica.id, node_id=replica.node_id, kind=kind, path=path, file_index=index,
                    created_at=now, expires_at=expires_at, inline=inline and kind is LinkKind.FILE,
                    max_uses=max_uses, uses_left=max_uses, address=bound,
                )
                for index, path in _targets(kind, chosen, known, folder)
            ]  # fmt: skip
            if replica.node_id not in self._nodes:
                raise NodeUnavailable(f"node {replica.node_id} serves no files at the moment")
            for link in made:
                tx.links.insert(link)
            tx.cache.touch(replica.entry_id, now, hit=False)
            return _Served(job=job, replica=replica, links=made, files={file.index: file for file in known})

        await self._check_files(who, id)
        served = await self.store.write(mint)
        key = await self.node_key(served.replica.node_id)
        return [self._made(served, link, key) for link in served.links]

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

    async def revoke(self, who: Principal, ids: Sequence[str], *, job: str | None = None) -> int:
        """How many were revoked now; when this returns none of them works any more. A link that is not the
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
        await self._push({link.id: (link.node_id, link.expires_at) for link in revoked})
        return len(revoked)

    async def push_revocations(self, ids: Collection[LinkId]) -> None:
        """Tells the file servers of links that the store already knows to be revoked (a job was removed)."""
        if not ids:
            return
        latest = self.clock.now() + timedelta(seconds=LONGEST_LINK)

        def read(tx: Transaction) -> Mapping[LinkId, tuple[NodeId | None, datetime]]:
            found = {link_id: tx.links.get(link_id) for link_id in ids}
            return {
                link_id: (None, latest) if link is None else (link.node_id, link.expires_at)
                for link_id, link in found.items()
            }

        await self._push(await self.store.read(read))

    async def revoked(self) -> Mapping[LinkId, datetime]:
        """What a file server has to refuse from its start."""
        now = self.clock.now()
        return dict(await self.store.read(lambda tx: tx.links.revoked(now)))

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
            return self._playlist_content(job, link, files, await self.node_key(link.node_id))
        raise NotFound("the link is gone")

    async def place(self, text: str) -> str:
        """The URL at which a link of this token is served. Whoever has the token may know. Raises NotFound."""
        now = self.clock.now()
        for node_id in self._nodes:
            try:
                token = verify(text, [await self.node_key(node_id)], now)
            except TokenError:
                continue
            content = await self.content(token.link_id, token.replica_id, token.file_index)
            return f"{self._nodes[node_id][0]}/d/{text}/{quote(content.name, safe='', errors='replace')}"
        raise NotFound("there is no such link, or it has expired")

    async def use(self, link_id: LinkId, client: str, continued: bool) -> bool:
        """Whether the client at this address may have a GET of a link that asks answered; takes a use if it needs one.
        Of any number at once no more take one than there are."""
        link = await self.store.read(lambda tx: tx.links.get(link_id))
        if link is None or (link.address is not None and not _comes_from(client, link.address)):
            return False
        if link.max_uses is None:
            return True
        now = self.clock.monotonic()
        self._users = {user: at for user, at in self._users.items() if now - at < CONTINUED_SECONDS}
        if not (continued and (link_id, client) in self._users) and not await self.store.write(
            lambda tx: tx.links.take_use(link_id)
        ):
            return False
        self._users[link_id, client] = now
        return True

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

    async def trim(self) -> int:
        """Forgets links that expired a week ago; how many."""
        before = self.clock.now() - KEPT_AFTER_EXPIRY
        return await self.store.write(lambda tx: tx.links.trim(before))

    # -- parts of the above

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
            return _replica_of(tx, _job(tx, who, id))[0].entry_id

        await self.look(await self.store.read(entry))

    def _made(self, served: _Served, link: Link, key: bytes) -> LinkView:
        file = served.files.get(link.file_index)
        if link.kind is LinkKind.FILE and file is not None:
            name, content_type, size = _base_name(file.path), file.content_type, file.size
        else:
            name, content_type, size = _made_name(served.job, link), _CONTENT_TYPES[link.kind], None
        return LinkView(
            link=link, state=LinkState.LIVE, job=served.job.number, size=size, content_type=content_type,
            url=self._url(link, link.kind, link.file_index, name, key),
        )  # fmt: skip

    def _url(self, link: Link, kind: LinkKind, index: int, name: str, key: bytes) -> str:
        token = LinkToken(
            link_id=link.id, replica_id=link.replica_id, user_id=link.user_id, file_index=index, kind=kind,
            inline=link.inline, expires_at=int(link.expires_at.timestamp()), limited=link.asks,
        )  # fmt: skip
        return f"{self._nodes[link.node_id][0]}/d/{sign(token, key)}/{quote(name, safe='', errors='replace')}"

    def _playlist_content(self, job: Job, link: Link, files: Sequence[EntryFile], key: bytes) -> LinkContent:
        """Each entry is a token of this very link: what revokes the playlist revokes them."""
        if link.node_id not in self._nodes:
            raise NotReady("the node serves no files at the moment")
        lines = ["#EXTM3U"]
        for file in _of_playlist(link, files):
            name = _base_name(file.path)
            lines += [f"#EXTINF:-1,{name}", self._url(link, LinkKind.FILE, file.index, name, key)]
        return LinkContent(name=_made_name(job, link), text="\n".join([*lines, ""]))

    async def _push(self, links: Mapping[LinkId, tuple[NodeId | None, datetime]]) -> None:
        for node_id, (_, server) in self._nodes.items():
            theirs = {link_id: expiry for link_id, (on, expiry) in links.items() if on in (None, node_id)}
            if theirs:
                await server.revoke(theirs)


def _checked_address(text: str) -> str:
    """An address or network, as it is stored. Raises InvalidArgument."""
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError as error:
        raise InvalidArgument(
            f"{text[:80]!r} is no address and no network", field="address", hint="as in 192.0.2.7 or 192.0.2.0/24"
        ) from error
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _comes_from(client: str, allowed: str) -> bool:
    try:
        found = ip_address(client.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found in ip_network(allowed)


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


def _replica_of(tx: Transaction, job: Job) -> tuple[Replica, Sequence[EntryFile]]:
    """The replica that holds the job's ready files. Raises NotReady."""
    if job.entry_id is None or job.state is JobState.CANCELLED:
        raise _not_ready(job, f"it is {job.state}")
    files = tx.cache.files(job.entry_id)
    for replica in tx.cache.replicas_of(job.entry_id):
        if replica.state not in _ABSENT:
            return replica, files
    if job.state is JobState.QUEUED and job.reason is not None:
        raise _not_ready(job, job.reason.message)
    raise _not_ready(job, f"it is {job.state}" if files else "its files are not known yet")


def _chosen(job: Job, files: Sequence[EntryFile], wanted: Sequence[str]) -> Sequence[EntryFile]:
    """The files that were asked for, all of them ready; by default those of the job's selection that are."""
    if not wanted:
        selected = _selected(job, files)
        if ready := [file for file in selected if file.ready]:
            return ready
        raise _not_ready(job, f"none of its {len(selected)} files is")
    indices: set[int] = set()
    for text in wanted:
        exact = {file.index for file in files if file.path == text}
        try:
            indices |= exact or select(text, files)
        except InvalidSelection as error:
            raise NotFound(error.message, hint=f"odctl files {job.number} shows what there is") from error
    chosen = [file for file in files if file.index in indices]
    missing = [file for file in chosen if not file.ready]
    if not chosen:
        raise NotFound("this names no file", hint=f"odctl files {job.number} shows what there is")
    if missing:
        there = compact([file.index for file in files if file.ready], files)
        raise _not_ready(job, f"file {missing[0].index} ({missing[0].path}) is not; ready are: {there}")
    return chosen


def _folder(job: Job, files: Sequence[EntryFile], folder: str) -> Sequence[EntryFile]:
    prefix = _prefix(folder)
    inside = [file for file in _selected(job, files) if file.path.startswith(prefix)]
    if not inside:
        raise NotFound(f"there is no folder {folder[:200]!r}", hint=f"odctl files {job.number} shows what there is")
    if ready := [file for file in inside if file.ready]:
        return ready
    raise _not_ready(job, f"none of the {len(inside)} files there is")


def _targets(
    kind: LinkKind, chosen: Sequence[EntryFile], known: Sequence[EntryFile], folder: str
) -> Sequence[tuple[int, str]]:
    """Index and path of each link to be made."""
    if kind is LinkKind.FILE:
        return [(file.index, file.path) for file in chosen]
    if kind is LinkKind.ZIP:
        return [(0, _prefix(folder).rstrip("/"))]
    return [(0, compact([file.index for file in chosen], known))]


def _selected(job: Job, files: Sequence[EntryFile]) -> Sequence[EntryFile]:
    try:
        wanted = select(job.selection, files)
    except InvalidSelection:
        return []
    return [file for file in files if file.index in wanted and file.failed is None]


def _file_content(link: Link, files: Sequence[EntryFile], index: int) -> LinkContent:
    if link.kind is LinkKind.FILE and index != link.file_index:
        raise NotFound("the link is gone")
    among = _of_playlist(link, files) if link.kind is LinkKind.M3U else files
    file = next((file for file in among if file.index == index), None)
    if file is None or link.kind is LinkKind.ZIP:
        raise NotFound("the file is gone")
    if not file.ready or file.size is None:
        raise NotReady("the file is being fetched again")
    return LinkContent(name=_base_name(file.path), files=(_served_file(file),))


def _archive_content(job: Job, link: Link, files: Sequence[EntryFile]) -> LinkContent:
    """The members are told by their paths below the folder."""
    prefix = _prefix(link.path)
    inside = [file for file in _selected(job, files) if file.path.startswith(prefix) and file.ready]
    if not inside:
        raise NotReady("the files are being fetched again")
    members = tuple(replace(_served_file(file), path=file.path[len(prefix) :]) for file in inside)
    return LinkContent(name=_made_name(job, link), files=members)


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


def _made_name(job: Job, link: Link) -> str:
    """Of an archive or a playlist."""
    folder = _base_name(link.path) if link.kind is LinkKind.ZIP and link.path else ""
    return f"{folder or display_name(job.name or f'job {job.number}')}.{link.kind}"


def _base_name(path: str) -> str:
    return display_name(path.rpartition("/")[2])


def _prefix(folder: str) -> str:
    inner = folder.strip("/")
    return f"{inner}/" if inner else ""


def _not_ready(job: Job, what: str) -> NotReady:
    again = job.state in {JobState.FAILED, JobState.CANCELLED}
    wait = f"wait for it with: odctl wait {job.number}, or get it with: odctl get {job.number} --wait"
    return NotReady(
        f"the files of job {job.number} are not ready: {what}",
        job=job.number,
        hint=f"try it again with: odctl retry {job.number}" if again else wait,
    )
