"""What the parts of `services.accounts` share: their surroundings, and a few steps that several take."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from oddaemon.domain.credentials import KeyId
from oddaemon.domain.errors import NotFound, StoreError
from oddaemon.domain.types import EntryId, LinkId, Seconds, UserId
from oddaemon.domain.user import Principal, Proof, User
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.passwords import Passwords
from oddaemon.services.past_logins import past_logins
from oddaemon.services.remembered import Remembered
from oddaemon.services.standing import stands, until
from oddaemon.services.throttle import Counted, Throttle

log = logging.getLogger(__name__)

T = TypeVar("T")
Revoke = Callable[[Collection[LinkId]], Awaitable[None]]
Wake = Callable[[EntryId | None], None]

LOOK_SECONDS = 30.0
"""How often it is looked whether a stream's caller still stands, if nothing says that it does not."""
TIDY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPolicy:
    """The settings, as they are now."""

    access_expiry: Seconds = Seconds(3600)
    registration_open: bool = False
    unix_autoprovision: bool = False


@dataclass(kw_only=True)
class AccountBase:
    """`operator` is the user as whom the daemon's own uid and root act: always an active admin. `revoke` makes links
    dead on their nodes and answers when they are; `wake` tells the reconciler that something changed."""

    store: Store
    clock: Clock
    policy: Callable[[], AccountPolicy]
    passwords: Passwords
    revoke: Revoke
    wake: Wake
    rekey: Callable[[], Awaitable[None]]
    """Told that the store has another master key for links. Done when nothing signed with the old one is served."""
    limited: Callable[[User], None]
    """Told of a user whose own limits were changed."""
    operator: str
    own_uid: int
    fixed_key: bytes = field(default=b"", repr=False)
    """What signs access tokens, if the settings say so."""
    uid_name: Callable[[int], str | None] = lambda _: None
    """What a uid is called on this machine. May look in files."""
    throttle: Throttle = field(init=False)
    known: Remembered = field(init=False)
    _key: bytes = field(default=b"", repr=False)
    """What signs access tokens, once it is known."""
    _bell: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: dict[UserId, datetime] = field(default_factory=dict)
    _used: dict[KeyId, datetime] = field(default_factory=dict)
    _finishing: set[asyncio.Future[Any]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.throttle = Throttle(self.clock)
        self.known = Remembered(self.store, self.clock, lambda: self.store.access_rev)

    async def load(self) -> None:
        """Before the first login: those that failed before a restart still count."""
        now = self.clock.now()
        for login in await self.store.read(lambda tx: past_logins(tx, now)):
            if login.failed:
                self.throttle.remember(login.ago, *login.keys)
            else:
                self.throttle.succeeded(*(key for key in login.keys if key[0] is Counted.ACCOUNT))

    async def ended(self, who: Principal) -> None:
        """Returns when what `who` proved does not hold any more, within a second of its end. For streams: they end
        then, too."""
        while True:
            bell, wait = self._bell, LOOK_SECONDS
            now = self.clock.now()
            try:
                lasts, end = await self.store.read(lambda tx: (stands(tx, who, now), until(tx, who)))  # noqa: B023
                if not lasts:
                    return
                if end is not None:
                    wait = min(wait, (end - now).total_seconds())
            except StoreError as error:
                # a store that does not answer has not said that anybody's access ended
                log.info("access not looked up", extra={"action": "access_unknown", "error": error.message})
            try:
                async with asyncio.timeout(wait):
                    await bell.wait()
            except TimeoutError:
                continue

    async def run(self) -> None:
        """Notes who was seen and forgets what has expired, for as long as the daemon runs."""
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            try:
                await self.tidy()
            except Exception:
                log.exception("accounts could not be tidied", extra={"action": "accounts_tidy_failed"})

    async def tidy(self) -> None:
        await self._note()
        now = self.clock.now()

        def work(tx: Transaction) -> None:
            tx.sessions.trim(now)
            tx.invitations.trim(now)

        await self.store.write(work)

    async def _note(self) -> None:
        """Stores when users and keys were last used: not with each call."""
        seen, self._seen = self._seen, {}
        used, self._used = self._used, {}
        if not seen and not used:
            return

        def work(tx: Transaction) -> None:
            tx.users.note_seen(seen)
            tx.api_keys.note_used(used)

        await self.store.write(work)

    def _finished(self, task: asyncio.Future[Any]) -> None:
        self._finishing.discard(task)
        if not task.cancelled():
            task.exception()  # its caller, if there still is one, gets it

    def _principal(
        self, user: User, proof: Proof, *, uid: int | None = None, credential: UUID | None = None
    ) -> Principal:
        self._seen[user.id] = self.clock.now()
        return Principal(
            user_id=user.id, username=user.username, role=user.role, proof=proof, uid=uid, credential=credential,
            generation=user.generation,
        )  # fmt: skip

    async def _ending(
        self, work: Callable[[Transaction], tuple[T, Collection[LinkId]]],
        then: Callable[[], Awaitable[None]] | None = None,
    ) -> T:  # fmt: skip
        """Carries out a work that may end somebody's access and answers, beside its own result, the links that are
        dead now. Then streams and file servers are told, and it goes on with `then`, also when the caller has gone
        meanwhile."""

        async def whole() -> T:
            value, links = await self.store.write(work)
            bell, self._bell = self._bell, asyncio.Event()
            bell.set()
            if links:
                await self.revoke(links)
            if then is not None:
                await then()
            return value

        task = asyncio.ensure_future(whole())
        self._finishing.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)


def by_name(tx: Transaction, name: str) -> User | None:
    """Of a name from outside, which may be anything: not all of it can be asked of a database."""
    return tx.users.by_name(name) if name.isascii() and name.isprintable() else None


def named(tx: Transaction, who: Principal, name: str) -> User:
    """The user of a name or id, for the user and for admins. For anybody else there is none: NotFound."""
    user = by_name(tx, name)
    if user is None:
        try:
            user = tx.users.get(UserId(UUID(name)))
        except ValueError:
            user = None
    if user is None or not (who.is_admin or user.id == who.user_id):
        raise NotFound(f"there is no user {name[:80]!r}", hint="odctl users ls lists them" if who.is_admin else "")
    return user


def target(tx: Transaction, who: Principal, name: str | None) -> User:
    """The named user, or the caller's own."""
    return named(tx, who, str(who.user_id) if name is None else name)
