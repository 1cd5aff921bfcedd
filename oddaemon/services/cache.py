"""CacheService: what is cached, pins, removal and clean-up.

Only entries that no job claims and nobody pinned can go; what may go is decided by one function of a transaction, for a
dry run and for a real one. Deleting is marking: the reconciler ends the engine's work and deletes the directories.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from oddaemon.domain.cache import CacheEntry, Replica, ReplicaState
from oddaemon.domain.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidArgument,
    NodeUnavailable,
    NotFound,
    NotReady,
    OpenDebridError,
)
from oddaemon.domain.events import CacheEvicted
from oddaemon.domain.filter_fields import CACHE
from oddaemon.domain.filter_text import parse_filter
from oddaemon.domain.filter_tree import settled
from oddaemon.domain.node import NodeSnapshot
from oddaemon.domain.query import CACHE_SORT_FIELDS, parse_sort
from oddaemon.domain.types import Bytes, EntryId, NodeId, ReplicaId, Seconds, UserId
from oddaemon.domain.user import Principal, Scope, require, require_admin
from oddaemon.domain.words import choices
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Page, Query, Store, Transaction
from oddaemon.services.cache_plan import Victim, Wish, live_replicas, plan, refusal, victim_of, view_of, views_of
from oddaemon.services.claims import claimants, discard
from oddaemon.services.copy_wishes import new_copy
from oddaemon.services.hits import HitChecker
from oddaemon.services.views import CacheView, CleanupItem, CleanupResult

log = logging.getLogger(__name__)

MAX_PAGE = 1000
MAX_KEYS = 1000
SETTLE_DEADLINE = Seconds(120)
"""For the deletion of everything that one call removes; what takes longer goes on without the caller."""
MOST_REPLICAS = 100
_COPIED = frozenset({ReplicaState.READY, ReplicaState.COPYING})
LOOK_DEADLINE = Seconds(60)
"""For looking at the files of one entry."""

Settle = Callable[[Sequence[ReplicaId]], Awaitable[Mapping[ReplicaId, Bytes]]]
Measure = Callable[[Sequence[ReplicaId]], Awaitable[Mapping[ReplicaId, Bytes]]]


@dataclass(slots=True)
class CacheService:
    """`wake(entry_id)` tells the reconciler that something changed. `settle` waits until replicas that are marked are
    deleted, and answers the bytes that each freed. `in_use` names the replicas whose files were opened within the last
    minutes. `measure` tells what replicas hold on disk, to the byte: what a dry run promises."""

    store: Store
    clock: Clock
    nodes: Callable[[], Sequence[NodeClient]]
    wake: Callable[[EntryId | None], None]
    settle: Settle
    in_use: Callable[[], Collection[ReplicaId]]
    measure: Measure

    # looking

    async def page(
        self,
        who: Principal,
        *,
        filter: str,
        sort: str,
        offset: int,
        limit: int,
        key: str = "",
    ) -> Page[CacheView]:
        """Entries, most recently used first unless `sort` says otherwise. Users see what they claim, admins all.

        With a `key`: its generations, each replica with its size; raises NotFound when there is none to see.
        """
        require(who, Scope.READ)
        user = _sight(who)
        query = Query(
            where=settled(parse_filter(filter, CACHE), now=self.clock.now(), me=who.username),
            sort=parse_sort(sort or "!last_used", CACHE_SORT_FIELDS),
            offset=max(0, offset),
            limit=max(0, min(limit, MAX_PAGE)),
            user_id=user,
        )

        def work(tx: Transaction) -> Page[CacheView]:
            found = tx.cache.overviews(query, key=key or None)
            return Page(rows=views_of(tx, found.rows, sizes=bool(key)), total=found.total)

        page = await self.store.read(work)
        if key and not page.total:
            raise _no_entry(key)
        return page

    # pins

    async def pin(
        self, who: Principal, keys: Sequence[str], *, pinned: bool, replicas: int | None = None
    ) -> Sequence[CacheView]:
        """Pins the generation that an add of the key joins, or unpins every generation. What loses its pin while no
        job claims it stays until clean-up. With `replicas` it is to lie on so many nodes for as long as it is pinned;
        copies are made in the background, and none that is there goes. Raises NotFound, and then nothing has
        changed."""
        require_admin(who)
        wanted = _checked(keys)
        if replicas is not None and not (pinned and 1 <= replicas <= MOST_REPLICAS):
            raise InvalidArgument(
                f"what is pinned lies on from 1 to {MOST_REPLICAS} nodes", field="replicas",
                hint="give how many nodes are to hold it, such as 2",
            )  # fmt: skip

        def work(tx: Transaction) -> Sequence[CacheView]:
            chosen: list[EntryId] = []
            for key in wanted:
                generations = _generations(tx, key)
                if pinned:
                    generations = [next((entry for entry in generations if entry.current), generations[-1])]
                for entry in generations:
                    kept = entry.kept or (entry.pinned and not pinned and not claimants(tx, entry.id))
                    wish = (replicas or entry.replicas) if pinned else 1
                    tx.cache.update_entry(replace(entry, pinned=pinned, kept=kept, replicas=wish))
                    chosen.append(entry.id)
            return [view_of(tx, entry_id) for entry_id in chosen]

        views = await self.store.write(work)
        self.wake(None)
        return views

    # copies

    async def copy(self, who: Principal, key: str, node: str) -> CacheView:
        """Begins a copy of the generation that an add of the key joins, on a node that can be reached; where one is, or
        is being made, there is nothing to do. The copying goes on in the background, also after a restart. Raises
        NotFound; NotReady while the content is not complete anywhere; Conflict when it is being downloaded there."""
        require_admin(who)
        target = _node_named(node, await self._snapshots())
        if target is None:
            raise InvalidArgument("no node is named", field="node", hint="odctl nodes ls lists them")

        def work(tx: Transaction) -> CacheView:
            generations = _generations(tx, key)
            entry = next((entry for entry in generations if entry.current), generations[-1])
            replicas = live_replicas(tx, entry.id)
            there = [found for found in replicas if found.node_id == target]
            if not any(found.state in _COPIED for found in there):
                if there:
                    raise Conflict(f"it is {there[0].state} on {target}")
                if not any(found.state is ReplicaState.READY for found in replicas):
                    raise NotReady("it is not complete yet: there is nothing to copy")
                size = Bytes(sum(file.size or 0 for file in tx.cache.files(entry.id) if file.ready))
                tx.cache.insert_replica(new_copy(entry, target, size, self.clock.now(), "an admin wished for a copy"))
            return view_of(tx, entry.id)

        view = await self.store.write(work)
        self.wake(None)
        return view

    # removing

    async def remove(self, who: Principal, keys: Sequence[str], *, dry_run: bool) -> CleanupResult:
        """Removes every generation of the keys. What is claimed, pinned or out of reach stays, each with its reason.
        Raises NotFound, and then nothing has changed."""
        require_admin(who)
        wanted = _checked(keys)
        snapshots = await self._snapshots()

        def targets(tx: Transaction) -> list[ReplicaId]:
            return [
                found.id for key in wanted for entry in _generations(tx, key) for found in live_replicas(tx, entry.id)
            ]

        sizes = await self._measured(await self.store.read(targets))

        def choose(tx: Transaction) -> tuple[list[Victim], list[CleanupItem]]:
            going: list[Victim] = []
            staying: list[CleanupItem] = []
            for key in wanted:
                for entry in _generations(tx, key):
                    error = refusal(tx, entry, snapshots)
                    victim = victim_of(tx, entry, sizes)
                    if error is None:
                        going.append(victim)
                    else:
                        staying.append(CleanupItem(view=victim.view, freed=Bytes(0), error=error))
            return going, staying

        return await self._carry_out(choose, dry_run=dry_run, why="removed")

    async def cleanup(
        self,
        who: Principal,
        *,
        older: Seconds | None,
        until_free: Bytes | None,
        node: str,
        dry_run: bool,
        verify: bool,
        named: Collection[tuple[str, int]] | None = None,
    ) -> CleanupResult:
        """Removes, least recently used first, what no job claims and nobody pinned: unused for `older` (None: any
        time), until so much is free on each node (None: all of it), on `node` only when it is named.

        `verify` looks at every ready file first: what is gone is marked as missing. With nothing else asked for, only
        claimless entries of which no file is left are removed then. Never touches what is being filled, what was opened
        a moment ago, or a node whose disk is missing. A dry run changes nothing and names what a real run would remove;
        one that is given what was `named` (keys and generations) removes nothing else.
        """
        require_admin(who)
        if (older or 0) < 0 or (until_free or 0) < 0:
            raise InvalidArgument(
                "ages and sizes are not negative", field="older" if (older or 0) < 0 else "until_free"
            )
        return await self.evict(
            older=older, until_free=until_free, node=node, dry_run=dry_run, verify=verify, named=named
        )

    async def evict(
        self,
        *,
        older: Seconds | None,
        until_free: Bytes | None,
        node: str = "",
        dry_run: bool = False,
        verify: bool = False,
        named: Collection[tuple[str, int]] | None = None,
        why: str = "cleaned up",
    ) -> CleanupResult:
        """As `cleanup`, for the daemon itself."""
        snapshots = await self._snapshots()
        wanted_node = _node_named(node, snapshots)
        dead = await self._verified(wanted_node, snapshots, dry_run=dry_run) if verify else frozenset()
        only = dead if verify and older is None and until_free is None else None
        spared = frozenset(self.in_use())
        free = {found.id: found.disk.free for found in snapshots.values() if found.online and found.disk.present}
        wish = Wish(
            now=self.clock.now(),
            older=older,
            until_free=until_free,
            node=wanted_node,
            only=only,
            named=None if named is None else frozenset(named),
            free=free,
            spared=spared,
        )
        candidates = await self.store.read(lambda tx: plan(tx, replace(wish, until_free=None)))
        sizes = await self._measured([replica for victim in candidates for replica in victim.sizes])
        measured = replace(wish, sizes=sizes)
        return await self._carry_out(lambda tx: (plan(tx, measured), []), dry_run=dry_run, why=why)

    async def _carry_out(
        self, choose: Callable[[Transaction], tuple[list[Victim], list[CleanupItem]]], *, dry_run: bool, why: str
    ) -> CleanupResult:
        """Chooses and, unless it is a dry run, marks in the same transaction; then waits for the deletions."""
        if dry_run:
            going, staying = await self.store.read(choose)
            return _result(going, staying, {}, applied=False)

        def work(tx: Transaction) -> tuple[list[Victim], list[CleanupItem]]:
            going, staying = choose(tx)
            at = self.clock.now()
            for victim in going:
                discard(tx, victim.view.entry, at)
                tx.events.add(
                    CacheEvicted(at=at, data={"key": victim.view.entry.key, "bytes": int(victim.freed), "why": why})
                )
            return going, staying

        going, staying = await self.store.write(work)
        freed = await self._deleted([replica for victim in going for replica in victim.sizes])
        return _result(going, staying, freed, applied=True)

    async def _deleted(self, replicas: Sequence[ReplicaId]) -> Mapping[ReplicaId, Bytes | None]:
        """The bytes that each freed; None for one that is still being deleted when the deadline has passed."""
        if not replicas:
            self.wake(None)
            return {}
        try:
            async with asyncio.timeout(SETTLE_DEADLINE):
                return dict(await self.settle(replicas))
        except TimeoutError:
            log.warning("deletions take long", extra={"action": "evict_slow", "replicas": len(replicas)})

        def work(tx: Transaction) -> set[ReplicaId]:
            return {found for found in replicas if tx.cache.replica(found) is not None}

        left = await self.store.read(work)
        return dict.fromkeys(left)

    # looking at disks

    async def _snapshots(self) -> Mapping[NodeId, NodeSnapshot]:
        """Of the nodes that can be reached."""
        found: dict[NodeId, NodeSnapshot] = {}
        for node in self.nodes():
            try:
                found[node.node_id] = await node.snapshot()
            except OpenDebridError as error:
                log.info("node not reached", extra={"action": "cache_node_unreached", "error": error.message})
        return found

    async def _measured(self, replicas: Sequence[ReplicaId]) -> Mapping[ReplicaId, Bytes]:
        """Empty when a disk cannot be read: then the recorded sizes are taken."""
        try:
            return await self.measure(replicas) if replicas else {}
        except OpenDebridError as error:
            log.info("not measured", extra={"action": "cache_unmeasured", "error": error.message})
            return {}

    async def _verified(
        self, node: NodeId | None, snapshots: Mapping[NodeId, NodeSnapshot], *, dry_run: bool
    ) -> frozenset[EntryId]:
        """Looks at the files of every ready replica, marks what is gone (not in a dry run), and answers the entries of
        which nothing is left."""

        def work(tx: Transaction) -> Mapping[EntryId, int]:
            ready = [found for found in tx.cache.replicas_in([ReplicaState.READY]) if _reached(found, node, snapshots)]
            files = tx.cache.files_of({found.entry_id for found in ready})
            return {entry_id: sum(file.ready for file in of) for entry_id, of in files.items()}

        checker = HitChecker(self.store, self.clock, self._client)
        dead: set[EntryId] = set()
        for entry_id, ready_files in (await self.store.read(work)).items():
            try:
                async with asyncio.timeout(LOOK_DEADLINE):
                    seen = await checker.check_entry(entry_id)
            except TimeoutError:
                log.warning("looking at a cached entry took too long", extra={"action": "verify_slow"})
                continue
            bad = seen.bad.get(entry_id, frozenset())
            if not bad:
                continue
            if len(bad) >= ready_files:
                dead.add(entry_id)
            if not dry_run:
                await self.store.write(lambda tx, seen=seen: checker.record(tx, seen, self.clock.now()))  # type: ignore[misc]
                self.wake(entry_id)
        return frozenset(dead)

    def _client(self, node_id: NodeId | None) -> NodeClient:
        for node in self.nodes():
            if node_id is None or node.node_id == node_id:
                return node
        raise NodeUnavailable(f"node {node_id} is not connected")


def _reached(replica: Replica, node: NodeId | None, snapshots: Mapping[NodeId, NodeSnapshot]) -> bool:
    found = snapshots.get(replica.node_id)
    return node in (None, replica.node_id) and found is not None and found.online and found.disk.present


def _node_named(text: str, snapshots: Mapping[NodeId, NodeSnapshot]) -> NodeId | None:
    """Raises NotFound."""
    if not text:
        return None
    for node in snapshots.values():
        if text in (node.id, node.name):
            return node.id
    raise NotFound(f"there is no node {text!r} that can be reached", hint=choices(text, list(snapshots), "nodes here"))


def _generations(tx: Transaction, key: str) -> Sequence[CacheEntry]:
    """Oldest first; raises NotFound."""
    found = tx.cache.generations(key)
    if not found:
        raise _no_entry(key)
    return found


def _no_entry(key: str) -> NotFound:
    return NotFound(f"nothing is cached under {key[:200]!r}", hint="odctl cache ls lists the keys")


def _result(
    going: Sequence[Victim],
    staying: Sequence[CleanupItem],
    freed: Mapping[ReplicaId, Bytes | None],
    *,
    applied: bool,
) -> CleanupResult:
    items = [*(_item(victim, freed) for victim in going), *staying]
    return CleanupResult(items=items, freed=Bytes(sum(item.freed for item in items)), applied=applied)


def _item(victim: Victim, freed: Mapping[ReplicaId, Bytes | None]) -> CleanupItem:
    """What was measured, where a deletion does not tell better."""
    told = [freed.get(replica, size) for replica, size in victim.sizes.items()]
    error = None if None not in told else DeadlineExceeded("it is still being deleted")
    return CleanupItem(view=victim.view, freed=Bytes(sum(size or 0 for size in told)), error=error)


def _checked(keys: Sequence[str]) -> list[str]:
    if not keys:
        raise InvalidArgument("no key is given", field="keys", hint="odctl cache ls lists the keys")
    if len(keys) > MAX_KEYS:
        raise InvalidArgument(f"at most {MAX_KEYS} keys can be given at once", field="keys")
    return list(dict.fromkeys(keys))


def _sight(who: Principal) -> UserId | None:
    return None if who.is_admin else who.user_id
