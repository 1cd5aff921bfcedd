"""Rows to fill a store with, for StoreContract and for tests of whatever needs a store."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

from oddaemon.domain.cache import CacheEntry, Replica
from oddaemon.domain.credentials import ApiKey, Invitation, InvitationId, KeyId, Session, SessionId
from oddaemon.domain.failure import Failure, FailureCode, Reason, ReasonCode, Retry
from oddaemon.domain.filter_fields import JOBS, Vocabulary
from oddaemon.domain.filter_text import parse_filter
from oddaemon.domain.filter_tree import settled
from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.domain.keyed_add import KeyedAdd
from oddaemon.domain.link import Link, LinkKind
from oddaemon.domain.source import SourceKind
from oddaemon.domain.types import (
    Bytes,
    BytesPerSecond,
    EngineName,
    EntryId,
    JobId,
    LinkId,
    NodeId,
    ReplicaId,
    Seconds,
    UserId,
)  # fmt: skip
from oddaemon.domain.user import ALL_SCOPES, Role, User
from oddaemon.ports.store import Query, Transaction

NOW = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ARIA2, YTDLP = EngineName("aria2"), EngineName("ytdlp")
ODD_TEXT = "naïve 日本語 🎬 \u202e it's \"quoted\" %_\\ ;--"
_numbers = itertools.count(1)


def a_user(name: str = "", **changes: Any) -> User:
    name = name or f"user{next(_numbers)}"
    user = User(id=UserId(uuid4()), username=name, role=Role.USER, created_at=NOW, updated_at=NOW)
    return dataclasses.replace(user, **changes)


def a_key(user: User, **changes: Any) -> ApiKey:
    key = ApiKey(
        id=KeyId(uuid4()), user_id=user.id, name=f"key{next(_numbers)}", digest="0" * 64, scopes=ALL_SCOPES,
        created_at=NOW,
    )  # fmt: skip
    return dataclasses.replace(key, **changes)


def a_session(user: User, **changes: Any) -> Session:
    session = Session(id=SessionId(uuid4()), user_id=user.id, digest="0" * 64, created_at=NOW, expires_at=LATER)
    return dataclasses.replace(session, **changes)


def a_keyed_add(user: User, **changes: Any) -> KeyedAdd:
    added = KeyedAdd(user_id=user.id, key=f"key{next(_numbers)}", digest="0" * 64, job_ids=(), created_at=NOW)
    return dataclasses.replace(added, **changes)


def an_invitation(user: User, **changes: Any) -> Invitation:
    invitation = Invitation(
        id=InvitationId(uuid4()), digest="0" * 64, role=Role.USER, created_by=user.id, created_at=NOW, expires_at=LATER
    )
    return dataclasses.replace(invitation, **changes)


def a_job(tx: Transaction, user: User, **changes: Any) -> Job:
    """A queued job with the next number, not inserted yet."""
    number = tx.jobs.take_number()
    job = Job(
        id=JobId(uuid4()),
        number=number,
        user_id=user.id,
        source=f"https://origin.test/{number}",
        kind=SourceKind.URL,
        created_at=NOW,
        updated_at=NOW,
    )
    return dataclasses.replace(job, **changes)


def an_entry(key: str = "", **changes: Any) -> CacheEntry:
    key = key or f"aria2:url:{next(_numbers):064x}"
    entry = CacheEntry(id=EntryId(uuid4()), key=key, generation=1, engine=ARIA2, created_at=NOW)
    return dataclasses.replace(entry, **changes)


def a_replica(entry: CacheEntry, **changes: Any) -> Replica:
    replica = Replica(
        id=ReplicaId(uuid4()), entry_id=entry.id, node_id=NodeId("home"), engine=ARIA2, created_at=NOW, updated_at=NOW
    )
    return dataclasses.replace(replica, **changes)


def a_link(job: Job, **changes: Any) -> Link:
    link = Link(
        id=LinkId(uuid4()),
        job_id=job.id,
        user_id=job.user_id,
        entry_id=EntryId(uuid4()),
        replica_id=ReplicaId(uuid4()),
        node_id=NodeId("home"),
        kind=LinkKind.FILE,
        path="a/b.mkv",
        file_index=1,
        created_at=NOW,
        expires_at=LATER,
    )
    return dataclasses.replace(link, **changes)


def a_full_job(tx: Transaction, user: User, entry: CacheEntry) -> Job:
    """Every field set, and none to its default."""
    return a_job(
        tx,
        user,
        source=f"https://origin.test/{ODD_TEXT}",
        kind=SourceKind.MAGNET,
        created_at=NOW - timedelta(days=1),
        updated_at=NOW.astimezone(timezone(timedelta(hours=5))),
        state=JobState.FAILED,
        hold=Hold.DISK,
        hold_until=LATER,
        reason=Reason(code=ReasonCode.RETRY, message=ODD_TEXT, retry_at=LATER),
        name=ODD_TEXT,
        renamed=True,
        engine=ARIA2,
        engine_wish=YTDLP,
        engine_state="checking",
        node_id=NodeId("nas"),
        node_wish=NodeId("home"),
        node_labels={"disk": "ssd", "place": ODD_TEXT},
        entry_id=entry.id,
        cache_key=f"aria2:hash:{'ab' * 20}",
        cache_hit=True,
        force=True,
        selection="1,3-5,*.mkv",
        options={"split": "4", "referer": ODD_TEXT},
        checksum="sha-256=" + "0" * 64,
        priority=-7,
        tags=("one", ODD_TEXT),
        max_rate_down=BytesPerSecond(2**40),
        max_rate_up=BytesPerSecond(1),
        size=Bytes(2**50),
        done=Bytes(2**49),
        files_total=9,
        files_selected=8,
        files_failed=1,
        error=Failure(
            code=FailureCode.ORIGIN_BUSY,
            message=ODD_TEXT,
            retry=Retry.PASSING,
            retry_after=Seconds(1.5),
            hint="wait",
        ),
        attempts=3,
        next_try_at=LATER,
        started_at=NOW,
        completed_at=LATER,
    )


def filtered(text: str, vocabulary: Vocabulary = JOBS, **more: Any) -> Query:
    """What `text` finds, asked by ann at NOW."""
    return Query(where=settled(parse_filter(text, vocabulary), now=NOW, me="ann"), **more)
