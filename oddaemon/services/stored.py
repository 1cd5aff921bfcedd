"""What users are charged for what they store: reads the accounts of `domain.storage_account` out of the store. Plain
functions of a transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from oddaemon.domain.admission import Limits, allowance, human_bytes
from oddaemon.domain.cache import EntryFile
from oddaemon.domain.errors import InvalidSelection, LimitExceeded
from oddaemon.domain.failure import Failure, FailureCode, Reason, ReasonCode
from oddaemon.domain.job import Job, JobState
from oddaemon.domain.selection import select
from oddaemon.domain.storage_account import Holding, StorageAccount, account
from oddaemon.domain.types import Bytes, EntryId, JobId, UserId
from oddaemon.domain.user import UserLimits
from oddaemon.ports.store import HeldRow, Transaction
from oddaemon.services.claims import claimants


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of a job that runs, as they are now: the store hears of them only now and then."""

    done: Bytes
    size: Bytes | None


def stored_by(
    tx: Transaction, user: UserId, limit: Bytes, *, split: bool, live: Mapping[JobId, Figures] | None = None,
    asked: JobId | None = None,
) -> StorageAccount:  # fmt: skip
    """The account of one user. `split`: those who claim the same file share its bytes."""
    mine = [_as_it_is(row, live or {}) for row in tx.jobs.held_by(user)]
    entries = {row.entry_id for row in mine}
    everyone = tx.jobs.held_in(entries) if split else mine
    on_entry: dict[EntryId, list[HeldRow]] = {}
    for row in everyone:
        on_entry.setdefault(row.entry_id, []).append(row)
    mixed = {entry for entry, rows in on_entry.items() if len({row.selection for row in rows}) > 1}
    files = tx.cache.files_of(mixed) if mixed else {}
    shares = {entry: _Shares(rows, files.get(entry, ())) for entry, rows in on_entry.items()}
    return account([shares[row.entry_id].holding(row) for row in mine], limit, asked=asked)


def own_limits(tx: Transaction) -> Mapping[UserId, UserLimits]:
    """Of the users that have limits of their own."""
    return {user.id: user.limits for user in tx.users.all() if user.limits != UserLimits()}


def check_room(tx: Transaction, job: Job, limits: Limits) -> None:
    """Whether this job, as it is stored now, may take what it wants beside all else that its user has. Raises
    LimitExceeded."""
    owner = tx.users.get(job.user_id)
    limit = allowance(limits, None if owner is None else owner.limits).storage
    if not limit or job.entry_id is None or tx.jobs.most_held(job.user_id) < limit:
        return
    found = stored_by(tx, job.user_id, limit, split=limits.storage_split, asked=job.id)
    if job.id in found.over:
        needs = found.over[job.id]
        raise LimitExceeded(
            f"storage limit: {human_bytes(found.used)} of {human_bytes(limit)} used"
            + (f", and this needs {human_bytes(needs)}" if needs else ""),
            hint="remove what is no longer needed: odctl rm JOB; what is used: odctl users usage",
            limit=int(limit), used=int(found.used),
        )  # fmt: skip


def too_large(job: Job, size: Bytes, limits: Limits, own: UserLimits | None, sharers: int) -> Failure | None:
    """Why a job of this size can never be carried out, whatever else its user has. `sharers`: how many users claim the
    content, this one too."""
    if limits.max_download_size and size > limits.max_download_size:
        most = f"limits.max_download_size is {human_bytes(limits.max_download_size)}"
    elif largest_of_user(limits, own, sharers) and size > largest_of_user(limits, own, sharers):
        most = f"its user may store {human_bytes(allowance(limits, own).storage)} in all"
    else:
        return None
    return Failure(
        code=FailureCode.TOO_LARGE, message=f"it is {human_bytes(size)}, and {most}",
        hint=f"with fewer files: odctl select {job.number} …, then odctl retry {job.number}",
    )  # fmt: skip


def never_fits(tx: Transaction, job: Job, limits: Limits) -> Failure | None:
    """`too_large` for a job as it is stored now: for its size, or what is there of it while that is not known."""
    size = job.done if job.size is None else job.size
    owner = tx.users.get(job.user_id)
    sharers = {other.user_id for other in claimants(tx, job.entry_id)} if job.entry_id is not None else ()
    return too_large(job, size, limits, None if owner is None else owner.limits, max(1, len(sharers)))


def largest_of_user(limits: Limits, own: UserLimits | None, sharers: int) -> Bytes:
    """The largest that the storage of a user allows when it is otherwise empty. 0: no limit."""
    return Bytes(allowance(limits, own).storage * (sharers if limits.storage_split else 1))


def over_storage(
    tx: Transaction, users: Collection[UserId], own: Mapping[UserId, UserLimits], limits: Limits,
    live: Mapping[UserId, Mapping[JobId, Figures]],
) -> Mapping[JobId, Reason]:  # fmt: skip
    """Of these users' unfinished jobs those for which there is no room in what their user may store."""
    reasons: dict[JobId, Reason] = {}
    for user in users:
        limit = allowance(limits, own.get(user)).storage
        if not limit:
            continue
        found = StorageAccount()
        theirs = live.get(user, {})
        # a sum spares most plans the account itself
        if tx.jobs.most_held(user) + sum(figures.size or figures.done for figures in theirs.values()) >= limit:
            found = stored_by(tx, user, limit, split=limits.storage_split, live=theirs)
        for job_id, needs in found.over.items():
            more = f", needs {human_bytes(needs)}" if needs else ""
            message = f"storage limit: {human_bytes(found.used)} of {human_bytes(limit)} used{more}"
            reasons[job_id] = Reason(code=ReasonCode.STORAGE_LIMIT, message=message)
    return reasons


def _as_it_is(row: HeldRow, live: Mapping[JobId, Figures]) -> HeldRow:
    now = live.get(row.job_id)
    return row if now is None else replace(row, done=max(row.done, now.done), size=now.size or row.size)


class _Shares:
    """How the bytes of one entry are charged to those who claim it."""

    def __init__(self, rows: Sequence[HeldRow], files: Sequence[EntryFile]) -> None:
        """`files`: when the rows want different ones and these are known."""
        self._users = len({row.user_id for row in rows})
        self._files = [file for file in files if file.failed is None]
        selections = {row.selection for row in rows}
        self._places = {selection: -1 - place for place, selection in enumerate(sorted(selections))}
        self._wanted: Mapping[str, frozenset[int]] = {}
        self._sharers: Mapping[int, int] = {}
        if files:
            self._wanted = {selection: _select(selection, files) for selection in selections}
            wanting = {(row.user_id, index) for row in rows for index in self._wanted[row.selection]}
            self._sharers = Counter(index for _, index in wanting)

    def holding(self, row: HeldRow) -> Holding:
        failed = row.state is JobState.FAILED
        parts: Mapping[int, int]
        if self._files:
            wanted = [file for file in self._files if file.index in self._wanted[row.selection]]
            known = all(file.size is not None for file in wanted)
            parts = {
                file.index: (file.size or 0) // self._sharers[file.index]
                for file in wanted if file.ready or not failed
            }  # fmt: skip
        else:
            known = row.size is not None
            parts = {}
        if not self._files or not known:
            whole = row.done if failed or row.size is None else row.size
            parts = {self._places[row.selection]: whole // self._users}
        return Holding(
            job_id=row.job_id, number=row.number, entry_id=row.entry_id, parts=parts,
            here=Bytes(row.done // self._users), settled=row.state in (JobState.COMPLETED, JobState.FAILED),
            running=row.state is JobState.ACTIVE, grows=not known and not failed,
        )  # fmt: skip


def _select(selection: str, files: Sequence[EntryFile]) -> frozenset[int]:
    try:
        return select(selection, files)
    except InvalidSelection:
        return frozenset()
