"""`services.accounts` over a real store, with a clock that the test moves and passwords that cost little."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oddaemon.domain.events import Event
from oddaemon.domain.link_token import MASTER_KEY_NAME
from oddaemon.domain.types import LinkId
from oddaemon.domain.user import Principal
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store
from oddaemon.services.account_base import AccountPolicy
from oddaemon.services.accounts import Accounts
from oddaemon.services.operator import ensure_admin
from oddaemon.services.passwords import Passwords
from oddaemon.store.migrate import open_store
from oddaemon.testing.fakes import ManualClock

OWN_UID = 1000
PASSWORD = "correct horse"
CHEAP = 4
"""bcrypt's lowest cost."""


@dataclass(slots=True)
class Office:
    accounts: Accounts
    store: Store
    clock: ManualClock
    operator: Principal
    policy: AccountPolicy = field(default_factory=AccountPolicy)
    revoked: list[LinkId] = field(default_factory=list)
    """Links that the file servers were told of."""
    events: list[Event] = field(default_factory=list)
    rekeyed: list[bytes] = field(default_factory=list)
    """The master keys for links that the file servers were told of."""

    async def user(self, name: str, password: str | None = PASSWORD) -> Principal:
        """A new account, as its API key gets in."""
        await self.accounts.add_user(self.operator, name, password=password)
        key = await self.accounts.create_key(self.operator, "first", ["read", "jobs", "admin"], user=name)  # type: ignore[list-item]
        return await self.accounts.by_api_key(key.secret)


def built_accounts(store: Store, clock: Clock, **changes: object) -> Accounts:
    async def revoke(links: Collection[LinkId]) -> None:
        pass

    async def rekey() -> None:
        pass

    given: dict[str, object] = {
        "policy": AccountPolicy, "passwords": Passwords(cost=CHEAP), "revoke": revoke, "rekey": rekey,
        "wake": lambda _: None, "limited": lambda _: None, "operator": "admin", "own_uid": OWN_UID,
    }  # fmt: skip
    return Accounts(store=store, clock=clock, **{**given, **changes})  # type: ignore[arg-type]


_EMPTY: list[Path] = []


async def empty_store() -> Path:
    """A store with tables and nothing in them: to copy one takes a tenth of the time that making one does."""
    if not _EMPTY:
        folder = Path(tempfile.mkdtemp(prefix="od-empty-store-"))
        atexit.register(shutil.rmtree, folder)
        await (await open_store(folder / "store.db")).close()
        _EMPTY.append(folder / "store.db")
    return _EMPTY[0]


@contextlib.asynccontextmanager
async def office(folder: Path, **changes: object) -> AsyncIterator[Office]:
    clock = ManualClock()
    events: list[Event] = []
    revoked: list[LinkId] = []

    def publish(batch: Sequence[Event]) -> None:
        events.extend(batch)

    async def revoke(links: Collection[LinkId]) -> None:
        revoked.extend(links)

    await asyncio.to_thread(shutil.copy, await empty_store(), folder / "store.db")
    store = await open_store(folder / "store.db", publish=publish)
    rekeyed: list[bytes] = []

    async def rekey() -> None:
        rekeyed.append(await store.read(lambda tx: tx.secrets.get_or_create(MASTER_KEY_NAME, bytes)))

    accounts = built_accounts(store, clock, revoke=revoke, rekey=rekey, **changes)
    await store.write(lambda tx: ensure_admin(tx, "admin", clock.now()))
    operator = await accounts.by_uid(OWN_UID)
    built = Office(accounts, store, clock, operator, revoked=revoked, rekeyed=rekeyed, events=events)
    accounts.policy = lambda: built.policy
    try:
        yield built
    finally:
        accounts.passwords.close()
        await store.close()
