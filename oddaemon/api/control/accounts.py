"""AccountService: logging in and out, oneself, one's keys. What is secret in it passes through and is not logged."""

from __future__ import annotations

from collections.abc import Sequence

from odproto.gen.opendebrid.control import v1 as pb

from oddaemon.api.control.calls import caller
from oddaemon.api.control.parts import ControlParts
from oddaemon.api.control.users import user_message
from oddaemon.domain.credentials import ApiKey, NewKey
from oddaemon.domain.errors import InvalidArgument
from oddaemon.wire import accounts as wire

NO_ADDRESS = ""
"""A socket has none: failed logins are counted by the account alone."""


class AccountService(pb.AccountServiceBase):
    def __init__(self, parts: ControlParts) -> None:
        self._parts = parts
        self._accounts = parts.accounts

    async def login(self, message: pb.LoginRequest) -> pb.LoginResponse:
        return wire.tokens_message(await self._accounts.login(message.user, message.password, address=NO_ADDRESS))

    async def register(self, message: pb.RegisterRequest) -> pb.UserResponse:
        user = await self._accounts.register(
            message.user, message.password, email=message.email or None, invite=message.invite or None,
            address=NO_ADDRESS,
        )  # fmt: skip
        return pb.UserResponse(user=await user_message(self._parts, user))

    async def refresh(self, message: pb.RefreshRequest) -> pb.LoginResponse:
        return wire.tokens_message(await self._accounts.refresh(message.refresh_token))

    async def logout(self, message: pb.LogoutRequest) -> pb.LogoutResponse:
        await self._accounts.logout(caller())
        return pb.LogoutResponse()

    async def who_am_i(self, message: pb.WhoAmIRequest) -> pb.WhoAmIResponse:
        who = caller()
        user = await self._accounts.user(who, str(who.user_id))
        return wire.whoami_message(who, await user_message(self._parts, user))

    async def get_usage(self, message: pb.GetUsageRequest) -> pb.UsageResponse:
        return wire.usage_message(await self._parts.quotas.usage(caller(), message.name or None))

    async def set_own_password(self, message: pb.SetOwnPasswordRequest) -> pb.SetOwnPasswordResponse:
        changed = await self._accounts.set_own_password(caller(), message.old_password, message.new_password)
        return pb.SetOwnPasswordResponse(ended=wire.ended_message(changed.ended))

    async def revoke_everything(self, message: pb.RevokeEverythingRequest) -> pb.RevokeEverythingResponse:
        if bool(message.name) == message.all:
            raise InvalidArgument("whose is it to be: one user's, or all?", field="name", hint="give a name, or all")
        done = await self._accounts.revoke_everything(caller(), message.name or None)
        return pb.RevokeEverythingResponse(
            sessions=done.sessions, keys=done.keys, links=len(done.links), invitations=done.invitations
        )

    async def list_api_keys(self, message: pb.ListApiKeysRequest) -> pb.ListApiKeysResponse:
        keys = await self._accounts.list_keys(caller(), message.user or None)
        return pb.ListApiKeysResponse(keys=await self._messages(keys))

    async def create_api_key(self, message: pb.CreateApiKeyRequest) -> pb.ApiKeyResponse:
        made = await self._accounts.create_key(
            caller(), message.name, wire.scopes_of(message.scopes), message.expires_at, message.user or None
        )
        return await self._once(made)

    async def rotate_api_key(self, message: pb.RotateApiKeyRequest) -> pb.ApiKeyResponse:
        made = await self._accounts.rotate_key(
            caller(), message.key, expires_at=message.expires_at, user=message.user or None
        )
        return await self._once(made)

    async def revoke_api_key(self, message: pb.RevokeApiKeyRequest) -> pb.ApiKeyResponse:
        key = await self._accounts.revoke_key(caller(), message.key, user=message.user or None)
        (shown,) = await self._messages([key])
        return pb.ApiKeyResponse(key=shown)

    async def list_sessions(self, message: pb.ListSessionsRequest) -> pb.ListSessionsResponse:
        who = caller()
        found = await self._accounts.list_sessions(who, message.user or None)
        return pb.ListSessionsResponse(sessions=[wire.session_message(session, who) for session in found])

    async def end_session(self, message: pb.EndSessionRequest) -> pb.EndSessionResponse:
        await self._accounts.end_session(caller(), message.session, user=message.user or None)
        return pb.EndSessionResponse()

    async def _once(self, made: NewKey) -> pb.ApiKeyResponse:
        (shown,) = await self._messages([made.key])
        return pb.ApiKeyResponse(key=shown, secret=made.secret)

    async def _messages(self, keys: Sequence[ApiKey]) -> list[pb.ApiKey]:
        names = await self._parts.store.read(
            lambda tx: {user_id: self._parts.views.user_name(tx, user_id) for user_id in {key.user_id for key in keys}}
        )
        return [wire.key_message(key, names[key.user_id]) for key in keys]
