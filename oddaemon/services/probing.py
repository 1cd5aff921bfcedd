"""What a source would yield, and where it would go, without downloading or storing anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from oddaemon.domain.admission import ANYWHERE
from oddaemon.domain.cache import CacheKey, EntryFile, is_hit
from oddaemon.domain.errors import DeadlineExceeded, Unsupported
from oddaemon.domain.files import content_type_of, display_name, display_path
from oddaemon.domain.types import Bytes, EngineName, NodeId, Seconds
from oddaemon.domain.user import Principal, Scope, require
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import FillFile
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.discretion import Discretion
from oddaemon.services.hits import HitChecker
from oddaemon.services.orders import OrderReader, key_of
from oddaemon.services.resolver import Resolver
from oddaemon.services.views import AddOrder, ProbeView
from oddaemon.services.while_standing import while_it_stands


def shown_files(files: Sequence[FillFile]) -> list[EntryFile]:
    """Files as an engine names them, for people."""
    return [
        EntryFile(
            index=file.index,
            path=display_path(file.path),
            disk_path=file.disk_path,
            size=file.size,
            content_type=file.content_type or content_type_of(file.path),
            failed=file.failed,
        )
        for file in files
    ]


@dataclass(slots=True)
class Prober:
    """`would_run(engine, size, wish)` answers the node that would take it now, if any, and a sentence on why."""

    store: Store
    clock: Clock
    reader: OrderReader
    resolver: Resolver
    hits: HitChecker
    discretion: Discretion
    would_run: Callable[[EngineName, Bytes | None, NodeId | None], tuple[NodeId | None, str]]

    async def probe(
        self, who: Principal, source: str, *, torrent: bytes | None, engine: str, options: Mapping[str, str],
        deadline: Seconds, on: NodeId | None = None,
    ) -> ProbeView:  # fmt: skip
        """As the node `on` sees it. It makes the daemon go and look: who may only read may not, and it ends within a
        second of the caller's access. Raises InvalidSource, InvalidOption, EngineFailed, DeadlineExceeded, and
        InvalidArgument for a node that there is not."""
        require(who, Scope.JOBS)
        looking = self._look(who, source, torrent, engine, options, deadline, on)
        return await while_it_stands(self.store, self.clock, who, looking)

    async def _look(
        self, who: Principal, source: str, torrent: bytes | None, engine: str, options: Mapping[str, str],
        deadline: Seconds, on: NodeId | None,
    ) -> ProbeView:  # fmt: skip
        parsed, info, inside = await self.reader.source(AddOrder(source=source, torrent=torrent))
        wish = self.reader.engine_wish(engine)
        node = self._asked(who, on, wish)
        plain = dict(options)
        try:
            async with asyncio.timeout(deadline):
                chosen = wish or (await self.resolver.choose(node, parsed, plain)).engine
                node = self._asked(who, on, chosen)
                plain = dict(node.validate_options(chosen, plain))
                if info is not None:
                    refusal = node.refuses_torrent(chosen, info)
                    if refusal:
                        raise Unsupported(refusal)
                result = await node.probe(chosen, parsed, plain, torrent=torrent, deadline=deadline)
        except TimeoutError as error:
            raise DeadlineExceeded(f"looking at the source took longer than {deadline:g} s") from error
        key = result.key or key_of(parsed, chosen)
        files = inside if info is not None else shown_files(result.files)
        node_id, placement = self.would_run(chosen, result.size, on)
        name = result.name or (info.name if info is not None else None)
        return ProbeView(
            engine=chosen,
            name=display_name(name) if name else None,
            size=result.size if result.size is not None else (info.total if info is not None else None),
            files=files,
            formats=tuple(result.formats),
            cache_key=key.full if key is not None else None,
            cache_hit=await self._is_hit(who, key) if key is not None else None,
            would_run_on=node_id,
            placement=placement,
        )

    def _asked(self, who: Principal, on: NodeId | None, engine: EngineName | None) -> NodeClient:
        """The node that is to look; of any, one that has the engine."""
        if on is None:
            return self.resolver.asking(ANYWHERE, engine)
        return self.reader.named_node(on, to_admin=who.is_admin)

    async def _is_hit(self, who: Principal, key: CacheKey) -> bool:
        """As far as that is for the caller to know."""
        seen = await self.hits.check(key)

        def work(tx: Transaction) -> bool:
            entry = tx.cache.current_entry(key.full)
            if entry is None or not seen.good.get(entry.id) or not self.discretion.may_know(tx, who, entry):
                return False
            files = tx.cache.files(entry.id)
            return is_hit(files, {file.index for file in files}, files_known=entry.files_known)

        return await self.store.read(work)
