"""Which jobs ask for seeding, and what it gives way to."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from oddaemon.domain.job import Job, JobState
from oddaemon.domain.source import SourceKind
from oddaemon.domain.types import EntryId, JobId, JobNumber, UserId
from oddaemon.services.seed_wishes import rival, seeders, without_seeding

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ASKS = {"seed-ratio": "2"}
HERE, THERE = EntryId(UUID(int=1)), EntryId(UUID(int=2))


def a_job(
    options: dict[str, str] | None = None, state: JobState = JobState.COMPLETED, *,
    kind: SourceKind = SourceKind.MAGNET, entry: EntryId = HERE,
) -> Job:  # fmt: skip
    return Job(
        id=JobId(UUID(int=5)), number=JobNumber(1), user_id=UserId(UUID(int=6)), source="", kind=kind, state=state,
        created_at=NOW, updated_at=NOW, entry_id=entry,
        options=options or {},
    )  # fmt: skip


@pytest.mark.parametrize("options", [{"seed-ratio": "2"}, {"seed-time": "60s"}, {"seed-ratio": "2", "split": "3"}])
def test_a_completed_torrent_asks_by_its_options_until_they_are_taken_off(options: dict[str, str]) -> None:
    job = a_job(options)
    assert seeders([job]) == [job]
    assert seeders([without_seeding(job)]) == []
    assert without_seeding(job).options == {name: value for name, value in options.items() if name == "split"}


def test_what_is_no_torrent_or_not_complete_is_not_seeded() -> None:
    assert seeders([a_job({"split": "3"}), a_job(ASKS, kind=SourceKind.URL)]) == []
    assert seeders([a_job(ASKS, state) for state in JobState if state is not JobState.COMPLETED]) == []


def test_seeding_gives_way_to_another_copy_that_is_downloaded() -> None:
    assert rival([a_job(state=JobState.ACTIVE, entry=THERE)], HERE)
    ours, waiting = a_job(state=JobState.ACTIVE), a_job(state=JobState.QUEUED, entry=THERE)
    assert not rival([ours, waiting, a_job(entry=THERE)], HERE)
