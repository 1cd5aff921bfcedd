"""Calls about who one is and who else there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from odctl.client import convert
from odctl.client.channel import Calls
from odctl.client.credentials import Credential
from odctl.client.models import REVOKED, ApiKey, Identity, Invitation, Session, Usage, User
from odctl.client.protocol import Message, wire

LIMITS = ("running", "jobs", "storage", "served_per_day", "requests_per_minute")


class Accounts:
    """Part of a DaemonClient. Every method raises OdctlError."""

    def __init__(self, calls: Calls) -> None:
        self._ask = calls.ask
        self._own = calls.accounts
        self._admin = calls.admin

    # Oneself

    async def login(self, user: str, password: str) -> Credential:
        answer = await self._ask(self._own, "login", wire.LoginRequest(user=user, password=password))
        return Credential.of_login(user, answer.access_token, answer.refresh_token, answer.expires_in_s)

    async def register(self, user: str, password: str, *, invite: str, email: str = "") -> User:
        request = wire.RegisterRequest(user=user, password=password, invite=invite, email=email)
        return convert.user((await self._ask(self._own, "register", request)).user)

    async def logout(self) -> None:
        await self._ask(self._own, "logout", wire.LogoutRequest())

    async def whoami(self) -> Identity:
        return convert.identity(await self._ask(self._own, "who_am_i", wire.WhoAmIRequest()))

    async def usage(self, name: str = "") -> Usage:
        """Of a user, or the caller's own."""
        return convert.usage(await self._ask(self._own, "get_usage", wire.GetUsageRequest(name=name)))

    async def set_own_password(self, old: str, new: str) -> dict[str, int]:
        """How much of each has ended."""
        request = wire.SetOwnPasswordRequest(old_password=old, new_password=new)
        return _ended((await self._ask(self._own, "set_own_password", request)).ended)

    async def revoke_everything(self, name: str = "", *, all_users: bool = False) -> dict[str, int]:
        """Of a user, or of all. How much of each has ended."""
        request = wire.RevokeEverythingRequest(name=name, all=all_users)
        answer = await self._ask(self._own, "revoke_everything", request)
        return _ended(answer)

    async def api_keys(self, user: str = "") -> list[ApiKey]:
        answer = await self._ask(self._own, "list_api_keys", wire.ListApiKeysRequest(user=user))
        return [convert.api_key(item) for item in answer.keys]

    async def create_api_key(
        self, name: str, scopes: Sequence[str], expires_at: datetime | None, user: str = ""
    ) -> tuple[ApiKey, str]:
        """The key and its secret, which nobody can be told again."""
        request = wire.CreateApiKeyRequest(name=name, scopes=list(scopes), expires_at=expires_at, user=user)
        answer = await self._ask(self._own, "create_api_key", request)
        return convert.api_key(answer.key), answer.secret

    async def rotate_api_key(
        self, key: str, expires_at: datetime | None = None, user: str = ""
    ) -> tuple[ApiKey, str]:
        """`expires_at` None: as before."""
        request = wire.RotateApiKeyRequest(key=key, expires_at=expires_at, user=user)
        answer = await self._ask(self._own, "rotate_api_key", request)
        return convert.api_key(answer.key), answer.secret

    async def revoke_api_key(self, key: str, user: str = "") -> ApiKey:
        answer = await self._ask(self._own, "revoke_api_key", wire.RevokeApiKeyRequest(key=key, user=user))
        return convert.api_key(answer.key)

    async def sessions(self, user: str = "") -> list[Session]:
        answer = await self._ask(self._own, "list_sessions", wire.ListSessionsRequest(user=user))
        return [
            Session(id=one.id, created_at=one.created_at, expires_at=one.expires_at, current=one.current)
            for one in answer.sessions
        ]

    async def end_session(self, session: str, user: str = "") -> None:
        await self._ask(self._own, "end_session", wire.EndSessionRequest(session=session, user=user))

    # Everybody, for admins

    async def users(self) -> list[User]:
        answer = await self._ask(self._admin, "list_users", wire.ListUsersRequest())
        return [convert.user(item) for item in answer.users]

    async def _user(self, name: str, request: Message) -> User:
        return convert.user((await self._ask(self._admin, name, request)).user)

    async def user(self, name: str) -> User:
        return await self._user("get_user", wire.GetUserRequest(name=name))

    async def add_user(self, name: str, *, role: str, email: str, password: str, unix_user: str) -> User:
        request = wire.AddUserRequest(name=name, role=role, email=email, password=password, unix_user=unix_user)
        return await self._user("add_user", request)

    async def _changed(self, name: str, request: Message) -> tuple[User, dict[str, int]]:
        """How much of each has ended, too."""
        answer = await self._ask(self._admin, name, request)
        return convert.user(answer.user), _ended(answer.ended)

    async def set_password(self, name: str, password: str) -> tuple[User, dict[str, int]]:
        return await self._changed("set_user_password", wire.SetUserPasswordRequest(name=name, password=password))

    async def set_role(self, name: str, role: str) -> tuple[User, dict[str, int]]:
        return await self._changed("set_user_role", wire.SetUserRoleRequest(name=name, role=role))

    async def set_active(self, name: str, active: bool) -> tuple[User, dict[str, int]]:
        return await self._changed("set_user_active", wire.SetUserActiveRequest(name=name, active=active))

    async def remove_user(self, name: str, *, keep_jobs: bool) -> User:
        return await self._user("remove_user", wire.RemoveUserRequest(name=name, keep_jobs=keep_jobs))

    async def link_user(self, name: str, unix_user: str) -> User:
        """An empty `unix_user` ends the link."""
        return await self._user("link_user", wire.LinkUserRequest(name=name, unix_user=unix_user))

    async def set_limits(self, name: str, changes: Mapping[str, int | None]) -> User:
        """`changes` by the names of LIMITS; None is the setting's value again. What is not in it stays."""
        limits = wire.UserLimits(**{key: value for key, value in changes.items() if value is not None})
        request = wire.SetUserLimitsRequest(name=name, fields=list(changes), limits=limits)
        return await self._user("set_user_limits", request)

    async def invite(self, *, role: str, ttl_s: float) -> tuple[str, datetime | None]:
        answer = await self._ask(self._admin, "invite_user", wire.InviteUserRequest(role=role, ttl_s=ttl_s))
        return answer.invite, answer.expires_at

    async def invitations(self) -> list[Invitation]:
        answer = await self._ask(self._admin, "list_invitations", wire.ListInvitationsRequest())
        return [
            Invitation(
                id=one.id, role=one.role, invited_by=one.invited_by, created_at=one.created_at,
                expires_at=one.expires_at,
            )
            for one in answer.invitations
        ]  # fmt: skip

    async def revoke_invitation(self, invitation: str) -> None:
        await self._ask(self._admin, "revoke_invitation", wire.RevokeInvitationRequest(invitation=invitation))

    async def rotate_secret(self) -> bool:
        """Whether access tokens are signed with a new key; links are in any case."""
        answer = await self._ask(self._admin, "rotate_secret", wire.RotateSecretRequest())
        return bool(answer.access_tokens)


def _ended(message: Message | None) -> dict[str, int]:
    """An older daemon does not say."""
    return {name: getattr(message, name, 0) for name in REVOKED}
