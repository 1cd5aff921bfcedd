"""Keys, hits and the replica's transition table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.domain.cache import (
    REPLICA_TRANSITIONS,
    CacheKey,
    EntryFile,
    KeyKind,
    Replica,
    ReplicaState,
    hash_key,
    is_hit,
    moved,
    url_key,
)
from oddaemon.domain.errors import WrongState
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.types import Bytes, EngineName, EntryId, NodeId, ReplicaId, UserId

START = datetime(2026, 1, 1, tzinfo=UTC)
REASON = Reason(code=ReasonCode.QUEUED, message="its turn has not come")
REPLICA = Replica(
    id=ReplicaId(UUID(int=1)),
    entry_id=EntryId(UUID(int=2)),
    node_id=NodeId("n"),
    engine=EngineName("aria2"),
    created_at=START,
    updated_at=START,
    done=Bytes(5),
)
FILES = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=8).map(
    lambda flags: [
        EntryFile(index=index, path=f"f{index}", disk_path=f"f{index}", ready=ready, failed="gone" if failed else None)
        for index, (ready, failed) in enumerate(flags, 1)
    ]
)
WANTED = st.frozensets(st.integers(1, 9))


@given(FILES, WANTED)
def test_a_hit_means_that_every_wanted_file_can_be_had_and_one_is_there(
    files: list[EntryFile], wanted: frozenset[int]
) -> None:
    ready = {file.index for file in files if file.ready}
    given_up = {file.index for file in files if file.failed}
    assert is_hit(files, wanted, files_known=True) == (wanted <= ready | given_up and bool(wanted & ready))


@given(FILES, WANTED)
def test_nothing_is_a_hit_before_the_files_are_known(files: list[EntryFile], wanted: frozenset[int]) -> None:
    assert not is_hit(files, wanted, files_known=False)


@given(FILES, WANTED, st.integers(0, 7))
def test_a_file_that_becomes_ready_never_undoes_a_hit(
    files: list[EntryFile], wanted: frozenset[int], which: int
) -> None:
    grown = [replace(file, ready=True) if at == which else file for at, file in enumerate(files)]
    assert is_hit(grown, wanted, files_known=True) >= is_hit(files, wanted, files_known=True)


@given(FILES, WANTED)
def test_the_order_of_the_files_does_not_matter(files: list[EntryFile], wanted: frozenset[int]) -> None:
    assert is_hit(files[::-1], wanted, files_known=True) == is_hit(files, wanted, files_known=True)


@given(st.lists(st.sampled_from(ReplicaState), max_size=30))
def test_a_replica_moves_only_by_the_table(states: list[ReplicaState]) -> None:
    replica, at = REPLICA, START
    for state in states:
        at += timedelta(seconds=1)
        if state is replica.state or state in REPLICA_TRANSITIONS[replica.state]:
            before = replica
            replica = moved(replica, state, at=at, reason=REASON)
            assert replica == replace(before, state=state, updated_at=at, reason=REASON)
        else:
            with pytest.raises(WrongState):
                moved(replica, state, at=at)


def test_every_replica_can_be_deleted_and_no_deletion_is_undone() -> None:
    for state in ReplicaState:
        if state is not ReplicaState.DELETING:
            assert ReplicaState.DELETING in REPLICA_TRANSITIONS[state]
    assert not REPLICA_TRANSITIONS[ReplicaState.DELETING]


HASHES = st.binary(min_size=20, max_size=20).map(bytes.hex)
ENGINES = st.sampled_from([EngineName("aria2"), EngineName("ytdlp")])
KEYS = (
    st.builds(hash_key, ENGINES, HASHES)
    | st.builds(url_key, ENGINES, st.sampled_from(["http://e/a", "http://e/b"]), st.sampled_from(["", "0a", "0b"]))
    | st.builds(
        lambda engine, value: CacheKey(engine=engine, kind=KeyKind.CUSTOM_ID, value=value),
        ENGINES,
        st.text("ab:@", min_size=1, max_size=6),
    )
)


@given(KEYS, KEYS)
def test_different_content_never_shares_a_key(one: CacheKey, other: CacheKey) -> None:
    assert (one.full == other.full) == (one == other)


@given(KEYS, st.uuids(), st.uuids())
def test_private_content_shares_with_nobody(key: CacheKey, owner: UUID, other: UUID) -> None:
    private = key.private_to(UserId(owner))
    assert private.full != key.full
    assert private.full.endswith(f":@{owner}")
    assert (private.full == key.private_to(UserId(other)).full) == (owner == other)
