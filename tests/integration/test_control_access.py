"""Who may make which call of the control API: every call of every service, and every kind of caller."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import betterproto2
import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from odproto.error_codes import ERROR_METADATA_KEY
from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.control import v1 as pb

from oddaemon.api.auth import Peer
from oddaemon.api.control.calls import Gate
from oddaemon.api.control.rules import ADMIN, OPEN, RULES
from oddaemon.domain.user import Principal, Role, Scope
from tests.support.accounts import PASSWORD
from tests.support.control import Desk, desk
from tests.support.wait import until

SECONDS = 15.0
STRANGE_UID = 54_321
REFUSED = (Status.UNAUTHENTICATED, Status.PERMISSION_DENIED)
NUMBER = "9999"
"""Of no job."""
STREAMS = ("Watch", "Events", "Logs")
FOLLOWING: Mapping[str, Callable[[int], Any]] = {
    "Watch": lambda job: pb.WatchRequest(interval_ms=100),
    "Events": lambda job: pb.EventsRequest(),
    "Logs": lambda job: pb.LogsRequest(job=str(job), follow=True),
}


def bases() -> list[Any]:
    """Every generated service."""
    found = [value for name, value in vars(pb).items() if name.endswith("ServiceBase") and inspect.isclass(value)]
    assert len(found) >= 3
    return found


def routes() -> dict[str, Any]:
    """Every call by its name, with its route."""
    listed = [(path, route) for base in bases() for path, route in base().__mapping__().items()]
    found = {path.rpartition("/")[2]: (path, route) for path, route in listed}
    assert len(found) == len(listed), "two calls have the same name"
    return found


def empty(name: str, route: Any) -> Any:
    """A request that says nothing, neither waits for news nor asks for what only admins are told."""
    special = {"Events": pb.EventsRequest(no_follow=True), "Logs": pb.LogsRequest(job=NUMBER)}
    return special.get(name) or route.request_type()


@dataclass(slots=True)
class Outcome:
    """How a call ended: the status and error, or the first answer."""

    status: Status = Status.OK
    error: common.Error | None = None
    answer: betterproto2.Message | None = None

    @property
    def code(self) -> str:
        """Of the call, or of the one thing that it was about."""
        if self.error is not None:
            return self.error.code
        for name in ("results", "jobs", "items"):
            for one in getattr(self.answer, name, []):
                if getattr(one, "error", None) is not None:
                    return str(one.error.code)
        return ""

    @property
    def told(self) -> str:
        """All that a caller can see of it, but for the number that it asked with."""
        return re.sub(rf"\b(1|{NUMBER})\b", "N", f"{self.status} {self.error} {self.answer}")


@dataclass(slots=True)
class House:
    """Somebody of each kind; the owner has job 1."""

    served: Desk
    channel: Channel
    keys: dict[str, str] = field(default_factory=dict)

    async def call(self, name: str, request: Any, authorization: str | None = None, uid: int = -1) -> Outcome:
        """As the bearer, or as the uid (-1: whoever runs the tests)."""
        asking = self._asking(name, authorization, uid)
        try:
            async with asyncio.timeout(SECONDS), asking as stream:
                await stream.send_message(request, end=True)
                answer = await stream.recv_message()
                if name in STREAMS and answer is not None:
                    await stream.cancel()
                return Outcome(answer=answer)
        except GRPCError as error:
            raw = asking.trailing_metadata.get(ERROR_METADATA_KEY) if asking.trailing_metadata else None
            told = common.Error.parse(raw) if isinstance(raw, bytes) else None
            return Outcome(status=error.status, error=told)

    def _asking(self, name: str, authorization: str | None, uid: int) -> Any:
        self.served.gate.peer_of = lambda stream: Peer(uid=os.geteuid() if uid < 0 else uid, pid=1)
        path, route = routes()[name]
        metadata = {} if authorization is None else {"authorization": authorization}
        return self.channel.request(
            path, route.cardinality, route.request_type, route.reply_type, metadata=metadata
        )

    @contextlib.asynccontextmanager
    async def following(
        self, name: str, authorization: str | None, uid: int = -1, job: int = 1
    ) -> AsyncIterator[Any]:
        """A task with the outcome of a stream that has begun."""
        running = self.served.gate.running

        async def follow() -> GRPCError | StreamTerminatedError | None:
            try:
                async with self._asking(name, authorization, uid) as stream:
                    await stream.send_message(FOLLOWING[name](job), end=True)
                    async for _ in stream:
                        pass
            except (GRPCError, StreamTerminatedError) as error:
                return error
            return None

        task = asyncio.create_task(follow())
        await until(lambda: self.served.gate.running == running + 1, what="the stream to begin")
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def key(self, who: Principal, *scopes: Scope, **more: Any) -> str:
        name = f"key {len(self.keys)} of {who.username}"
        made = await self.served.parts.accounts.create_key(who, name, scopes or (Scope.ADMIN,), **more)
        self.keys[name] = f"Bearer {made.secret}"
        return self.keys[name]

    async def expired_key(self, who: Principal) -> str:
        made = await self.served.parts.accounts.create_key(who, "expired", [Scope.ADMIN])
        past = self.served.parts.clock.now() - timedelta(seconds=1)
        await self.served.parts.store.write(lambda tx: tx.api_keys.renew(made.key.id, made.key.digest, past))
        return f"Bearer {made.secret}"

    async def account(self, name: str) -> Principal:
        accounts = self.served.parts.accounts
        user = await accounts.add_user(self.served.home.admin, name, password=PASSWORD)
        return replace(self.served.home.admin, user_id=user.id, username=name, role=user.role)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with desk(tmp_path) as served, served.channel() as channel:
        yield House(served, channel)


# the rules are complete


def test_every_call_has_a_rule_and_every_rule_a_call() -> None:
    assert set(RULES) == set(routes())


def test_a_call_without_a_rule_keeps_the_daemon_from_starting() -> None:
    path, route = routes()["Hello"]
    with pytest.raises(KeyError):
        Gate(None).guard(path.replace("Hello", "NewCall"), route)  # type: ignore[arg-type]


async def test_the_socket_serves_every_call(house: House) -> None:
    assert set(house.served.server._mapping) == {path for path, _ in routes().values()}


# every call, every caller


async def test_nobody_gets_past_the_calls_by_which_one_becomes_somebody(house: House) -> None:
    for name, (_, route) in routes().items():
        request = empty(name, route)
        for authorization in ("Bearer nonsense", "Bearer odk_" + "0" * 32 + "_" + "k" * 43, "Basic YTpi", "Bearer"):
            outcome = await house.call(name, request, authorization)
            if RULES[name] is not OPEN:
                assert outcome.status is Status.UNAUTHENTICATED, name
        outcome = await house.call(name, request, uid=STRANGE_UID)
        if RULES[name] is not OPEN:
            assert outcome.status is Status.PERMISSION_DENIED, name
            assert str(STRANGE_UID) in str(outcome.error), name
        else:
            assert str(STRANGE_UID) not in str(outcome.error), name


async def test_a_credential_allows_what_its_scope_says_and_no_more(house: House) -> None:
    owner = await house.account("owner")
    boss = house.served.home.admin
    order = [Scope.READ, Scope.JOBS, Scope.ADMIN]
    for who, is_admin in ((owner, False), (boss, True)):
        for scope in order:
            key = await house.key(who, scope)
            for name, (_, route) in routes().items():
                rule = RULES[name]
                if rule.scope is None:
                    continue
                outcome = await house.call(name, empty(name, route), key)
                enough = order.index(scope) >= order.index(rule.scope) and (is_admin or not rule.admin)
                # the call itself refuses an empty old password, and says so
                let_in = outcome.status not in REFUSED or "the old password is wrong" in str(outcome.error)
                assert let_in == enough, (name, scope, outcome)
                if not enough and (is_admin or not rule.admin):
                    assert f"lacks the scope {rule.scope}" in str(outcome.error), name


async def test_whoever_is_locked_out_may_do_nothing(house: House) -> None:
    accounts, admin = house.served.parts.accounts, house.served.home.admin
    disabled, removed, lapsed = [await house.account(name) for name in ("disabled", "removed", "lapsed")]
    await accounts.link_uid(admin, "disabled", STRANGE_UID)
    tokens = await accounts.login("disabled", PASSWORD, address="")
    dead = [await house.key(disabled), await house.key(removed), f"Bearer {tokens.access_token}"]
    short = await house.expired_key(lapsed)
    await accounts.set_active(admin, "disabled", False)
    await accounts.remove_user(admin, "removed", keep_jobs=False)
    for name, (_, route) in routes().items():
        if RULES[name] is OPEN:
            continue
        for authorization in (*dead, short):
            outcome = await house.call(name, empty(name, route), authorization)
            assert outcome.status is Status.UNAUTHENTICATED, name
        outcome = await house.call(name, empty(name, route), uid=STRANGE_UID)
        assert outcome.status is Status.PERMISSION_DENIED, name


# a stranger's job is no job

JOB = "1"
ABOUT: Mapping[str, Callable[[str], Any]] = {
    "GetJobs": lambda job: pb.GetJobsRequest(selector=pb.JobSelector(ids=[job]), with_files=True, with_peers=True),
    "PauseJobs": lambda job: pb.PauseJobsRequest(selector=pb.JobSelector(ids=[job])),
    "ResumeJobs": lambda job: pb.ResumeJobsRequest(selector=pb.JobSelector(ids=[job])),
    "CancelJobs": lambda job: pb.CancelJobsRequest(selector=pb.JobSelector(ids=[job]), dry_run=True),
    "RetryJobs": lambda job: pb.RetryJobsRequest(selector=pb.JobSelector(ids=[job]), dry_run=True),
    "RemoveJobs": lambda job: pb.RemoveJobsRequest(selector=pb.JobSelector(ids=[job]), dry_run=True),
    "SetJobs": lambda job: pb.SetJobsRequest(selector=pb.JobSelector(ids=[job]), changes=["priority=1"]),
    "Watch": lambda job: pb.WatchRequest(selector=pb.JobSelector(ids=[job])),
    "ListFiles": lambda job: pb.ListFilesRequest(job=job),
    "SelectFiles": lambda job: pb.SelectFilesRequest(job=job, selection="all"),
    "CreateLinks": lambda job: pb.CreateLinksRequest(job=job),
    "ListLinks": lambda job: pb.ListLinksRequest(job=job),
    "RevokeLinks": lambda job: pb.RevokeLinksRequest(job=job),
    "Logs": lambda job: pb.LogsRequest(job=job),
}
"""Calls about one job."""


def test_no_call_about_jobs_is_left_out() -> None:
    about = {
        name for name, (_, route) in routes().items()
        if {"job", "selector"} & {field.name for field in dataclasses.fields(route.request_type)}
    }  # fmt: skip
    assert about == set(ABOUT)


async def test_a_stranger_s_job_looks_exactly_like_one_that_does_not_exist(house: House) -> None:
    owner, stranger = await house.account("owner"), await house.account("stranger")
    view = await house.served.home.add("http://sim.invalid/a.bin", owner, paused=True)
    assert str(view.job.number) == JOB
    own, other = await house.key(owner), await house.key(stranger)
    before = await house.served.home.until_job(lambda job: job.entry_id is not None, view)
    for name, request in ABOUT.items():
        theirs = await house.call(name, request(JOB), other)
        none = await house.call(name, request(NUMBER), other)
        assert theirs.told == none.told, name
        assert await house.served.home.job(view) == before, name
    for name, request in ABOUT.items():
        for authorization in (own, None):  # None: the operator's uid, an admin
            assert (await house.call(name, request(JOB), authorization)).code != "NOT_FOUND", name
    for authorization, seen in ((own, [1]), (other, []), (None, [1])):
        listed = await house.call("ListJobs", pb.ListJobsRequest(), authorization)
        assert isinstance(listed.answer, pb.ListJobsResponse)
        assert ([job.id for job in listed.answer.jobs], listed.answer.total) == (seen, len(seen))
        status = await house.call("GetStatus", pb.GetStatusRequest(), authorization)
        assert isinstance(status.answer, pb.GetStatusResponse)
        assert status.answer.jobs["total"] == len(seen)
        rows = pb.EventsRequest(from_start=True, types=["job.*"], no_follow=True)
        events = await house.call("Events", rows, authorization)
        assert (events.answer is not None) == bool(seen)


async def test_a_stranger_s_keys_and_account_are_not_there_either(house: House) -> None:
    owner, stranger = await house.account("owner"), await house.account("stranger")
    own, other = await house.key(owner), await house.key(stranger)
    await house.served.parts.accounts.login("owner", PASSWORD, address="")
    [session] = await house.served.parts.accounts.list_sessions(owner)
    name = next(iter(house.keys))
    key_id = own.partition(" ")[2][4:36]
    for method, request in (
        ("ListApiKeys", pb.ListApiKeysRequest(user="owner")), ("RotateApiKey", pb.RotateApiKeyRequest(key=name)),
        ("RotateApiKey", pb.RotateApiKeyRequest(key=key_id)), ("RevokeApiKey", pb.RevokeApiKeyRequest(key=key_id)),
        ("RevokeApiKey", pb.RevokeApiKeyRequest(key=name, user="owner")), ("GetUser", pb.GetUserRequest(name="owner")),
        ("GetUsage", pb.GetUsageRequest(name="owner")),
        ("CreateApiKey", pb.CreateApiKeyRequest(name="x", scopes=["read"], user="owner")),
        ("RevokeEverything", pb.RevokeEverythingRequest(name="owner")),
        ("ListSessions", pb.ListSessionsRequest(user="owner")),
        ("EndSession", pb.EndSessionRequest(session=str(session.id))),
        ("EndSession", pb.EndSessionRequest(session=str(session.id), user="owner")),
    ):  # fmt: skip
        outcome = await house.call(method, request, other)
        assert (outcome.status, outcome.code) == (Status.NOT_FOUND, "NOT_FOUND"), method
    assert (await house.call("WhoAmI", pb.WhoAmIRequest(), own)).status is Status.OK
    usage = (await house.call("GetUsage", pb.GetUsageRequest(), own)).answer
    assert isinstance(usage, pb.UsageResponse)
    assert usage.limits is not None
    assert (usage.limits.running, usage.limits.storage) == (5, 0)
    listed = await house.call("ListApiKeys", pb.ListApiKeysRequest(), other)
    assert isinstance(listed.answer, pb.ListApiKeysResponse)
    assert [key.user for key in listed.answer.keys] == ["stranger"]


# how it is proved


async def test_what_is_sent_counts_and_not_the_uid(house: House) -> None:
    maya = await house.account("maya")
    await house.served.parts.accounts.link_uid(house.served.home.admin, "maya", STRANGE_UID)
    linked = await house.call("WhoAmI", pb.WhoAmIRequest(), uid=STRANGE_UID)
    assert isinstance(linked.answer, pb.WhoAmIResponse)
    assert linked.answer.user is not None
    assert (linked.answer.user.name, linked.answer.auth, linked.answer.uid) == ("maya", "peercred", STRANGE_UID)
    assert (linked.answer.user.unix_user, linked.answer.user.unix_uid) == (str(STRANGE_UID), STRANGE_UID)
    by_key = await house.call("WhoAmI", pb.WhoAmIRequest(), await house.key(maya, Scope.READ))
    assert isinstance(by_key.answer, pb.WhoAmIResponse)
    assert by_key.answer.user is not None
    assert (by_key.answer.user.name, by_key.answer.auth, by_key.answer.scopes) == ("maya", "apikey", ["read"])
    refused = await house.call("WhoAmI", pb.WhoAmIRequest(), "Bearer odk_wrong")
    assert refused.status is Status.UNAUTHENTICATED, "a bad credential must not fall back to the uid"


async def test_logging_in_needs_no_more_than_the_socket(house: House) -> None:
    await house.account("maya")
    wrong = await house.call("Login", pb.LoginRequest(user="maya", password="wrong"), uid=STRANGE_UID)
    nobody = await house.call("Login", pb.LoginRequest(user="nobody", password="wrong"), uid=STRANGE_UID)
    assert wrong.status is Status.UNAUTHENTICATED
    assert wrong.told == nobody.told
    right = await house.call("Login", pb.LoginRequest(user="maya", password=PASSWORD), uid=STRANGE_UID)
    assert isinstance(right.answer, pb.LoginResponse)
    bearer = f"Bearer {right.answer.access_token}"
    assert (await house.call("WhoAmI", pb.WhoAmIRequest(), bearer, STRANGE_UID)).status is Status.OK
    refresh = pb.RefreshRequest(refresh_token=right.answer.refresh_token)
    fresh = await house.call("Refresh", refresh, uid=STRANGE_UID)
    assert isinstance(fresh.answer, pb.LoginResponse)
    assert (await house.call("Refresh", refresh, uid=STRANGE_UID)).status is Status.UNAUTHENTICATED
    again = f"Bearer {fresh.answer.access_token}"
    assert (await house.call("WhoAmI", pb.WhoAmIRequest(), again)).status is Status.UNAUTHENTICATED


async def test_logging_out_ends_the_session(house: House) -> None:
    await house.account("maya")
    tokens = await house.served.parts.accounts.login("maya", PASSWORD, address="")
    bearer = f"Bearer {tokens.access_token}"
    assert (await house.call("Logout", pb.LogoutRequest(), bearer)).status is Status.OK
    assert (await house.call("WhoAmI", pb.WhoAmIRequest(), bearer)).status is Status.UNAUTHENTICATED


async def test_an_invitation_makes_an_account_once(house: House) -> None:
    invited = await house.call("InviteUser", pb.InviteUserRequest(role="admin"))
    assert isinstance(invited.answer, pb.InviteUserResponse)
    closed = await house.call("Register", pb.RegisterRequest(user="noor", password=PASSWORD), uid=STRANGE_UID)
    assert closed.status is Status.PERMISSION_DENIED
    request = pb.RegisterRequest(user="noor", password=PASSWORD, invite=invited.answer.invite)
    made = await house.call("Register", request, uid=STRANGE_UID)
    assert isinstance(made.answer, pb.UserResponse)
    assert made.answer.user is not None
    assert (made.answer.user.name, made.answer.user.role, made.answer.user.has_password) == ("noor", "admin", True)
    request.user = "second"
    assert (await house.call("Register", request, uid=STRANGE_UID)).status is Status.PERMISSION_DENIED


async def test_no_secret_reaches_the_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        maya = await house.account("maya")
        key = await house.key(maya)
        await house.call("Login", pb.LoginRequest(user="maya", password=PASSWORD))
        await house.call("Login", pb.LoginRequest(user="maya", password="wrong horse"))
        await house.call("SetUserPassword", pb.SetUserPasswordRequest(name="maya", password="other horse"))
        await house.call("WhoAmI", pb.WhoAmIRequest(), key)
        invited = await house.call("InviteUser", pb.InviteUserRequest())
        await house.call("Refresh", pb.RefreshRequest(refresh_token="odr_" + "a" * 32 + "_" + "r" * 43))
    assert isinstance(invited.answer, pb.InviteUserResponse)
    # what the HTTP/2 packages say at this level the daemon does not let into its log
    own = [record for record in caplog.records if record.name.startswith("oddaemon")]
    text = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in own)
    assert "call" in text
    for secret in (PASSWORD, "wrong horse", "other horse", key[-43:], invited.answer.invite[-43:], "r" * 43):
        assert secret not in text


# streams end with the access


async def test_streams_end_within_a_second_of_the_access_that_they_were_asked_for_with(house: House) -> None:
    accounts, admin = house.served.parts.accounts, house.served.home.admin
    ways: Mapping[str, Callable[[], Any]] = {
        "disabled": lambda: accounts.set_active(admin, "disabled", False),
        "password": lambda: accounts.set_password(admin, "password", "another horse"),
        "role": lambda: accounts.set_role(admin, "role", Role.ADMIN),
        "removed": lambda: accounts.remove_user(admin, "removed", keep_jobs=True),
        "revoked": lambda: accounts.revoke_key(admin, "the key", user="revoked"),
        "rotated": lambda: accounts.rotate_key(admin, "the key", user="rotated"),
        "everything": lambda: accounts.revoke_everything(admin),
    }
    for name, lock_out in ways.items():
        who = await house.account(name)
        job = (await house.served.home.add(f"http://sim.invalid/{name}.bin", who, paused=True)).job.number
        made = await accounts.create_key(who, "the key", [Scope.ADMIN])
        async with contextlib.AsyncExitStack() as stack:
            tasks = [
                await stack.enter_async_context(house.following(stream, f"Bearer {made.secret}", job=job))
                for stream in STREAMS
            ]
            await lock_out()
            for task in tasks:
                error = await asyncio.wait_for(task, SECONDS)
                assert isinstance(error, GRPCError), (name, error)
                assert error.status in REFUSED, name
        await until(lambda: house.served.gate.running == 0, what="the calls to end")


async def test_streams_of_a_linked_uid_end_when_it_is_disabled(house: House) -> None:
    await house.account("maya")
    await house.served.parts.accounts.link_uid(house.served.home.admin, "maya", STRANGE_UID)
    async with house.following("Watch", None, STRANGE_UID) as task:
        await house.served.parts.accounts.set_active(house.served.home.admin, "maya", False)
        error = await asyncio.wait_for(task, SECONDS)
    assert isinstance(error, GRPCError)
    assert error.status is Status.PERMISSION_DENIED


async def test_streams_outlive_the_end_of_another_key(house: House) -> None:
    maya = await house.account("maya")
    other, mine = await house.key(maya), await house.key(maya)
    accounts, calls = house.served.parts.accounts, house.served.gate._running
    async with house.following("Watch", mine) as task, house.following("Watch", None) as operators:
        (before,) = [call.who for call in calls.values() if call.who and call.who.user_id == maya.user_id]
        await accounts.revoke_key(maya, "key 0 of maya")
        assert (await house.call("WhoAmI", pb.WhoAmIRequest(), other)).status is Status.UNAUTHENTICATED

        await until(lambda: all(call.who != before for call in calls.values()), what="another look at the stream")
        assert not task.done()
        await accounts.revoke_key(maya, "key 1 of maya")
        await asyncio.wait_for(task, SECONDS)
        assert not operators.done()


async def test_a_caller_that_goes_away_leaves_no_task(house: House) -> None:
    names: Callable[[], list[str]] = lambda: [task.get_name() for task in asyncio.all_tasks()]  # noqa: E731
    async with house.following("Watch", None):
        await until(lambda: "access of a stream" in names(), what="the watcher")
    await until(lambda: "access of a stream" not in names(), what="the watcher's end")


async def test_a_store_that_does_not_answer_ends_no_stream(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = house.served.parts.accounts
    real, asked = type(accounts).ended, []

    async def broken(self: Any, who: Principal) -> None:
        asked.append(who)
        if len(asked) == 1:
            raise OSError("the disk is gone")
        await real(self, who)

    monkeypatch.setattr("oddaemon.api.control.calls.LOOK_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(type(accounts), "ended", broken)
    async with house.following("Watch", None) as task:
        await until(lambda: len(asked) == 2, what="the second look")
        assert not task.done()


def test_admin_calls_are_for_admins() -> None:
    admins = {path.rpartition("/")[2] for path in pb.AdminServiceBase().__mapping__()}
    assert {name for name in admins if RULES[name] is not ADMIN} == {"GetUser"}
    assert {name for name in set(routes()) - admins if RULES[name] is ADMIN} == {"PinCache"}
