"""`/api/v1/admin/users` and `/api/v1/admin/invitations`: the accounts of an installation, for admins."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field

from oddaemon.api.rest.jobs import tagged
from oddaemon.api.rest.models import Model, Nothing, PageQuery
from oddaemon.api.rest.routes import Answer, Call, Page, Routes
from oddaemon.domain import user as domain
from oddaemon.domain.errors import AlreadyExists, Conflict, LimitExceeded, NotFound
from oddaemon.domain.types import Seconds
from oddaemon.domain.user import Role
from oddaemon.wire.values import clean

route = Routes("users", prefix="/api/v1/admin")

MOST = 2**62


class UserLimits(Model):
    """A user's own limits. null: what the settings say; 0: none."""

    running: int | None = Field(default=None, ge=0, le=MOST, description="Jobs that run at the same time.")
    jobs: int | None = Field(default=None, ge=0, le=MOST, description="Unfinished jobs.")
    storage: int | None = Field(default=None, ge=0, le=MOST, description="Bytes on disk.")
    served_per_day: int | None = Field(default=None, ge=0, le=MOST, description="Bytes served by links in a day.")
    requests_per_minute: int | None = Field(default=None, ge=0, le=MOST, description="Requests of any face.")


class User(Model):
    id: UUID
    username: str
    role: Role
    email: str | None
    is_active: bool = Field(description="Whether the account lets anybody in.")
    has_password: bool
    unix_uid: int | None = Field(description="Whoever has it is this user on the control socket.")
    limits: UserLimits
    created_at: datetime
    last_seen_at: datetime | None


def shown_user(user: domain.User) -> User:
    own = user.limits
    return User(
        id=user.id, username=clean(user.username), role=user.role, email=user.email, is_active=user.is_active,
        has_password=user.password is not None, unix_uid=user.unix_uid, created_at=user.created_at,
        last_seen_at=user.last_seen_at,
        limits=UserLimits(
            running=own.running, jobs=own.jobs, storage=own.storage, served_per_day=own.served_per_day,
            requests_per_minute=own.requests_per_minute,
        ),
    )  # fmt: skip


class UserPath(Model):
    user: str = Field(min_length=1, max_length=64, description="Name or id.", examples=["maya"])


class NewUser(Model):
    username: str = Field(min_length=1, max_length=64, examples=["noor"])
    role: Role = Role.USER
    email: str | None = Field(default=None, max_length=255)
    password: str | None = Field(default=None, max_length=200, description="null: for API keys and a linked uid alone.")


class UserChange(Model):
    """What is left out stays. A change of role or password, and disabling, end the user's sessions, keys and links."""

    role: Role | None = None
    is_active: bool | None = None
    password: str | None = Field(default=None, max_length=200)
    limits: UserLimits | None = Field(default=None, description="Those that are left out stay as they are.")


class RemoveQuery(Model):
    keep_jobs: bool = Field(default=False, description="The jobs are the caller's from now on.")


class RemovedUser(Model):
    jobs: int = Field(description="That went with the account, or were kept.")


class InvitationRequest(Model):
    role: Role = Role.USER
    ttl_s: float = Field(default=86_400, ge=60, le=30 * 86_400, description="For so many seconds it may be used.")


class InvitationMade(Model):
    invite: str = Field(description="Shown once; whoever registers with it gets the account.")


class Invitation(Model):
    id: UUID
    role: Role
    invited_by: str
    created_at: datetime
    expires_at: datetime


class InvitationPath(Model):
    invitation: str = Field(min_length=1, max_length=64, description="Its id.")


class Revoked(Model):
    """How much of each is dead."""

    sessions: int
    keys: int
    links: int
    invitations: int


@route("GET", "/users", needs=Role.ADMIN, summary="All accounts")
async def list_users(call: Call[Nothing, PageQuery, Nothing]) -> Page[User]:
    """By name."""
    query = call.query
    users = await call.parts.accounts.users(call.who)
    rows = users[query.offset : query.offset + query.per_page]
    return Page(rows=[shown_user(user) for user in rows], total=len(users), query=query)


@route("POST", "/users", needs=Role.ADMIN, summary="A new account", status=201, errors=[AlreadyExists])
async def add_user(call: Call[Nothing, Nothing, NewUser]) -> Answer[User]:
    body = call.body
    user = await call.parts.accounts.add_user(
        call.who, body.username, role=body.role, email=body.email, password=body.password
    )
    return Answer(data=shown_user(user), headers={"Location": f"/api/v1/admin/users/{user.id}"})


@route("GET", "/users/{user}", needs=Role.ADMIN, summary="One account", errors=[NotFound])
async def get_user(call: Call[UserPath, Nothing, Nothing]) -> Answer[User]:
    return tagged(shown_user(await call.parts.accounts.user(call.who, call.path.user)))


@route(
    "PATCH", "/users/{user}", needs=Role.ADMIN, summary="Change role, activity, password or limits",
    errors=[NotFound, Conflict], shown_by=get_user,
)  # fmt: skip
async def change_user(call: Call[UserPath, Nothing, UserChange]) -> User:
    """All of it, or nothing."""
    body = call.body
    changed = await call.parts.accounts.change_user(
        call.who, call.path.user, role=body.role, active=body.is_active, password=body.password,
        limits=None if body.limits is None else body.limits.model_dump(exclude_unset=True),
    )  # fmt: skip
    return shown_user(changed.user)


@route(
    "DELETE", "/users/{user}", needs=Role.ADMIN, summary="Remove an account", errors=[NotFound, Conflict],
    shown_by=get_user,
)  # fmt: skip
async def remove_user(call: Call[UserPath, RemoveQuery, Nothing]) -> RemovedUser:
    """Its sessions, keys, links and jobs go with it; files go when nobody else claims them."""
    count = await call.parts.accounts.remove_user(call.who, call.path.user, keep_jobs=call.query.keep_jobs)
    return RemovedUser(jobs=count)


@route("POST", "/users/{user}/revoke", needs=Role.ADMIN, summary="End all access of a user", errors=[NotFound])
async def revoke_user(call: Call[UserPath, Nothing, Nothing]) -> Revoked:
    """Sessions, keys, links and invitations; the account and its password stay."""
    ended = await call.parts.accounts.revoke_everything(call.who, call.path.user)
    return Revoked(sessions=ended.sessions, keys=ended.keys, links=len(ended.links), invitations=ended.invitations)


@route(
    "POST", "/invitations", needs=Role.ADMIN, summary="Invite somebody to register", status=201, errors=[LimitExceeded]
)
async def invite(call: Call[Nothing, Nothing, InvitationRequest]) -> InvitationMade:
    """Good for one account."""
    body = call.body
    return InvitationMade(invite=await call.parts.accounts.invite(call.who, role=body.role, ttl=Seconds(body.ttl_s)))


@route("GET", "/invitations", needs=Role.ADMIN, summary="Open invitations")
async def list_invitations(call: Call[Nothing, Nothing, Nothing]) -> list[Invitation]:
    """Oldest first: those that nobody has used and that have not expired."""
    return [
        Invitation(
            id=one.invitation.id, role=one.invitation.role, invited_by=clean(one.invited_by),
            created_at=one.invitation.created_at, expires_at=one.invitation.expires_at,
        )
        for one in await call.parts.accounts.list_invitations(call.who)
    ]  # fmt: skip


@route("DELETE", "/invitations/{invitation}", needs=Role.ADMIN, summary="Revoke an invitation", errors=[NotFound])
async def revoke_invitation(call: Call[InvitationPath, Nothing, Nothing]) -> None:
    """Nobody can make an account with it any more."""
    await call.parts.accounts.revoke_invitation(call.who, call.path.invitation)
