"""The calls of AdminService about accounts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from odproto.gen.opendebrid.control import v1 as pb

from oddaemon.api.control.calls import caller
from oddaemon.api.control.nodes import NodeCalls
from oddaemon.api.control.parts import ControlParts
from oddaemon.api.unix_users import names_of, uid_of
from oddaemon.domain.errors import InvalidArgument
from oddaemon.domain.job import JobState
from oddaemon.domain.types import Seconds, UserId
from oddaemon.domain.user import User
from oddaemon.ports.store import Transaction
from oddaemon.services.users import ChangedUser
from oddaemon.wire import accounts as wire

DAY = Seconds(86_400)
"""How long an invitation lives, unless it is said."""


class UserCalls(NodeCalls):

    async def list_users(self, message: pb.ListUsersRequest) -> pb.ListUsersResponse:
        return pb.ListUsersResponse(users=await user_messages(self._parts, await self._parts.accounts.users(caller())))

    async def get_user(self, message: pb.GetUserRequest) -> pb.UserResponse:
        return await self._answer(await self._parts.accounts.user(caller(), message.name))

    async def add_user(self, message: pb.AddUserRequest) -> pb.UserResponse:
        who, accounts = caller(), self._parts.accounts
        uid = await uid_of(message.unix_user) if message.unix_user else None
        user = await accounts.add_user(
            who, message.name, role=wire.role_of(message.role), email=message.email or None,
            password=message.password or None, unix_uid=uid,
        )  # fmt: skip
        return await self._answer(user)

    async def set_user_password(self, message: pb.SetUserPasswordRequest) -> pb.UserResponse:
        if not message.password:
            raise InvalidArgument("no password was given", field="password")
        return await self._changed(await self._parts.accounts.set_password(caller(), message.name, message.password))

    async def set_user_role(self, message: pb.SetUserRoleRequest) -> pb.UserResponse:
        if not message.role:
            raise InvalidArgument("no role was named", field="role", hint="admin or user")
        return await self._changed(
            await self._parts.accounts.set_role(caller(), message.name, wire.role_of(message.role))
        )

    async def set_user_active(self, message: pb.SetUserActiveRequest) -> pb.UserResponse:
        return await self._changed(await self._parts.accounts.set_active(caller(), message.name, message.active))

    async def remove_user(self, message: pb.RemoveUserRequest) -> pb.UserResponse:
        who, accounts = caller(), self._parts.accounts
        user = await accounts.user(who, message.name)
        answer = await self._answer(user)
        await accounts.remove_user(who, message.name, keep_jobs=message.keep_jobs)
        return answer

    async def link_user(self, message: pb.LinkUserRequest) -> pb.UserResponse:
        uid = await uid_of(message.unix_user) if message.unix_user else None
        return await self._answer(await self._parts.accounts.link_uid(caller(), message.name, uid))

    async def set_user_limits(self, message: pb.SetUserLimitsRequest) -> pb.UserResponse:
        who, accounts = caller(), self._parts.accounts
        user = await accounts.user(who, message.name)
        limits = wire.changed_limits(user.limits, message.fields, message.limits)
        return await self._answer(await accounts.set_limits(who, message.name, limits))

    async def invite_user(self, message: pb.InviteUserRequest) -> pb.InviteUserResponse:
        role, ttl = wire.role_of(message.role), Seconds(message.ttl_s or DAY)
        invite = await self._parts.accounts.invite(caller(), role=role, ttl=ttl)
        return pb.InviteUserResponse(invite=invite, expires_at=self._parts.clock.now() + timedelta(seconds=ttl))

    async def list_invitations(self, message: pb.ListInvitationsRequest) -> pb.ListInvitationsResponse:
        found = await self._parts.accounts.list_invitations(caller())
        return pb.ListInvitationsResponse(invitations=[wire.invitation_message(one) for one in found])

    async def revoke_invitation(self, message: pb.RevokeInvitationRequest) -> pb.RevokeInvitationResponse:
        await self._parts.accounts.revoke_invitation(caller(), message.invitation)
        return pb.RevokeInvitationResponse()

    async def rotate_secret(self, message: pb.RotateSecretRequest) -> pb.RotateSecretResponse:
        return pb.RotateSecretResponse(access_tokens=await self._parts.accounts.rotate_secret(caller()))

    async def _answer(self, user: User) -> pb.UserResponse:
        return pb.UserResponse(user=await user_message(self._parts, user))

    async def _changed(self, changed: ChangedUser) -> pb.UserResponse:
        answer = await self._answer(changed.user)
        answer.ended = wire.ended_message(changed.ended)
        return answer


async def user_message(parts: ControlParts, user: User) -> pb.User:
    (message,) = await user_messages(parts, [user])
    return message


async def user_messages(parts: ControlParts, users: Sequence[User]) -> list[pb.User]:
    active = await parts.store.read(lambda tx: {user.id: _active(tx, user.id) for user in users})
    names = await names_of({user.unix_uid for user in users if user.unix_uid is not None})
    return [
        wire.user_message(
            user, jobs_active=active[user.id], unix_user="" if user.unix_uid is None else names[user.unix_uid]
        )
        for user in users
    ]


def _active(tx: Transaction, user_id: UserId) -> int:
    return tx.jobs.count_by_state(user_id).get(JobState.ACTIVE, 0)
