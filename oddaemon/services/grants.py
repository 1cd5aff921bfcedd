"""What lets people in without their password: sessions, invitations, and the secrets behind them. Looking at what is
open, inviting, and ending one or all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from oddaemon.domain.credentials import Invitation, InvitationId, Prefix, Session, SessionId, new_secret
from oddaemon.domain.errors import InvalidArgument, NotFound
from oddaemon.domain.events import AccessRevoked, InvitationCreated, InvitationRevoked, LoggedOut, SecretRotated
from oddaemon.domain.link_token import MASTER_KEY_NAME, new_master_key
from oddaemon.domain.types import LinkId, Seconds
from oddaemon.domain.user import Principal, Role, Scope, require, require_admin
from oddaemon.ports.store import Transaction
from oddaemon.services import access_tokens, ids
from oddaemon.services.account_base import AccountBase, named, target
from oddaemon.services.sessions import new_key
from oddaemon.services.standing import NOTHING, Ended, check_stands, end_access

MIN_INVITATION, MAX_INVITATION = Seconds(60), Seconds(30 * 86_400)


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

    async def revoke_everything(self, who: Principal, user: str | None = None) -> Ended:
        """Every session, key, link and invitation of everybody is dead when this returns, or of one user; admins name
        any, others themselves. Passwords and uids go on working. Raises NotFound."""
        if user is None:
            require_admin(who)
        require(who, Scope.ADMIN)
        now = self.clock.now()

        def work(tx: Transaction) -> tuple[Ended, Collection[LinkId]]:
            check_stands(tx, who, now)
            chosen = list(tx.users.all()) if user is None else [named(tx, who, user)]
            ended = sum((end_access(tx, one, now)[1] for one in chosen), NOTHING)
            facts = {"by": who.username, "sessions": ended.sessions, "keys": ended.keys, "links": len(ended.links)}
            tx.events.add(AccessRevoked(at=now, user_id=None if user is None else chosen[0].id, data=facts))
            return ended, ended.links

        return await self._ending(work)

    async def rotate_secret(self, who: Principal) -> bool:
        """From now on links and access tokens are signed with new secrets. All links made before are dead when this
        returns; access tokens are refused, and sessions go on with their refresh tokens. False: access tokens are
        signed with what the settings give, as before."""
        require_admin(who)
        now = self.clock.now()
        fresh = new_key()

        def work(tx: Transaction) -> tuple[None, Collection[LinkId]]:
            check_stands(tx, who, now)
            tx.secrets.put(MASTER_KEY_NAME, new_master_key())
            tx.links.revoke(tx.links.alive(None, now), now)
            if not self.fixed_key:
                tx.secrets.put(access_tokens.SECRET_NAME, fresh)
            tx.events.add(SecretRotated(at=now, data={"by": who.username}))
            # not one by one: with another key none of them opens anything
            return None, ()

        async def known() -> None:
            if not self.fixed_key:
                self._key = fresh
            await self.rekey()

        await self._ending(work, known)
        return not self.fixed_key

    async def invite(self, who: Principal, *, role: Role = Role.USER, ttl: Seconds) -> str:
        """What somebody who is to make an account has to give; shown once. It dies with the access of the admin."""
        require_admin(who)
        if not MIN_INVITATION <= ttl <= MAX_INVITATION:
            raise InvalidArgument("an invitation lives from a minute to 30 days", field="ttl", hint="give --ttl 2d")
        now = self.clock.now()
        invitation_id = ids.new_invitation_id()
        secret = new_secret(Prefix.INVITATION, invitation_id)
        expires_at = now + timedelta(seconds=ttl)

        def work(tx: Transaction) -> None:
            check_stands(tx, who, now)
            tx.invitations.insert(
                Invitation(
                    id=invitation_id, digest=secret.digest, role=role, created_by=who.user_id, created_at=now,
                    expires_at=expires_at,
                )
            )  # fmt: skip
            facts = {"role": role, "expires_at": expires_at.isoformat(), "by": who.username}
            tx.events.add(InvitationCreated(at=now, user_id=who.user_id, data=facts))

        await self.store.write(work)
        return secret.written

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
