"""Accounts: making them, changing them, removing them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from oddaemon.domain.credentials import Invitation, InvitationId, Prefix, parse_secret, same_digest
from oddaemon.domain.errors import AlreadyExists, Conflict, InvalidArgument, NotAllowed
from oddaemon.domain.events import CacheEvicted, JobChanged, LoginFailed, UserRemoved
from oddaemon.domain.types import LinkId
from oddaemon.domain.user import (
    Principal,
    Proof,
    Role,
    Scope,
    User,
    UserLimits,
    checked_username,
    require,
    require_admin,
)
from oddaemon.ports.store import Query, Transaction
from oddaemon.services import ids
from oddaemon.services.account_base import AccountBase, named
from oddaemon.services.claims import discard, drop, job_event
from oddaemon.services.sessions import OVERFLOW_UID, created
from oddaemon.services.standing import NOTHING, Ended, check_stands, end_access
from oddaemon.services.throttle import Counted, network
from oddaemon.services.user_changes import (
    MAX_LIMIT,
    Change,
    active_change,
    check_free,
    limits_change,
    password_change,
    role_change,
    spare_operator,
    uid_change,
)

MAX_UID = 2**32 - 2
MAX_EMAIL = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedUser:
    user: User
    ended: Ended
    """Of the access that the user had."""


@dataclass(kw_only=True)
class Users(AccountBase):
    # looking

    async def users(self, who: Principal) -> Sequence[User]:
        """By name. For admins."""
        require_admin(who)
        await self._note()
        return await self.store.read(lambda tx: tx.users.all())

    async def user(self, who: Principal, name: str) -> User:
        """By name or id: the caller's own, or, for admins, anybody's. Raises NotFound."""
        require(who, Scope.READ)
        await self._note()
        return await self.store.read(lambda tx: named(tx, who, name))

    # making

    async def add_user(
        self, who: Principal, name: str, *, role: Role = Role.USER, email: str | None = None,
        password: str | None = None, unix_uid: int | None = None,
    ) -> User:  # fmt: skip
        """Without a password the account is for API keys and for who has the uid, see `link_uid`. Raises
        InvalidArgument, AlreadyExists."""
        require_admin(who)
        self._check_uid(unix_uid)
        user = replace(await self._new(name, role, email, password), unix_uid=unix_uid)

        def work(tx: Transaction) -> User:
            check_stands(tx, who, user.created_at)
            check_free(tx, unix_uid)
            return _insert(tx, user, by=who.username)

        return await self.store.write(work)

    async def register(
        self, username: str, password: str, *, email: str | None = None, invite: str | None = None, address: str
    ) -> User:
        """An account for whoever asks, if registration is open or with an invitation, which is good once. Raises
        NotAllowed, InvalidArgument, AlreadyExists, LoginThrottled."""
        self.throttle.begin((Counted.REGISTRATION, network(address)))
        now = self.clock.now()
        role = Role.USER
        if invite:
            role = (await self.store.read(lambda tx: _invited(tx, invite, now))).role
        elif not self.policy().registration_open:
            raise NotAllowed("registration is closed", hint="ask an admin for an invitation")
        user = await self._new(username, role, email, password)

        def work(tx: Transaction) -> User:
            if invite:
                tx.invitations.delete(_invited(tx, invite, now).id)
            return _insert(tx, user, by="invitation" if invite else "registration")

        return await self.store.write(work)

    async def _new(self, name: str, role: Role, email: str | None, password: str | None) -> User:
        checked_username(name)
        email = _checked_email(email)
        hashed = None if password is None else await self.passwords.hash(password, name)
        now = self.clock.now()
        return User(
            id=ids.new_user_id(), username=name, role=role, created_at=now, updated_at=now, email=email, password=hashed
        )

    # changing

    async def set_own_password(self, who: Principal, old: str, new: str) -> ChangedUser:
        """Every session, key and link of the caller is dead when this returns. On the control socket, where no password
        is needed, the old one is not looked at. Raises NotAllowed for a wrong old one, LoginThrottled,
        InvalidArgument."""
        require(who, Scope.ADMIN)
        if who.proof not in {Proof.PEER_UID, Proof.LOCAL}:
            counted = (Counted.ACCOUNT, who.username)
            self.throttle.begin(counted)
            user = await self.store.read(lambda tx: named(tx, who, str(who.user_id)))
            if not await self.passwords.matches(old, user.password):
                failed = LoginFailed(at=self.clock.now(), user_id=user.id, data={"by": who.username})
                await self.store.write(lambda tx: tx.events.add(failed))
                raise NotAllowed("the old password is wrong")
            self.throttle.succeeded(counted)
        return await self._set_password(who, str(who.user_id), new)

    async def set_password(self, who: Principal, name: str, password: str | None) -> ChangedUser:
        """For admins. None: nobody logs in to the account with a password. Its sessions, keys and links are dead when
        this returns. Raises NotFound, InvalidArgument."""
        require_admin(who)
        return await self._set_password(who, name, password)

    async def _set_password(self, who: Principal, name: str, password: str | None) -> ChangedUser:
        return await self._change(who, name, password_change(who, await self._hashed(who, name, password)))

    async def set_role(self, who: Principal, name: str, role: Role) -> ChangedUser:
        """Another role ends the account's sessions, keys and links. Raises NotFound, Conflict for the operator's."""
        require_admin(who)
        return await self._change(who, name, role_change(who, role, self.operator))

    async def set_active(self, who: Principal, name: str, active: bool) -> ChangedUser:
        """A disabled account lets nobody in; its sessions, keys and links are dead when this returns, and stay so when
        it is enabled again. Its jobs go on. Raises NotFound, Conflict for the operator's."""
        require_admin(who)
        return await self._change(who, name, active_change(who, active, self.operator))

    async def change_user(
        self, who: Principal, name: str, *, role: Role | None = None, active: bool | None = None,
        password: str | None = None, limits: Mapping[str, int | None] | None = None,
    ) -> ChangedUser:  # fmt: skip
        """All of these, or nothing; what is None stays, and so do the limits that are not named. Raises as the changes
        by themselves do."""
        require_admin(who)
        changes: list[Change] = []
        if limits is not None:
            changes.append(limits_change(who, limits))
        if role is not None:
            changes.append(role_change(who, role, self.operator))
        if password is not None:
            changes.append(password_change(who, await self._hashed(who, name, password)))
        if active is not None:
            changes.append(active_change(who, active, self.operator))

        def whole(tx: Transaction, found: User, now: datetime) -> tuple[User, Ended]:
            ended = NOTHING
            for change in changes:
                found, more = change(tx, found, now)
                ended += more
            return found, ended

        changed = await self._change(who, name, whole)
        self.limited(changed.user)
        return changed

    async def _hashed(self, who: Principal, name: str, password: str | None) -> str | None:
        user = await self.store.read(lambda tx: named(tx, who, name))
        return None if password is None else await self.passwords.hash(password, user.username)

    async def link_uid(self, who: Principal, name: str, uid: int | None) -> User:
        """Whoever has this uid on the daemon's machine is this user on the control socket. Raises NotFound,
        InvalidArgument for a uid that is the operator's or proves nothing, AlreadyExists for another user's."""
        require_admin(who)
        self._check_uid(uid)

        return (await self._change(who, name, uid_change(who, uid))).user

    def _check_uid(self, uid: int | None) -> None:
        if uid is not None and not 0 <= uid <= MAX_UID:
            raise InvalidArgument(f"{uid} is no uid", field="uid", hint=f"a whole number from 1 to {MAX_UID}")
        if uid in (0, self.own_uid):
            raise InvalidArgument(f"uid {uid} acts as the operator, {self.operator}", field="uid")
        if uid == OVERFLOW_UID:
            raise InvalidArgument(f"uid {uid} is what every user of another namespace looks like", field="uid")

    async def set_limits(self, who: Principal, name: str, limits: UserLimits) -> User:
        """What is None is as the settings say. Raises NotFound, InvalidArgument."""
        require_admin(who)
        user = (await self._change(who, name, limits_change(who, asdict(limits)))).user
        self.limited(user)
        return user

    async def _change(self, who: Principal, name: str, change: Change) -> ChangedUser:
        now = self.clock.now()

        def work(tx: Transaction) -> tuple[ChangedUser, Collection[LinkId]]:
            check_stands(tx, who, now)
            user, ended = change(tx, named(tx, who, name), now)
            return ChangedUser(user=user, ended=ended), ended.links

        return await self._ending(work)

    # removing

    async def remove_user(self, who: Principal, name: str, *, keep_jobs: bool) -> int:
        """The account is gone when this returns, with its sessions, keys, links and jobs; the files go when nobody else
        claims them, or could. With `keep_jobs` the jobs are the caller's from now on. How many jobs that were. Raises
        NotFound, Conflict for the operator's account and for the caller's own."""
        require_admin(who)
        now = self.clock.now()

        def work(tx: Transaction) -> tuple[int, Collection[LinkId]]:
            check_stands(tx, who, now)
            user = named(tx, who, name)
            spare_operator(self.operator, user, "cannot be removed")
            if user.id == who.user_id:
                raise Conflict("this is your own account", hint="have another admin remove it")
            user, ended = end_access(tx, user, now)
            links = list(ended.links)
            jobs = tx.jobs.page(Query(user_id=user.id, limit=MAX_LIMIT)).rows
            for job in jobs:
                if keep_jobs:
                    kept = tx.jobs.update(replace(job, user_id=who.user_id, updated_at=now))
                    tx.events.add(job_event(JobChanged, kept, now, owner=who.username))
                else:
                    links += drop(tx, job, now, keep_data=False)
            _discard_private(tx, user, now)
            tx.users.delete(user.id)
            facts = {"name": user.username, "jobs": len(jobs), "kept": keep_jobs, "by": who.username}
            tx.events.add(UserRemoved(at=now, user_id=user.id, data=facts))
            return len(jobs), links

        count = await self._ending(work)
        self.wake(None)
        return count


def _discard_private(tx: Transaction, user: User, now: datetime) -> None:
    """What was kept or pinned of the user's private content: nobody else could ever claim it."""
    for entry in tx.cache.claimless():
        if entry.owner == user.id and (entry.kept or entry.pinned):
            discard(tx, entry, now)
            facts = {"key": entry.key, "bytes": int(entry.total_size or 0), "why": "its user was removed"}
            tx.events.add(CacheEvicted(at=now, data=facts))


def _insert(tx: Transaction, user: User, *, by: str) -> User:
    """Names that differ only in case would be taken for one another. Raises AlreadyExists."""
    for other in tx.users.all():
        if other.username.lower() == user.username.lower():
            raise AlreadyExists(f"there is a user {other.username} already")
        if user.email is not None and other.email == user.email:
            raise AlreadyExists("another user has this email address")
    tx.users.insert(user)
    tx.events.add(created(user, by=by))
    return user


def _invited(tx: Transaction, text: str, now: datetime) -> Invitation:
    """Raises NotAllowed for one that was used, has expired, or was never made."""
    parsed = parse_secret(Prefix.INVITATION, text)
    found = None if parsed is None else tx.invitations.get(InvitationId(parsed.id))
    if parsed is None or found is None or not same_digest(found.digest, parsed.digest) or found.expires_at <= now:
        raise NotAllowed("this invitation is not valid: it was used, has expired, or was never made")
    return found


def _checked_email(email: str | None) -> str | None:
    """Raises InvalidArgument for what is plainly no address."""
    if not email:
        return None
    local, at, host = email.rpartition("@")
    if not (local and at and host) or len(email) > MAX_EMAIL or not email.isprintable() or " " in email:
        raise InvalidArgument("this is no email address", field="email")
    return email.lower()
