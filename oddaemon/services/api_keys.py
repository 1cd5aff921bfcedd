"""API keys: several for each user, named, with scopes and an expiry. A secret is shown once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from oddaemon.domain.credentials import ApiKey, KeyId, NewKey, Prefix, new_secret
from oddaemon.domain.errors import InvalidArgument, LimitExceeded, NotFound
from oddaemon.domain.events import KeyCreated, KeyRevoked, KeyRotated
from oddaemon.domain.types import LinkId
from oddaemon.domain.user import Principal, Scope, User, require
from oddaemon.ports.store import Transaction
from oddaemon.services import ids
from oddaemon.services.account_base import AccountBase, target
from oddaemon.services.standing import check_stands, end_links

MOST_KEYS = 100
"""Of one user."""
MAX_NAME = 64


@dataclass(kw_only=True)
class ApiKeys(AccountBase):
    async def create_key(
        self, who: Principal, name: str, scopes: Collection[Scope], expires_at: datetime | None = None,
        user: str | None = None,
    ) -> NewKey:  # fmt: skip
        """A key of the caller's, or, for admins, of another `user`'s. Raises InvalidArgument, AlreadyExists for a name
        that one of the user's keys has, LimitExceeded."""
        require(who, Scope.ADMIN)
        now = self.clock.now()
        wanted = _checked(name, scopes)
        _check_expiry(expires_at, now)
        key_id = ids.new_key_id()
        secret = new_secret(Prefix.API_KEY, key_id)

        def work(tx: Transaction) -> ApiKey:
            check_stands(tx, who, now)
            owner = target(tx, who, user)
            if len(tx.api_keys.of_user(owner.id)) >= MOST_KEYS:
                raise LimitExceeded(
                    f"{owner.username} has {MOST_KEYS} keys, and that is the most", hint="odctl apikey revoke KEY"
                )
            key = ApiKey(
                id=key_id, user_id=owner.id, name=name, digest=secret.digest, scopes=wanted, created_at=now,
                expires_at=expires_at,
            )  # fmt: skip
            tx.api_keys.insert(key)
            facts = {"name": name, "key": str(key_id), "scopes": sorted(wanted), "by": who.username}
            tx.events.add(KeyCreated(at=now, user_id=owner.id, data=facts))
            return key

        return NewKey(key=await self.store.write(work), secret=secret.written)

    async def list_keys(self, who: Principal, user: str | None = None) -> Sequence[ApiKey]:
        """Oldest first, expired ones too; the caller's, or, for admins, another `user`'s."""
        require(who, Scope.READ)
        await self._note()
        return await self.store.read(lambda tx: tx.api_keys.of_user(target(tx, who, user).id))

    async def rotate_key(
        self, who: Principal, key: str, *, expires_at: datetime | None = None, user: str | None = None
    ) -> NewKey:
        """The same key with another secret; the old secret and the links of the key's owner are dead when this returns.
        An expiry that has passed wants a new one. `key`: its name or id. Raises NotFound, InvalidArgument."""
        require(who, Scope.ADMIN)
        now = self.clock.now()
        _check_expiry(expires_at, now)

        def work(tx: Transaction) -> tuple[NewKey, Collection[LinkId]]:
            check_stands(tx, who, now)
            owner, found = _find(tx, who, key, user)
            expiry = expires_at or found.expires_at
            _check_expiry(expiry, now)
            secret = new_secret(Prefix.API_KEY, found.id)
            tx.api_keys.renew(found.id, secret.digest, expiry)
            _, links = end_links(tx, owner, now)
            facts = {"name": found.name, "key": str(found.id), "by": who.username}
            tx.events.add(KeyRotated(at=now, user_id=owner.id, data=facts))
            renewed = replace(found, digest=secret.digest, expires_at=expiry)
            return NewKey(key=renewed, secret=secret.written), links

        return await self._ending(work)

    async def regenerate_key(self, who: Principal, name: str) -> NewKey:
        """The caller's key of that name with another secret; made, with every scope, if there is none. Raises
        InvalidArgument."""
        try:
            return await self.rotate_key(who, name)
        except NotFound:
            return await self.create_key(who, name, tuple(Scope))

    async def revoke_key(self, who: Principal, key: str, *, user: str | None = None) -> ApiKey:
        """The key, which is gone: it and the links of its owner are dead when this returns. `key`: its name or id.
        Raises NotFound."""
        require(who, Scope.ADMIN)
        now = self.clock.now()

        def work(tx: Transaction) -> tuple[ApiKey, Collection[LinkId]]:
            owner, found = _find(tx, who, key, user)
            tx.api_keys.delete(found.id)
            _, links = end_links(tx, owner, now)
            facts = {"name": found.name, "key": str(found.id), "by": who.username}
            tx.events.add(KeyRevoked(at=now, user_id=owner.id, data=facts))
            return found, links

        return await self._ending(work)


def _find(tx: Transaction, who: Principal, text: str, user: str | None) -> tuple[User, ApiKey]:
    """The key, by name among its owner's or by id, and its owner. A stranger's looks like one that does not exist."""
    owner = target(tx, who, user)
    for key in tx.api_keys.of_user(owner.id):
        if text in (key.name, str(key.id), key.id.hex):
            return owner, key
    found = _by_id(tx, text) if who.is_admin and user is None else None
    other = tx.users.get(found.user_id) if found is not None else None
    if found is None or other is None:
        whose = _owner_of(tx, text) if who.is_admin and user is None else None
        raise NotFound(
            f"there is no API key {text[:80]!r}" if whose is None else f"you have no API key {text[:80]!r}",
            hint="odctl apikey ls lists them" if whose is None else f"{whose} has one: add --user {whose}",
        )
    return other, found


def _owner_of(tx: Transaction, name: str) -> str | None:
    """Somebody with a key of that name."""
    keys = ((user.username, key.name) for user in tx.users.all() for key in tx.api_keys.of_user(user.id))
    return next((username for username, found in keys if found == name), None)


def _by_id(tx: Transaction, text: str) -> ApiKey | None:
    try:
        return tx.api_keys.get(KeyId(UUID(text)))
    except ValueError:
        return None


def _checked(name: str, scopes: Collection[Scope]) -> frozenset[Scope]:
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise InvalidArgument(f"a key's name has 1 to {MAX_NAME} visible characters", field="name", hint="tv, laptop")
    if not scopes:
        raise InvalidArgument("a key without a scope opens nothing", field="scopes", hint="read, jobs or admin")
    return frozenset(scopes)


def _check_expiry(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is None:
        return
    try:
        passed = expires_at.astimezone(UTC) <= now
    except OverflowError as error:
        raise InvalidArgument("no clock gets as far as this expiry", field="expires_at") from error
    if passed:
        raise InvalidArgument("the expiry has passed", field="expires_at", hint="give a later one")
