"""What an admin does with nodes: lets them in, empties them, sets what they may, removes them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from oddaemon.domain.errors import InvalidArgument, NotFound
from oddaemon.domain.events import NodeTokenCreated, NodeTokenRevoked
from oddaemon.domain.join_token import LONGEST_SECONDS, KeptToken, TokenState, new_token
from oddaemon.domain.node_proof import token_key
from oddaemon.domain.types import Seconds
from oddaemon.domain.user import Principal, require_admin
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.node_registry import checked_node_id

DAY = Seconds(86_400)
"""How long a token lets in, unless it is said."""
KEPT_AFTER = timedelta(days=7)
"""Tokens that are not good any more are listed for so long."""


@dataclass(frozen=True, slots=True)
class Doorway:
    """Where workers come to, and by what they know it."""

    address: str
    """host:port, as workers are told."""
    fingerprint: str


class NodePort(Protocol):
    async def open(self) -> Doorway:
        """Listens from now on, if it did not. Raises Unavailable when it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    kept: KeptToken
    word: str
    """Told this once."""
    command: str
    """To paste on the worker."""

    def __repr__(self) -> str:
        return f"NewToken({self.kept.id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedToken:
    token: KeptToken
    state: TokenState
    created_by: str


@dataclass(slots=True)
class Nodes:
    store: Store
    clock: Clock
    port: NodePort

    # join tokens

    async def create_token(
        self, who: Principal, *, ttl: Seconds | None = None, name: str = "", reusable: bool = False
    ) -> NewToken:
        """One that lets a worker in: one, unless `reusable`. Who joins with one that has a name gets that name. Raises
        InvalidArgument, and Unavailable when the port for workers cannot be opened."""
        require_admin(who)
        lasts = DAY if ttl is None else ttl
        if not 1 <= lasts <= LONGEST_SECONDS:
            raise InvalidArgument("a join token lives from a second to 365 days", field="ttl")
        if name and reusable:
            raise InvalidArgument("a name is for one node: a token with a name cannot be reusable", field="name")
        if name:
            checked_node_id(name)
        door = await self.port.open()
        made, now = new_token(door.fingerprint), self.clock.now()
        kept = KeptToken(
            id=made.id, key=token_key(made.secret), name=name or None, reusable=reusable, created_by=who.user_id,
            created_at=now, expires_at=now + timedelta(seconds=lasts),
        )  # fmt: skip

        def work(tx: Transaction) -> None:
            tx.join_tokens.insert(kept)
            tx.events.add(NodeTokenCreated(at=now, user_id=who.user_id, data=_facts(kept)))

        await self.store.write(work)
        return NewToken(kept=kept, word=made.word, command=command(door.address, made.word))

    async def list_tokens(self, who: Principal) -> Sequence[ListedToken]:
        """Oldest first."""
        require_admin(who)
        now = self.clock.now()

        def work(tx: Transaction) -> Sequence[ListedToken]:
            names = {user.id: user.username for user in tx.users.all()}
            return [
                ListedToken(token=token, state=token.state(now), created_by=names.get(token.created_by, ""))
                for token in tx.join_tokens.all()
            ]

        return await self.store.read(work)

    async def revoke_token(self, who: Principal, token_id: str) -> KeptToken:
        """Nobody joins with it any more; who did stays. Raises NotFound."""
        require_admin(who)
        now = self.clock.now()

        def work(tx: Transaction) -> KeptToken:
            token = tx.join_tokens.get(token_id)
            if token is None:
                raise NotFound(f"there is no join token {token_id[:80]!r}", hint="odctl nodes token ls lists them")
            tx.join_tokens.delete(token_id)
            tx.events.add(NodeTokenRevoked(at=now, user_id=who.user_id, data=_facts(token)))
            return token

        return await self.store.write(work)

    async def trim(self) -> None:
        """Forgets tokens that expired a while ago."""
        before = self.clock.now() - KEPT_AFTER
        await self.store.write(lambda tx: tx.join_tokens.trim(before))

    async def expects_workers(self) -> bool:
        """Whether the port has to be open: a token is good, or somebody joined."""
        now = self.clock.now()

        def work(tx: Transaction) -> bool:
            return any(token.state(now) is TokenState.GOOD for token in tx.join_tokens.all()) or any(
                tx.nodes.credential(node.id) is not None for node in tx.nodes.all()
            )

        return await self.store.read(work)


def command(address: str, word: str) -> str:
    """What to paste on the worker. The token goes in the environment, which other users of the machine cannot read."""
    return f"CONTROLLER_URL={shlex.quote(address)} CONTROLLER_TOKEN={word} oddaemon worker"


def _facts(token: KeptToken) -> dict[str, str | bool | None]:
    return {
        "id": token.id, "name": token.name, "reusable": token.reusable, "expires_at": _iso(token.expires_at)
    }  # fmt: skip


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
