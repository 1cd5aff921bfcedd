"""What is open at the moment: sessions, and invitations that nobody has used. Looking at them, and ending one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from oddaemon.domain.credentials import Invitation, InvitationId, Session, SessionId
from oddaemon.domain.errors import NotFound
from oddaemon.domain.events import InvitationRevoked, LoggedOut
from oddaemon.domain.types import LinkId
from oddaemon.domain.user import Principal, Scope, require, require_admin
from oddaemon.ports.store import Transaction
from oddaemon.services.account_base import AccountBase, target


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInvitation:
    invitation: Invitation
    invited_by: str


@dataclass(kw_only=True)
class Grants(AccountBase):
    async def list_sessions(self, who: Principal, user: str | None = None) -> Sequence[Session]:
        """Oldest first, without those that have expired; the caller's, or, for admins, another `user`'s. Raises
        NotFound."""
        require(who, Scope.READ)
        now = self.clock.now()
        found = await self.store.read(lambda tx: tx.sessions.of_user(target(tx, who, user).id))
        return [session for session in found if session.expires_at > now]

    async def end_session(self, who: Principal, session: str, *, user: str | None = None) -> None:
        """Its tokens are dead when this returns; keys and links stay, as after a logout. `session`: its id. Raises
        NotFound, also for a stranger's."""
        require(who, Scope.ADMIN)
        now = self.clock.now()

        def work(tx: Transaction) -> tuple[None, Collection[LinkId]]:
            asked = _id_of(session)
            found = None if asked is None else tx.sessions.get(SessionId(asked))
            # an admin that names nobody means whosever it is
            owner = None if who.is_admin and user is None else target(tx, who, user).id
            if found is None or owner not in (None, found.user_id):
                raise NotFound(f"there is no session {session[:80]!r}", hint="odctl users sessions lists them")
            tx.sessions.delete(found.id)
            facts = {"reason": "revoked", "by": who.username}
            tx.events.add(LoggedOut(at=now, user_id=found.user_id, data=facts))
            return None, ()

        await self._ending(work)

    async def list_invitations(self, who: Principal) -> Sequence[OpenInvitation]:
        """Everybody's, oldest first, without those that have expired. For admins."""
        require_admin(who)
        now = self.clock.now()

        def work(tx: Transaction) -> list[OpenInvitation]:
            names = {user.id: user.username for user in tx.users.all()}
            return [
                OpenInvitation(invitation=found, invited_by=names[found.created_by])
                for found in tx.invitations.all()
                if found.expires_at > now
            ]

        return await self.store.read(work)

    async def revoke_invitation(self, who: Principal, invitation: str) -> None:
        """Nobody can make an account with it any more. `invitation`: its id. For admins. Raises NotFound."""
        require_admin(who)
        now = self.clock.now()

        def work(tx: Transaction) -> None:
            asked = _id_of(invitation)
            found = None if asked is None else tx.invitations.get(InvitationId(asked))
            if found is None:
                raise NotFound(
                    f"there is no invitation {invitation[:80]!r}",
                    hint="odctl users invitations lists them",
                )
            tx.invitations.delete(found.id)
            facts = {"role": found.role, "by": who.username}
            tx.events.add(InvitationRevoked(at=now, user_id=found.created_by, data=facts))

        await self.store.write(work)


def _id_of(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
