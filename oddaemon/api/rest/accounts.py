"""`/api/v1/auth/*`: making an account, logging in, one's own password and API keys."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import AwareDatetime, Field

from oddaemon.api.rest.jobs import tagged
from oddaemon.api.rest.models import Model, Nothing
from oddaemon.api.rest.routes import PUBLIC, Answer, Call, Routes
from oddaemon.api.rest.users import User, shown_user
from oddaemon.domain import credentials
from oddaemon.domain.errors import (
    AlreadyExists,
    LimitExceeded,
    LoginThrottled,
    NotAllowed,
    NotFound,
    Unauthenticated,
)
from oddaemon.domain.user import Scope
from oddaemon.wire.values import clean

route = Routes("accounts", prefix="/api/v1/auth")

MAX_PASSWORD = 200
"""Characters that are read; which passwords are good, the service says."""


class Registration(Model):
    username: str = Field(min_length=1, max_length=64)
    password: str = Field(max_length=MAX_PASSWORD, description="At least 8 characters, at most 72 bytes.")
    email: str | None = Field(default=None, max_length=255)
    invite: str | None = Field(default=None, max_length=200, description="An invitation; needed unless all may join.")


class Login(Model):
    username: str = Field(max_length=200)
    password: str = Field(max_length=1000)


class RefreshRequest(Model):
    refresh_token: str = Field(max_length=200)


class Tokens(Model):
    access_token: str = Field(description="Send it as `Authorization: Bearer`.")
    refresh_token: str = Field(description="Gives new tokens, once, for 24 hours.")
    token_type: str = "Bearer"  # noqa: S105
    expires_in: int = Field(description="Seconds for which the access token is good.")


class Me(Model):
    user: User
    scopes: list[Scope] = Field(description="What the credential may be used for.")
    proof: str = Field(description="How the caller proved who it is: `token` or `apikey`.")


class PasswordChange(Model):
    old: str = Field(max_length=1000)
    new: str = Field(max_length=MAX_PASSWORD, description="At least 8 characters, at most 72 bytes.")


class ApiKey(Model):
    id: UUID
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None = Field(description="null: never.")
    last_used_at: datetime | None


class NewApiKey(Model):
    key: ApiKey
    secret: str = Field(description="The key itself. It is shown once.")


class KeyRequest(Model):
    name: str = Field(min_length=1, max_length=64)
    scopes: list[Scope] = Field(min_length=1, max_length=10)
    expires_at: AwareDatetime | None = Field(default=None, description="null: never.")


class RotateRequest(Model):
    expires_at: AwareDatetime | None = Field(default=None, description="null: as it was.")


class RegenerateRequest(Model):
    name: str = Field(default="default", min_length=1, max_length=64, description="Of the key.")


class KeyPath(Model):
    key: str = Field(min_length=1, max_length=64, description="Name or id.", examples=["backup script"])


class Session(Model):
    id: UUID
    created_at: datetime
    expires_at: datetime = Field(description="Unless it is refreshed before.")
    current: bool = Field(description="The request is made with it.")


class SessionPath(Model):
    session: str = Field(min_length=1, max_length=64, description="Its id.")


class SessionQuery(Model):
    user: str | None = Field(default=None, min_length=1, max_length=64, description="For admins: another user's.")


class KeyQuery(Model):
    user: str | None = Field(default=None, min_length=1, max_length=64, description="For admins: another user's keys.")


def _tokens(found: credentials.Tokens) -> Tokens:
    return Tokens(
        access_token=found.access_token, refresh_token=found.refresh_token, expires_in=found.expires_in
    )  # fmt: skip


def _key(key: credentials.ApiKey) -> ApiKey:
    return ApiKey(
        id=key.id, name=clean(key.name), scopes=[scope for scope in Scope if scope in key.scopes],
        created_at=key.created_at, expires_at=key.expires_at, last_used_at=key.last_used_at,
    )  # fmt: skip


def _new_key(made: credentials.NewKey) -> NewApiKey:
    return NewApiKey(key=_key(made.key), secret=made.secret)


@route(
    "POST", "/register", needs=PUBLIC, summary="Make an account", status=201,
    errors=[NotAllowed, AlreadyExists, LoginThrottled],
)  # fmt: skip
async def register(call: Call[Nothing, Nothing, Registration]) -> User:
    """If registration is open, or with an invitation, which is good once."""
    body = call.body
    made = await call.parts.accounts.register(
        body.username, body.password, email=body.email, invite=body.invite, address=call.address
    )
    return shown_user(made)


@route("POST", "/login", needs=PUBLIC, summary="Log in", errors=[Unauthenticated, LoginThrottled])
async def login(call: Call[Nothing, Nothing, Login]) -> Tokens:
    """The answer is the same for an unknown user, a wrong password and a disabled account."""
    body = call.body
    return _tokens(await call.parts.accounts.login(body.username, body.password, address=call.address))


@route("POST", "/refresh", needs=PUBLIC, summary="New tokens for a refresh token", errors=[Unauthenticated])
async def refresh(call: Call[Nothing, Nothing, RefreshRequest]) -> Tokens:
    """A refresh token is good once: one that comes back ends its session."""
    return _tokens(await call.parts.accounts.refresh(call.body.refresh_token))


@route("POST", "/logout", needs=Scope.READ, summary="End the session")
async def logout(call: Call[Nothing, Nothing, Nothing]) -> None:
    """Of an access token. An API key has no session: nothing happens."""
    await call.parts.accounts.logout(call.who)


@route("GET", "/sessions", needs=Scope.READ, summary="Open sessions", errors=[NotFound])
async def list_sessions(call: Call[Nothing, SessionQuery, Nothing]) -> list[Session]:
    """Oldest first. A session is a login with all tokens that came of it."""
    return [
        Session(
            id=one.id, created_at=one.created_at, expires_at=one.expires_at, current=one.id == call.who.credential
        )
        for one in await call.parts.accounts.list_sessions(call.who, call.query.user)
    ]  # fmt: skip


@route("DELETE", "/sessions/{session}", needs=Scope.ADMIN, summary="End one session", errors=[NotFound])
async def end_session(call: Call[SessionPath, SessionQuery, Nothing]) -> None:
    """Its tokens are dead; keys and links stay. Admins need no `user` for another's."""
    await call.parts.accounts.end_session(call.who, call.path.session, user=call.query.user)


@route("GET", "/me", needs=Scope.READ, summary="Who is calling")
async def get_me(call: Call[Nothing, Nothing, Nothing]) -> Answer[Me]:
    who = call.who
    user = await call.parts.accounts.user(who, str(who.user_id))
    scopes = [scope for scope in Scope if scope in who.scopes]
    return tagged(Me(user=shown_user(user), scopes=scopes, proof=str(who.proof)))


@route("POST", "/password", needs=Scope.ADMIN, summary="Change one's own password", errors=[LoginThrottled])
async def change_password(call: Call[Nothing, Nothing, PasswordChange]) -> None:
    """Every session, key and link of the caller is dead afterwards, this one too."""
    await call.parts.accounts.set_own_password(call.who, call.body.old, call.body.new)


@route("POST", "/apikey/regenerate", needs=Scope.ADMIN, summary="One's own API key anew", errors=[LimitExceeded])
async def regenerate_key(call: Call[Nothing, Nothing, RegenerateRequest]) -> NewApiKey:
    """The key of that name gets another secret, and the old one is dead; if there is none, it is made."""
    return _new_key(await call.parts.accounts.regenerate_key(call.who, call.body.name))


@route("GET", "/apikeys", needs=Scope.READ, summary="API keys", errors=[NotFound])
async def list_keys(call: Call[Nothing, KeyQuery, Nothing]) -> list[ApiKey]:
    """Without their secrets, oldest first, expired ones too."""
    return [_key(key) for key in await call.parts.accounts.list_keys(call.who, call.query.user)]


@route(
    "POST", "/apikeys", needs=Scope.ADMIN, summary="A new API key", status=201,
    errors=[AlreadyExists, LimitExceeded, NotFound],
)  # fmt: skip
async def create_key(call: Call[Nothing, KeyQuery, KeyRequest]) -> Answer[NewApiKey]:
    body = call.body
    made = await call.parts.accounts.create_key(call.who, body.name, body.scopes, body.expires_at, call.query.user)
    return Answer(data=_new_key(made), headers={"Location": f"/api/v1/auth/apikeys/{made.key.id}"})


@route("POST", "/apikeys/{key}/rotate", needs=Scope.ADMIN, summary="Another secret for a key", errors=[NotFound])
async def rotate_key(call: Call[KeyPath, KeyQuery, RotateRequest]) -> NewApiKey:
    """The old secret and the links of the key's owner are dead."""
    made = await call.parts.accounts.rotate_key(
        call.who, call.path.key, expires_at=call.body.expires_at, user=call.query.user
    )
    return _new_key(made)


@route("DELETE", "/apikeys/{key}", needs=Scope.ADMIN, summary="Revoke a key", errors=[NotFound])
async def revoke_key(call: Call[KeyPath, KeyQuery, Nothing]) -> None:
    """The key and the links of its owner are dead."""
    await call.parts.accounts.revoke_key(call.who, call.path.key, user=call.query.user)
