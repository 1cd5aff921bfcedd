"""Users, keys and limits ↔ protobuf. Hashes and digests never go this way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields, replace

from odproto.gen.opendebrid.control import v1 as control

from oddaemon.domain.credentials import ApiKey, Session, Tokens
from oddaemon.domain.errors import InvalidArgument
from oddaemon.domain.user import Principal, Role, Scope, User, UserLimits
from oddaemon.services.grants import OpenInvitation
from oddaemon.services.standing import Ended
from oddaemon.services.views import UsageView
from oddaemon.wire.values import clean, stamp

LIMITS = tuple(field.name for field in fields(UserLimits))


def user_message(user: User, *, jobs_active: int, unix_user: str) -> control.User:
    return control.User(
        name=user.username,
        role=user.role.value,
        active=user.is_active,
        unix_user=clean(unix_user),
        unix_uid=user.unix_uid,
        jobs_active=jobs_active,
        limits=control.UserLimits(**{name: getattr(user.limits, name) for name in LIMITS}),
        last_seen_at=stamp(user.last_seen_at),
        email=clean(user.email),
        has_password=user.password is not None,
        created_at=stamp(user.created_at),
        id=str(user.id),
    )


def usage_message(view: UsageView) -> control.UsageResponse:
    return control.UsageResponse(
        user=view.username,
        limits=control.UserLimits(**{name: getattr(view.allowance, name) for name in LIMITS}),
        running=view.running,
        jobs=view.jobs,
        stored=view.stored,
        served_today=view.served_today,
        day_ends_at=stamp(view.day_ends_at),
        requests=view.requests,
    )


def key_message(key: ApiKey, user: str) -> control.ApiKey:
    return control.ApiKey(
        id=str(key.id),
        name=clean(key.name),
        user=user,
        scopes=_written(key.scopes),
        created_at=stamp(key.created_at),
        expires_at=stamp(key.expires_at),
        last_used_at=stamp(key.last_used_at),
    )


def ended_message(ended: Ended) -> control.Ended:
    return control.Ended(
        sessions=ended.sessions, keys=ended.keys, links=len(ended.links), invitations=ended.invitations
    )  # fmt: skip


def session_message(session: Session, who: Principal) -> control.Session:
    return control.Session(
        id=str(session.id), created_at=stamp(session.created_at), expires_at=stamp(session.expires_at),
        current=session.id == who.credential,
    )  # fmt: skip


def invitation_message(found: OpenInvitation) -> control.Invitation:
    one = found.invitation
    return control.Invitation(
        id=str(one.id), role=one.role.value, invited_by=clean(found.invited_by), created_at=stamp(one.created_at),
        expires_at=stamp(one.expires_at),
    )  # fmt: skip


def tokens_message(tokens: Tokens) -> control.LoginResponse:
    return control.LoginResponse(
        access_token=tokens.access_token, refresh_token=tokens.refresh_token, expires_in_s=float(tokens.expires_in)
    )


def whoami_message(who: Principal, user: control.User) -> control.WhoAmIResponse:
    return control.WhoAmIResponse(
        user=user, auth=who.proof.value, uid=who.uid, scopes=_written(who.scopes),
        credential="" if who.credential is None else str(who.credential),
    )  # fmt: skip


def role_of(text: str) -> Role:
    """Raises InvalidArgument. Empty: a user."""
    try:
        return Role(text or Role.USER)
    except ValueError as error:
        raise InvalidArgument(f"{text[:40]!r} is no role", field="role", hint="admin or user") from error


def scopes_of(texts: Sequence[str]) -> frozenset[Scope]:
    """Raises InvalidArgument, also for none at all: a key that may do everything has to be asked for."""
    try:
        found = frozenset(Scope(text) for text in texts)
    except ValueError as error:
        raise InvalidArgument("there is no such scope", field="scopes", hint="read, jobs or admin") from error
    if not found:
        raise InvalidArgument("a key has at least one scope", field="scopes", hint="read, jobs or admin")
    return found


def changed_limits(limits: UserLimits, names: Sequence[str], message: control.UserLimits | None) -> UserLimits:
    """With those of `names` as they are in the message. Raises InvalidArgument for a limit that does not exist."""
    given = message or control.UserLimits()
    for name in names:
        if name not in LIMITS:
            raise InvalidArgument(f"there is no limit {name[:40]!r}", field="fields", hint=", ".join(LIMITS))
    return replace(limits, **{name: getattr(given, name) for name in names})


def _written(scopes: Collection[Scope]) -> list[str]:
    return [scope.value for scope in Scope if scope in scopes]
