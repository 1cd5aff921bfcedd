"""New ids: UUIDv7 (RFC 9562 section 5.7), which sort by the time they were made."""

from __future__ import annotations

from uuid_utils.compat import uuid7

from oddaemon.domain.credentials import InvitationId, KeyId, SessionId
from oddaemon.domain.types import EntryId, JobId, ReplicaId, UserId


def new_job_id() -> JobId:
    return JobId(uuid7())


def new_entry_id() -> EntryId:
    return EntryId(uuid7())


def new_replica_id() -> ReplicaId:
    return ReplicaId(uuid7())


def new_user_id() -> UserId:
    return UserId(uuid7())


def new_key_id() -> KeyId:
    return KeyId(uuid7())


def new_session_id() -> SessionId:
    return SessionId(uuid7())


def new_invitation_id() -> InvitationId:
    return InvitationId(uuid7())
