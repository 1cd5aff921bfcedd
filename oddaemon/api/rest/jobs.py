"""A job and its files as the REST API shows them: the fields of every other face, by the same names."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from odproto.gen.opendebrid.common import v1 as common
from pydantic import Field

from oddaemon.api.rest.hints import rest_hint
from oddaemon.api.rest.models import Model, Problem
from oddaemon.api.rest.routes import Answer
from oddaemon.domain.failure import FailureCode, ReasonCode
from oddaemon.domain.job import Hold, JobState
from oddaemon.services.batches import Outcome
from oddaemon.services.views import FileView, JobView
from oddaemon.wire.errors import told
from oddaemon.wire.messages import JOB_FIELDS, file_message, job_message

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Model)

_UNKNOWN_IF_EMPTY = ("cache_key", "engine_state", "engine", "node", "placement", "checksum")


class Reason(Model):
    """Why it does not run."""

    code: ReasonCode
    message: str
    retry_at: datetime | None = Field(description="When it is tried next.")


class JobError(Model):
    """Why it failed."""

    code: FailureCode
    message: str
    hint: str
    retryable: bool


class Download(Model):
    """A job: one user's claim on one content. null: not known. Sizes are bytes, rates bytes a second."""

    id: int | None = Field(description="The job's number. null: of an add that was a dry run, as `uuid`.")
    uuid: str | None
    name: str = Field(description="Empty until it is known.")
    source: str = Field(description="As it was given, credentials masked.")
    kind: str = Field(description="magnet, torrent or url.")
    cache_key: str | None
    cache_hit: bool = Field(description="What was asked for was there already.")
    state: JobState
    hold: Hold = Field(description="What keeps a queued job from its turn: with `user` it is paused.")
    reason: Reason | None
    engine_state: str | None = Field(description="For people.")
    engine: str | None
    node: str | None
    user: str
    progress: float = Field(description="0 to 1; 1 only when it is completed.")
    size: int | None
    done: int
    rate_down: int
    rate_up: int
    eta_s: float | None
    seeders: int | None
    peers: int | None
    files_total: int
    files_selected: int
    priority: int
    tags: list[str]
    position: int | None = Field(description="In the queue, from 1.")
    error: JobError | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    rev: int = Field(description="Grows with every stored change.")
    selection: str
    options: dict[str, str] = Field(description="Secrets masked.")
    hold_until: datetime | None
    max_rate_down: int | None
    max_rate_up: int | None
    attempts: int
    placement: str | None = Field(description="Why this node, or why none.")
    files_failed: int
    checksum: str | None
    node_labels: dict[str, str] = Field(description="Only a node that has them all may take it.")


class File(Model):
    job: int | None = Field(description="null: of a source that was only looked at.")
    index: int
    path: str
    size: int | None
    done: int
    progress: float
    selected: bool
    priority: int
    content_type: str | None
    sha256: str | None
    ready: bool
    error: str | None = Field(description="Why this one cannot be had.")


class Result(Model):
    """Of one member of a batch: a download, or why not."""

    id: str = Field(description="As given, or the number of a job that a filter found; of an add its place, from 1.")
    download: Download | None
    error: Problem | None
    freed_bytes: int = Field(description="What removing it frees.")


def download(view: JobView) -> Download:
    # checked values of our own, as they are: checking a page of them anew takes longer than reading it
    message = job_message(view)
    values: dict[str, object] = {name: getattr(message, name) for name in JOB_FIELDS}
    for name in _UNKNOWN_IF_EMPTY:
        values[name] = values[name] or None
    job = view.job
    values["state"], values["hold"] = job.state, job.hold
    if (reason := message.reason) is not None and job.reason is not None:
        values["reason"] = Reason.model_construct(
            code=job.reason.code, message=reason.message, retry_at=reason.retry_at
        )  # fmt: skip
    if (error := message.error) is not None and job.error is not None:
        values["error"] = JobError.model_construct(
            code=job.error.code, message=error.message, hint=rest_hint(error.hint), retryable=error.retryable
        )  # fmt: skip
    return Download.model_construct(**values)  # type: ignore[arg-type]


def planned(view: JobView) -> Download:
    """Of a dry run of an add: there is no job that anybody could ask for."""
    return download(view).model_copy(update={"id": None, "uuid": None})


def shown_file(view: FileView) -> File:
    return file_of(file_message(view))


def file_of(message: common.File) -> File:
    return File.model_construct(
        job=message.job or None, index=message.index, path=message.path, size=message.size, done=message.done,
        progress=message.progress, selected=message.selected, priority=message.priority,
        content_type=message.content_type or None, sha256=message.sha256 or None, ready=message.ready,
        error=message.error or None,
    )  # fmt: skip


def result(found: Outcome, request_id: str, show: Callable[[JobView], Download] = download) -> Result:
    return Result.model_construct(
        id=found.id, download=None if found.view is None else show(found.view),
        error=None if found.error is None else problem(found.error, request_id), freed_bytes=int(found.freed),
    )  # fmt: skip


def problem(error: Exception, request_id: str) -> Problem:
    """One item's; what is nobody's mistake is told to the log, by the id that the caller gets."""
    found = told(error, request_id)
    if found.http == 500:
        log.error("item failed", extra={"action": "request_failed", "request": request_id}, exc_info=error)
    return Problem(
        code=str(found.code), message=found.message, hint=rest_hint(found.hint), field=found.details.get("field"),
        details=dict(found.details),
    )  # fmt: skip


def tagged(model: M) -> Answer[M]:
    """With an ETag that changes with every field."""
    return Answer(data=model, etag=hashlib.blake2b(model.model_dump_json().encode(), digest_size=12).hexdigest())
