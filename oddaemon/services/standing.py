"""Whether what a caller proved still holds, and what ends it. Plain functions of a transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from oddaemon.domain.credentials import KeyId, SessionId
from oddaemon.domain.errors import Unauthenticated
from oddaemon.domain.types import LinkId
from oddaemon.domain.user import Principal, Proof, User
from oddaemon.ports.store import Transaction


def stands(tx: Transaction, who: Principal, now: datetime) -> bool:
    """Whether the caller would be let in again with what let it in before."""
    user = tx.users.get(who.user_id)
    if user is None or not user.is_active:
        return False
    if who.proof is Proof.LOCAL:
        return True
    if user.generation != who.generation or (who.until is not None and who.until <= now):
        return False
    if who.proof is Proof.API_KEY and who.credential is not None:
        key = tx.api_keys.get(KeyId(who.credential))
        return key is not None and (key.expires_at is None or key.expires_at > now)
    if who.proof is Proof.ACCESS_TOKEN and who.credential is not None:
        return tx.sessions.get(SessionId(who.credential)) is not None
    return True


def until(tx: Transaction, who: Principal) -> datetime | None:
    """When what let the caller in ends by itself."""
    if who.proof is not Proof.API_KEY or who.credential is None:
        return who.until
    key = tx.api_keys.get(KeyId(who.credential))
    return None if key is None else key.expires_at


def check_stands(tx: Transaction, who: Principal, now: datetime) -> None:
    """For works that make something which outlives the call (a job, a link, a key): what ended the caller's access
    after it was let in is not undone by them. Raises Unauthenticated."""
    if not stands(tx, who, now):
        raise Unauthenticated("your access was ended", hint="log in again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How much of each is dead. Of links it says which: the file servers have to be told."""

    sessions: int = 0
    keys: int = 0
    links: tuple[LinkId, ...] = ()
    invitations: int = 0

    def __add__(self, other: Ended) -> Ended:
        return Ended(
            sessions=self.sessions + other.sessions, keys=self.keys + other.keys, links=self.links + other.links,
            invitations=self.invitations + other.invitations,
        )  # fmt: skip


NOTHING = Ended()


def end_access(tx: Transaction, user: User, now: datetime) -> tuple[User, Ended]:
    """Stores the user, with every session, key, invitation and link dead."""
    sessions, keys = tx.sessions.delete_of(user.id), tx.api_keys.delete_of(user.id)
    invitations = tx.invitations.delete_of(user.id)
    user, links = end_links(tx, user, now)
    return user, Ended(sessions=sessions, keys=keys, links=tuple(links), invitations=invitations)


def end_links(tx: Transaction, user: User, now: datetime) -> tuple[User, list[LinkId]]:
    """Stores the user with every link dead, and answers them; and calls that have been let in make nothing any more."""
    links = list(tx.links.alive(user.id, now))
    tx.links.revoke(links, now)
    user = replace(user, generation=user.generation + 1, updated_at=now)
    tx.users.update(user)
    return user, links
