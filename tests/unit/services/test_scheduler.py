"""Who runs next: limits, room, turns. Every limit has a test that fails when it is ignored."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from oddaemon.balancers.round_robin import RoundRobin
from oddaemon.domain.admission import Limits, NodeRoom, allowance
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.job import Hold
from oddaemon.domain.node import DiskUsage, EngineHealth, NodeSnapshot
from oddaemon.domain.types import Bytes, EngineName, EntryId, JobId, JobNumber, NodeId, ReplicaId, UserId
from oddaemon.domain.user import UserLimits
from oddaemon.ports.store import ClaimRow
from oddaemon.services.scheduler import Schedule, Scheduler, Work

ARIA2, YTDLP = EngineName("aria2"), EngineName("ytdlp")
HERE = NodeId("here")
GB = 1 << 30
ALICE, BOB = UserId(UUID(int=1)), UserId(UUID(int=2))


def node(free: int = 100 * GB, *, online: bool = True, present: bool = True, engine_ok: bool = True) -> NodeSnapshot:
    return NodeSnapshot(
        id=HERE,
        name="here",
        is_controller=True,
        online=online,
        disk=DiskUsage(total=Bytes(1000 * GB), free=Bytes(free), present=present),
        engines=(
            EngineHealth(name=ARIA2, ok=engine_ok, max_concurrent=5, message="" if engine_ok else "killed"),
            EngineHealth(name=YTDLP, ok=True, max_concurrent=3),
        ),
    )


def claim(
    number: int, user: UserId = ALICE, *, entry: int | None = None, active: bool = False, hold: Hold = Hold.NONE,
    priority: int = 0, size: int | None = GB, engine: EngineName = ARIA2,
) -> ClaimRow:  # fmt: skip
    return ClaimRow(
        job_id=JobId(UUID(int=number)), number=JobNumber(number), user_id=user,
        entry_id=EntryId(UUID(int=1000 + (number if entry is None else entry))), engine=engine, active=active,
        hold=hold,
        priority=priority, size=None if size is None else Bytes(size), node_wish=None,
    )  # fmt: skip


def works(claims: Sequence[ClaimRow], **changes: object) -> dict[EntryId, Work]:
    return {
        found.entry_id: Work(
            entry_id=found.entry_id,
            engine=found.engine,
            remaining=found.size,
            running=found.active,
            replica_id=ReplicaId(found.entry_id) if found.active else None,
            node_id=HERE if found.active else None,
            **changes,  # type: ignore[arg-type]
        )
        for found in claims
    }


def plan(
    claims: Sequence[ClaimRow], limits: Limits | None = None, *, of: dict[EntryId, Work] | None = None,
    room: NodeRoom | None = None, scheduler: Scheduler | None = None, own: Mapping[UserId, UserLimits] | None = None,
    over: Mapping[JobId, Reason] | None = None,
) -> Schedule:  # fmt: skip
    return (scheduler or Scheduler(RoundRobin())).plan(
        claims, works(claims) if of is None else of, {HERE: room or NodeRoom(node=node())}, limits or Limits(),
        own=own, over=over,
    )  # fmt: skip


def test_a_paused_queue_starts_nothing_and_stops_nothing() -> None:
    running, joining, waiting = claim(1, active=True), claim(2, entry=1), claim(3)
    schedule = plan([running, joining, waiting], Limits(queue_paused=True), of=works([running, waiting]))
    assert numbers(schedule) == {1, 2}
    assert not schedule.starts
    assert not schedule.stop
    assert code(schedule, 3) is ReasonCode.QUEUE_PAUSED


def numbers(schedule: Schedule) -> set[int]:
    return {job.int for job in schedule.active}


def code(schedule: Schedule, number: int) -> ReasonCode:
    return schedule.reasons[JobId(UUID(int=number))].code


def test_the_user_limit_holds_and_says_so() -> None:
    schedule = plan([claim(n) for n in range(1, 5)], Limits(per_user=2))
    assert numbers(schedule) == {1, 2}
    assert schedule.reasons[JobId(UUID(int=3))].message == "user limit: 2 of 2 running"


def test_a_users_own_limit_goes_before_the_setting_also_as_none() -> None:
    carol = UserId(UUID(int=3))
    claims = [claim(n, user) for n, user in enumerate([ALICE, BOB, carol] * 4, start=1)]
    own = {ALICE: UserLimits(running=1), BOB: UserLimits(running=0), carol: UserLimits(jobs=1)}
    schedule = plan(claims, Limits(per_user=2, per_node=0), own=own, room=NodeRoom(node=roomy_node()))
    counts = Counter(found.user_id for found in claims if found.job_id in schedule.active)
    assert counts == {ALICE: 1, BOB: 4, carol: 2}
    assert {reason.message for reason in schedule.reasons.values()} == {
        "user limit: 1 of 1 running", "user limit: 2 of 2 running",
    }  # fmt: skip


def roomy_node(slots: int = 0) -> NodeSnapshot:
    """Of which no engine has a limit of its own."""
    return replace(node(100_000 * GB), engines=(EngineHealth(name=ARIA2, ok=True, max_concurrent=slots),))


def test_when_a_users_limit_is_lowered_the_last_of_them_wait() -> None:
    claims = [claim(n, BOB if n == 4 else ALICE, active=True, priority=5 if n == 2 else 0) for n in (1, 2, 3, 4)]
    schedule = plan(claims, Limits(per_user=3), own={ALICE: UserLimits(running=2)})
    assert numbers(schedule) == {1, 2, 4}
    assert schedule.stop == {claims[2].entry_id}
    assert schedule.reasons[claims[2].job_id].message == "user limit: 2 of 2 running"


def test_what_one_user_may_not_run_any_more_goes_on_for_another() -> None:
    claims = [claim(1, active=True), claim(2, entry=7, active=True), claim(3, BOB, entry=7, active=True)]
    schedule = plan(claims, own={ALICE: UserLimits(running=1)})
    assert numbers(schedule) == {1, 3}
    assert not schedule.stop
    assert code(schedule, 2) is ReasonCode.USER_LIMIT


def test_who_has_no_room_for_it_holds_up_neither_his_others_nor_anybody_else() -> None:
    full = Reason(code=ReasonCode.STORAGE_LIMIT, message="storage limit: 9 of 10 GB used, needs 2 GB")
    claims = [claim(1, active=True), claim(2), claim(3), claim(4, BOB, entry=1, active=True), claim(5, active=True)]
    over = {claims[place].job_id: full for place in (0, 1, 4)}
    schedule = plan(claims, Limits(per_user=1), over=over)
    assert numbers(schedule) == {3, 4}
    assert schedule.stop == {claims[4].entry_id}
    assert [code(schedule, number) for number in (1, 2, 5)] == [ReasonCode.STORAGE_LIMIT] * 3


@pytest.mark.parametrize("seed", range(5))
def test_slots_go_round_among_many_users_and_nobody_starves(seed: int) -> None:
    """Twenty users with own limits and queues that never end, four slots. Downloads take a random number of steps."""
    dice, scheduler, limits = random.Random(seed), Scheduler(RoundRobin()), Limits(per_user=3, per_node=4)
    people = [UserId(UUID(int=number)) for number in range(1, 21)]
    own = {who: UserLimits(running=dice.choice([1, 2, 0, None])) for who in people}
    queue: dict[int, ClaimRow] = {}
    starts = Counter[UserId]()
    number = 0
    for step in range(400):
        for who in people:
            # the first ones add by the hundred, the last ones now and then
            while sum(row.user_id == who for row in queue.values()) < (20 if who.int <= 3 else 2):
                number += 1
                queue[number] = claim(number, who, priority=dice.choice([-10, 0, 10]))
        rows = list(queue.values())
        schedule = plan(rows, limits, room=NodeRoom(node=roomy_node(4)), scheduler=scheduler, own=own)
        running = [row for row in rows if row.job_id in schedule.active]
        assert len(running) == 4, step
        for who, count in Counter(row.user_id for row in running).items():
            assert count <= (allowance(limits, own[who]).running or count)
        for start in schedule.starts:
            mine = next(row for row in running if row.entry_id == start.work.entry_id)
            starts[mine.user_id] += 1
            waiting = [row for row in rows if row.user_id == mine.user_id and row.job_id not in schedule.active]
            assert all((-mine.priority, mine.number) < (-row.priority, row.number) for row in waiting)
        done = {row.job_id for row in running if dice.random() < 0.5}
        queue = {
            found: replace(row, active=row.job_id in schedule.active)
            for found, row in queue.items() if row.job_id not in done
        }  # fmt: skip
    # everyone in the same measure, whoever has how many waiting
    assert max(starts.values()) - min(starts[who] for who in people) <= 2


def test_the_node_limit_holds() -> None:
    claims = [claim(n, UserId(UUID(int=n))) for n in range(1, 5)]
    schedule = plan(claims, Limits(per_node=3))
    assert len(schedule.starts) == 3
    assert code(schedule, 4) is ReasonCode.NODE_LIMIT


def test_the_engine_limit_holds_and_another_engine_goes_on() -> None:
    claims = [claim(n, engine=YTDLP) for n in range(1, 5)] + [claim(9)]
    schedule = plan(claims, Limits(per_user=0, per_node=0))
    assert numbers(schedule) == {1, 2, 3, 9}
    assert code(schedule, 4) is ReasonCode.ENGINE_LIMIT


def test_two_downloads_that_fit_only_one_by_one_do_not_run_together() -> None:
    limits = Limits(min_disk_free=Bytes(GB))
    schedule = plan([claim(1, size=8 * GB), claim(2, size=8 * GB)], limits, room=NodeRoom(node=node(11 * GB)))
    assert numbers(schedule) == {1}
    assert code(schedule, 2) is ReasonCode.WAITING_FOR_SPACE
    assert "2.0 GiB above the reserve, needs 8.0 GiB" in schedule.reasons[JobId(UUID(int=2))].message


def test_what_runs_reserves_what_it_still_needs() -> None:
    claims = [claim(1, size=8 * GB, active=True), claim(2, size=8 * GB)]
    schedule = plan(claims, Limits(min_disk_free=Bytes(GB)), room=NodeRoom(node=node(11 * GB)))
    assert numbers(schedule) == {1}
    assert not schedule.stop


def test_a_smaller_one_may_pass_one_that_does_not_fit() -> None:
    claims = [claim(1, size=50 * GB), claim(2, size=GB)]
    schedule = plan(claims, Limits(min_disk_free=Bytes(GB)), room=NodeRoom(node=node(11 * GB)))
    assert numbers(schedule) == {2}


def test_users_are_served_in_turn() -> None:
    claims = [claim(n, ALICE) for n in range(1, 11)] + [claim(11, BOB)]
    schedule = plan(claims, Limits(per_node=2))
    assert numbers(schedule) == {1, 11}


def test_turns_are_remembered_from_plan_to_plan() -> None:
    scheduler = Scheduler(RoundRobin())
    first = plan([claim(1, ALICE), claim(2, BOB)], Limits(per_node=1), scheduler=scheduler)
    second = plan([claim(3, ALICE), claim(4, BOB)], Limits(per_node=1), scheduler=scheduler)
    users = {1: ALICE, 2: BOB, 3: ALICE, 4: BOB}
    assert {users[n] for n in numbers(first)} | {users[n] for n in numbers(second)} == {ALICE, BOB}


def test_priority_counts_within_a_user_then_age() -> None:
    claims = [claim(1), claim(2, priority=10), claim(3, priority=10)]
    assert numbers(plan(claims, Limits(per_user=2))) == {2, 3}


def test_a_replica_stops_when_all_its_claimants_are_held() -> None:
    held = [claim(1, entry=1, hold=Hold.USER), claim(2, BOB, entry=1, hold=Hold.USER)]
    of = {
        held[0].entry_id: Work(entry_id=held[0].entry_id, engine=ARIA2, remaining=Bytes(GB), running=True, node_id=HERE)
    }
    assert plan(held, of=of).stop == {held[0].entry_id}


def test_a_replica_goes_on_for_the_claimant_who_is_not_held() -> None:
    claims = [claim(1, entry=1, hold=Hold.USER), claim(2, BOB, entry=1, active=True)]
    of = {
        claims[0].entry_id: Work(
            entry_id=claims[0].entry_id, engine=ARIA2, remaining=Bytes(GB), running=True, node_id=HERE
        )
    }
    schedule = plan(claims, of=of)
    assert not schedule.stop
    assert numbers(schedule) == {2}
    assert code(schedule, 1) is ReasonCode.PAUSED


def test_a_joined_job_over_its_users_limit_waits_and_does_not_stop_the_others() -> None:
    claims = [claim(1, ALICE, entry=1, active=True), claim(2, BOB, entry=2, active=True), claim(3, BOB, entry=1)]
    of = works(claims[:2])
    schedule = plan(claims, Limits(per_user=1), of=of)
    assert numbers(schedule) == {1, 2}
    assert code(schedule, 3) is ReasonCode.USER_LIMIT


def test_everyone_on_an_entry_that_starts_becomes_active() -> None:
    claims = [claim(1, ALICE, entry=1), claim(2, BOB, entry=1)]
    schedule = plan(claims)
    assert numbers(schedule) == {1, 2}
    assert len(schedule.starts) == 1


def test_a_waiting_attempt_shows_its_own_reason() -> None:
    reason = Reason(code=ReasonCode.RETRY, message="host said 429; next try 14:03:00 UTC")
    claims = [claim(1)]
    schedule = plan(claims, of=works(claims, blocked=reason))
    assert schedule.reasons[JobId(UUID(int=1))] == reason


def test_a_stalled_one_lets_the_others_go_first() -> None:
    claims = [claim(1), claim(2)]
    of = works(claims[:1], last_resort=True) | works(claims[1:])
    assert numbers(plan(claims, Limits(per_user=1), of=of)) == {2}


def test_a_full_or_missing_disk_and_a_dead_engine_are_named() -> None:
    assert code(plan([claim(1)], room=NodeRoom(node=replace(node(), disk_low=True))), 1) is ReasonCode.NO_SPACE
    assert code(plan([claim(1)], room=NodeRoom(node=node(present=False))), 1) is ReasonCode.STORAGE_MISSING
    assert code(plan([claim(1)], room=NodeRoom(node=node(engine_ok=False))), 1) is ReasonCode.ENGINE_DOWN
    assert code(plan([claim(1)], room=NodeRoom(node=node(online=False))), 1) is ReasonCode.NODE_OFFLINE


def test_every_waiting_job_has_a_reason_and_no_limit_is_ever_passed() -> None:
    """A thousand random steps: F2 of the failures elsewhere."""
    random.seed(7)
    scheduler, limits = Scheduler(RoundRobin()), Limits(per_user=2, per_node=5, min_disk_free=Bytes(GB))
    claims: dict[int, ClaimRow] = {}
    users = [UserId(UUID(int=n)) for n in (1, 2, 3, 4)]
    for step in range(1, 1001):
        choice = random.random()
        if choice < 0.5 or not claims:
            claims[step] = claim(step, random.choice(users), size=random.choice([None, GB, 3 * GB]))
        elif choice < 0.9:
            del claims[random.choice(list(claims))]
        rows = list(claims.values())
        schedule = plan(rows, limits, room=NodeRoom(node=node(12 * GB)), scheduler=scheduler)
        running = [row for row in rows if row.job_id in schedule.active]
        assert len(running) <= limits.per_node
        assert sum(row.size or 0 for row in running) <= 11 * GB
        for user in users:
            assert sum(row.user_id == user for row in running) <= limits.per_user
        for row in rows:
            assert (row.job_id in schedule.active) != (row.job_id in schedule.reasons)
        claims = {
            number: claim(number, row.user_id, size=row.size, active=row.job_id in schedule.active)
            for number, row in claims.items()
        }


def test_two_downloads_of_one_torrent_take_turns_without_a_slot() -> None:
    first, second, other = claim(1), claim(2, BOB), claim(3, BOB)
    same, one = "ab" * 20, works([first, second], info_hash="ab" * 20)
    schedule = plan([first, second, other], of={**one, **works([other], info_hash="cd" * 20)})
    assert numbers(schedule) == {1, 3}
    assert code(schedule, 2) is ReasonCode.SAME_TORRENT
    running = claim(1, active=True)
    schedule = plan([running, second], of={**one, **works([running], info_hash=same)})
    assert numbers(schedule) == {1}
    assert code(schedule, 2) is ReasonCode.SAME_TORRENT
    assert numbers(plan([second], of=one)) == {2}
