"""Changes of an account as steps of a transaction: what each stores, and what ends with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from oddaemon.domain.errors import AlreadyExists, Conflict, InvalidArgument
from oddaemon.domain.events import UserChanged, UserDisabled, UserEnabled
from oddaemon.domain.user import Principal, Role, User
from oddaemon.ports.store import Transaction
from oddaemon.services.standing import NOTHING, Ended, end_access

MAX_LIMIT = 2**62

Change = Callable[[Transaction, User, datetime], tuple[User, Ended]]
"""Stores a changed user; what ended with it."""


def password_change(who: Principal, hashed: str | None) -> Change:
    def change(tx: Transaction, found: User, now: datetime) -> tuple[User, Ended]:
        return _access_ended(tx, who, replace(found, password=hashed), now, changed="password")

    return change


def role_change(who: Principal, role: Role, operator: str) -> Change:
    def change(tx: Transaction, found: User, now: datetime) -> tuple[User, Ended]:
        if found.role is role:
            return found, NOTHING
        spare_operator(operator, found, "stays an admin")
        return _access_ended(tx, who, replace(found, role=role), now, changed="role", role=str(role))

    return change


def active_change(who: Principal, active: bool, operator: str) -> Change:
    def change(tx: Transaction, found: User, now: datetime) -> tuple[User, Ended]:
        if found.is_active is active:
            return found, NOTHING
        spare_operator(operator, found, "cannot be disabled")
        facts = {"name": found.username, "by": who.username}
        if active:
            found = replace(found, is_active=True, updated_at=now)
            tx.users.update(found)
            tx.events.add(UserEnabled(at=now, user_id=found.id, data=facts))
            return found, NOTHING
        tx.events.add(UserDisabled(at=now, user_id=found.id, data=facts))
        return end_access(tx, replace(found, is_active=False), now)

    return change


def uid_change(who: Principal, uid: int | None) -> Change:
    def change(tx: Transaction, found: User, now: datetime) -> tuple[User, Ended]:
        if found.unix_uid == uid:
            return found, NOTHING
        check_free(tx, uid)
        found = replace(found, unix_uid=uid, generation=found.generation + 1, updated_at=now)
        tx.users.update(found)
        tx.events.add(_changed(who, found, now, changed="uid", uid=uid))
        return found, NOTHING

    return change


def limits_change(who: Principal, limits: Mapping[str, int | None]) -> Change:
    """Of those that are named. Raises InvalidArgument."""
    if any(value is not None and not 0 <= value <= MAX_LIMIT for value in limits.values()):
        raise InvalidArgument("a limit is a whole number that is not negative", field="limits")

    def change(tx: Transaction, found: User, now: datetime) -> tuple[User, Ended]:
        found = replace(found, limits=replace(found.limits, **limits), updated_at=now)  # type: ignore[arg-type]
        tx.users.update(found)
        tx.events.add(_changed(who, found, now, changed="limits"))
        return found, NOTHING

    return change


def check_free(tx: Transaction, uid: int | None) -> None:
    """Raises AlreadyExists for a uid that is another user's."""
    other = None if uid is None else tx.users.by_uid(uid)
    if other is not None:
        raise AlreadyExists(
            f"uid {uid} is linked to {other.username}", hint=f"odctl users link {other.username} --none ends that"
        )


def spare_operator(operator: str, user: User, what: str) -> None:
    """The operator's account is always an active admin's. Raises Conflict."""
    if user.username == operator:
        raise Conflict(f"{user.username} is the operator's own account: it {what}", user=user.username)


def _access_ended(tx: Transaction, who: Principal, user: User, now: datetime, **facts: object) -> tuple[User, Ended]:
    tx.events.add(_changed(who, user, now, **facts))
    return end_access(tx, user, now)


def _changed(who: Principal, user: User, now: datetime, **facts: object) -> UserChanged:
    return UserChanged(at=now, user_id=user.id, data={"name": user.username, "by": who.username, **facts})
