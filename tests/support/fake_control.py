"""A daemon's control API on a Unix socket, in this process: answers from a dictionary, and a place to break things."""

from __future__ import annotations

import asyncio
import copy
import datetime
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from grpclib.const import Status
from grpclib.events import RecvRequest, SendTrailingMetadata, listen
from grpclib.exceptions import GRPCError
from grpclib.server import Server
from odproto.error_codes import ERROR_METADATA_KEY
from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.control import v1 as pb

from tests.support.wait import until

NOW = datetime.datetime(2026, 1, 31, 12, 0, tzinfo=datetime.UTC)
ACTIVE, COMPLETED, FAILED = common.JobState.ACTIVE, common.JobState.COMPLETED, common.JobState.FAILED
PASSWORD = "correct horse"
API_KEY = "odk_" + "0" * 32 + "_" + "k" * 43
INVITATION = "odi_" + "0" * 32 + "_" + "i" * 43
SCOPES = ["read", "jobs", "admin"]


def job(number: int, **fields: Any) -> common.Job:
    known: dict[str, Any] = {
        "id": number, "uuid": f"0198c0de-0000-7000-8000-{number:012d}", "name": f"job {number}",
        "source": "https://origin.test/file.iso", "kind": "url", "state": common.JobState.ACTIVE,
        "hold": common.Hold.NONE, "engine": "aria2", "node": "nas", "user": "maya", "progress": 0.5, "size": 1000,
        "done": 500, "created_at": NOW, "rev": 1, "files_total": 1, "files_selected": 1,
    }  # fmt: skip
    return common.Job(**(known | fields))


def node(name: str, **fields: Any) -> common.Node:
    engine = common.Engine(name="aria2", version="1.37.0", ok=True, active=1, limit=5)
    known: dict[str, Any] = {
        "id": name, "role": "controller", "state": "online", "engines": [engine], "disk_total": 100, "disk_free": 50,
    }  # fmt: skip
    return common.Node(**(known | fields))


class FakeControl(pb.ControlServiceBase):
    """Jobs by number. `refuse` maps a call's name to the status and error it fails with."""

    def __init__(self) -> None:
        self.jobs: dict[int, common.Job] = {}
        self.files: dict[int, list[common.File]] = {}
        self.links: list[pb.Link] = []
        self.not_reached: list[pb.NodeNotReached] = []
        self.adds: list[pb.AddJobsRequest] = []
        self.calls: list[tuple[str, Any]] = []
        self.refuse: dict[str, tuple[Status, common.Error]] = {}
        self.api_major = 1
        self.watching: list[asyncio.Queue[pb.WatchResponse | None]] = []
        self.events_sent: list[pb.EventsResponse] = []
        self.trailer: common.Error | None = None
        self.hang = False
        self.cached = ["aria2:hash:" + "a" * 40]
        """Keys."""
        self.follows = False
        """Events and log go on for whoever follows them, with nothing new."""
        self.probed: list[common.File] = []
        self.nodes = [node("nas")]
        self.clock: datetime.datetime | None = None
        self.add_seconds = 0.0
        self.most_adds = 0
        """Requests of add that are answered before the daemon is draining; 0: all of them."""
        self.bearers: list[str | None] = []
        """The credential that each call came with."""
        self.accounts = FakeAccounts(self)
        self.probes_together = 1
        """Nobody is answered before so many have asked."""

    def note(self, name: str, message: Any) -> None:
        self.calls.append((name, message))
        if name in self.refuse:
            status, error = self.refuse[name]
            self.trailer = error
            raise GRPCError(status, error.message)

    def asked(self, name: str) -> Any:
        """The last request of this call."""
        return [message for called, message in self.calls if called == name][-1]

    async def hello(self, message: pb.HelloRequest) -> pb.HelloResponse:
        self.note("hello", message)
        if self.hang:
            await asyncio.sleep(3600)
        if self.bearers[-1] in self.accounts.refused:
            self.trailer = common.Error(code="UNAUTHENTICATED", message="this access token is not valid")
            raise GRPCError(Status.UNAUTHENTICATED, "this access token is not valid")
        return pb.HelloResponse(
            server_version="9.9.9", api_major=self.api_major, api_minor=3, user="maya", role="admin", auth="peercred",
            node="nas", epoch="e1", now=self.clock,
        )  # fmt: skip

    async def get_status(self, message: pb.GetStatusRequest) -> pb.GetStatusResponse:
        self.note("get_status", message)
        return pb.GetStatusResponse(
            version="9.9.9", role="controller", uptime_s=12.5, jobs={"active": 1, "total": 1}, nodes=self.nodes,
            pid=4242, store="sqlite", warnings=[],
        )  # fmt: skip

    async def add_jobs(self, message: pb.AddJobsRequest) -> pb.AddJobsResponse:
        self.note("add_jobs", message)
        self.adds.append(message)
        if self.most_adds and len(self.adds) > self.most_adds:
            self.trailer = common.Error(code="DRAINING", message="this daemon is being stopped")
            raise GRPCError(Status.UNAVAILABLE, self.trailer.message)
        await asyncio.sleep(self.add_seconds)
        results = []
        for item in message.items:
            if "refused" in item.source:
                error = common.Error(code="INVALID_SOURCE", message="not a source", hint="give a magnet")
                results.append(pb.AddResult(error=error))
                continue
            number = max(self.jobs, default=0) + 1
            self.jobs[number] = job(
                number, source=item.source, name=item.name or item.source or item.torrent_name, tags=list(item.tags)
            )
            results.append(pb.AddResult(job=self.jobs[number]))
        return pb.AddJobsResponse(results=results)

    async def probe(self, message: pb.ProbeRequest) -> pb.ProbeResponse:
        self.note("probe", message)
        together = self.probes_together
        await until(lambda: sum(name == "probe" for name, _ in self.calls) >= together, what="the other probes")
        return pb.ProbeResponse(
            name="thing", engine="aria2", size=10, cache_hit=False, would_run_on="nas",
            files=self.probed or [common.File(index=1, path="thing", size=10)],
            formats=[pb.Format(id="22", extension="mp4", width=1280, height=720)],
        )  # fmt: skip

    async def list_jobs(self, message: pb.ListJobsRequest) -> pb.ListJobsResponse:
        self.note("list_jobs", message)
        found = list(self.jobs.values())
        page = found[message.offset : message.offset + (message.limit or 100)]
        return pb.ListJobsResponse(jobs=page, total=len(found), rev=1)

    def _picked(self, selector: pb.JobSelector | None) -> list[tuple[str, common.Job | None]]:
        assert selector is not None
        if selector.all or selector.filter:
            return [(str(number), found) for number, found in self.jobs.items()]
        found: list[tuple[str, common.Job | None]] = []
        for text in selector.ids:
            first, _, last = text.partition("-")
            if text == "@last":
                found.append((text, self.jobs.get(max(self.jobs, default=0))))
            elif first.isdigit() and last.isdigit():
                found += [(text, self.jobs.get(number)) for number in range(int(first), int(last) + 1)]
            else:
                found.append((text, self.jobs.get(int(text)) if text.isdigit() else None))
        return found

    async def get_jobs(self, message: pb.GetJobsRequest) -> pb.GetJobsResponse:
        self.note("get_jobs", message)
        details = []
        for text, found in self._picked(message.selector):
            if found is None:
                details.append(pb.JobDetail(id=text, error=missing(text)))
            else:
                raw = '{"gid": "ab", "connections": "4"}' if message.with_engine_raw else ""
                details.append(pb.JobDetail(job=found, files=self.files.get(found.id, []), engine_raw=raw))
        return pb.GetJobsResponse(jobs=details)

    def _batch(self, name: str, message: Any) -> pb.BatchResponse:
        self.note(name, message)
        results = [
            pb.BatchResult(id=text, error=missing(text))
            if found is None
            else pb.BatchResult(id=text, job=found, freed_bytes=1000)
            for text, found in self._picked(message.selector)
        ]
        return pb.BatchResponse(results=results)

    async def pause_jobs(self, message: pb.PauseJobsRequest) -> pb.BatchResponse:
        return self._batch("pause_jobs", message)

    async def resume_jobs(self, message: pb.ResumeJobsRequest) -> pb.BatchResponse:
        return self._batch("resume_jobs", message)

    async def cancel_jobs(self, message: pb.CancelJobsRequest) -> pb.BatchResponse:
        return self._batch("cancel_jobs", message)

    async def retry_jobs(self, message: pb.RetryJobsRequest) -> pb.BatchResponse:
        return self._batch("retry_jobs", message)

    async def remove_jobs(self, message: pb.RemoveJobsRequest) -> pb.BatchResponse:
        return self._batch("remove_jobs", message)

    async def set_jobs(self, message: pb.SetJobsRequest) -> pb.BatchResponse:
        return self._batch("set_jobs", message)

    async def watch(self, message: pb.WatchRequest) -> AsyncIterator[pb.WatchResponse]:
        self.note("watch", message)
        if message.selector is not None:
            jobs = [found for _, found in self._picked(message.selector) if found is not None]
        else:
            jobs = list(self.jobs.values())[message.offset :][: message.limit or 200]
        total = len(jobs) if message.selector is not None else len(self.jobs)
        queue: asyncio.Queue[pb.WatchResponse | None] = asyncio.Queue()
        self.watching.append(queue)
        yield pb.WatchResponse(rev=1, snapshot=pb.Snapshot(jobs=copy.deepcopy(jobs), total=total))
        try:
            while (answer := await queue.get()) is not None:
                yield answer
        finally:
            self.watching.remove(queue)

    def change(self, number: int, **fields: Any) -> None:
        """Changes a job and tells every watcher of these fields alone."""
        for name, value in fields.items():
            setattr(self.jobs[number], name, value)
        patch = pb.JobPatch(id=number, fields=list(fields), job=common.Job(id=number, **fields))
        for queue in self.watching:
            queue.put_nowait(pb.WatchResponse(rev=2, patches=[patch]))

    async def list_files(self, message: pb.ListFilesRequest) -> pb.ListFilesResponse:
        self.note("list_files", message)
        found = self.files.get(int(message.job) if message.job.isdigit() else max(self.jobs), [])
        page = found[message.offset : message.offset + (message.limit or 1000)]
        return pb.ListFilesResponse(files=page, total=len(found))

    async def select_files(self, message: pb.SelectFilesRequest) -> pb.ListFilesResponse:
        self.note("select_files", message)
        found = self.files.get(int(message.job), [])
        return pb.ListFilesResponse(files=found, total=len(found))

    async def create_links(self, message: pb.CreateLinksRequest) -> pb.CreateLinksResponse:
        self.note("create_links", message)
        wanted = set(message.files)
        return pb.CreateLinksResponse(links=[one for one in self.links if not wanted or str(one.index) in wanted])

    async def list_links(self, message: pb.ListLinksRequest) -> pb.ListLinksResponse:
        self.note("list_links", message)
        found = [link for link in self.links if message.state in ("", link.state)]
        page = found[message.offset : message.offset + (message.limit or 100)]
        return pb.ListLinksResponse(links=page, total=len(found))

    async def revoke_links(self, message: pb.RevokeLinksRequest) -> pb.RevokeLinksResponse:
        self.note("revoke_links", message)
        count = len(message.ids) or len(self.links)
        return pb.RevokeLinksResponse(revoked=count, not_reached=self.not_reached)

    async def events(self, message: pb.EventsRequest) -> AsyncIterator[pb.EventsResponse]:
        self.note("events", message)
        for answer in self.events_sent:
            if answer.event is None or answer.event.seq > message.since_seq:
                yield answer
        if self.follows and not message.no_follow:
            await asyncio.Event().wait()

    async def logs(self, message: pb.LogsRequest) -> AsyncIterator[pb.LogsResponse]:
        self.note("logs", message)
        yield pb.LogsResponse(ts=NOW, level="info", event="started", msg="daemon started", fields='{"port": 1}')
        if self.follows and message.follow:
            await asyncio.Event().wait()

    async def list_engines(self, message: pb.ListEnginesRequest) -> pb.ListEnginesResponse:
        self.note("list_engines", message)
        engine = common.Engine(
            name="aria2", version="1.37.0", ok=True, limit=5, capabilities={"pause": True, "probe": False},
            schemes=["magnet", "http"], options=[common.EngineOption(name="split", type="int")],
        )  # fmt: skip
        return pb.ListEnginesResponse(engines=[engine])

    async def test_engine(self, message: pb.TestEngineRequest) -> pb.TestEngineResponse:
        self.note("test_engine", message)
        return pb.TestEngineResponse(
            engine=common.Engine(name=message.name, ok=message.name == "aria2", message="gone")
        )

    async def list_cache(self, message: pb.ListCacheRequest) -> pb.ListCacheResponse:
        self.note("list_cache", message)
        found = [entry(key=key) for key in self.cached if message.key in ("", key)]
        return pb.ListCacheResponse(entries=found or [entry()], total=len(found) or 1)

    async def pin_cache(self, message: pb.PinCacheRequest) -> pb.ListCacheResponse:
        self.note("pin_cache", message)
        return pb.ListCacheResponse(entries=[entry(pinned=not message.unpin)], total=1)


class FakeAdmin(pb.AdminServiceBase):
    def __init__(self, control: FakeControl) -> None:
        self.control = control

    async def remove_cache(self, message: pb.RemoveCacheRequest) -> pb.CleanupResponse:
        self.control.note("remove_cache", message)
        items = [
            pb.CleanupItem(entry=entry(key=key), error=missing(key))
            if "missing" in key
            else pb.CleanupItem(entry=entry(key=key), freed_bytes=10)
            for key in message.keys
        ]
        return pb.CleanupResponse(items=items, freed_bytes=10, applied=not message.dry_run)

    async def copy_cache(self, message: pb.CopyCacheRequest) -> pb.CopyCacheResponse:
        self.control.note("copy_cache", message)
        copied = entry(key=message.key)
        copied.replicas.append(pb.CacheEntryReplica(node=message.node, state="copying", wanted=1000))
        return pb.CopyCacheResponse(entry=copied)

    async def cleanup_cache(self, message: pb.CleanupCacheRequest) -> pb.CleanupResponse:
        self.control.note("cleanup_cache", message)
        item = pb.CleanupItem(entry=entry(), freed_bytes=10)
        return pb.CleanupResponse(items=[item], freed_bytes=10, applied=not message.dry_run)

    async def list_settings(self, message: pb.ListSettingsRequest) -> pb.ListSettingsResponse:
        self.control.note("list_settings", message)
        found = [setting(key) for key in message.keys or ["limits.link_expiry"]]
        return pb.ListSettingsResponse(settings=found)

    async def set_settings(self, message: pb.SetSettingsRequest) -> pb.ListSettingsResponse:
        self.control.note("set_settings", message)
        return pb.ListSettingsResponse(settings=[setting(key) for key in message.values])

    async def unset_settings(self, message: pb.UnsetSettingsRequest) -> pb.ListSettingsResponse:
        self.control.note("unset_settings", message)
        return pb.ListSettingsResponse(settings=[setting(key) for key in message.keys])

    async def reload(self, message: pb.ReloadRequest) -> pb.ReloadResponse:
        self.control.note("reload", message)
        return pb.ReloadResponse(changed=["logging.level"], needs_restart=[])

    async def shutdown(self, message: pb.ShutdownRequest) -> pb.ShutdownResponse:
        self.control.note("shutdown", message)
        return pb.ShutdownResponse()

    async def diagnose(self, message: pb.DiagnoseRequest) -> pb.DiagnoseResponse:
        self.control.note("diagnose", message)
        return pb.DiagnoseResponse(checks=[pb.Check(check="disk", status="ok", detail="50 GiB free")])

    def _user(self, name: str, message: Any, **fields: Any) -> pb.UserResponse:
        self.control.note(name, message)
        return pb.UserResponse(user=user(message.name, **fields))

    async def list_users(self, message: pb.ListUsersRequest) -> pb.ListUsersResponse:
        self.control.note("list_users", message)
        return pb.ListUsersResponse(users=[user("admin", role="admin"), user("maya", jobs_active=2)])

    async def get_user(self, message: pb.GetUserRequest) -> pb.UserResponse:
        if "missing" in message.name:
            self.control.refuse["get_user"] = (Status.NOT_FOUND, missing(message.name))
        return self._user("get_user", message)

    async def add_user(self, message: pb.AddUserRequest) -> pb.UserResponse:
        return self._user("add_user", message, role=message.role, unix_user=message.unix_user)

    async def set_user_password(self, message: pb.SetUserPasswordRequest) -> pb.UserResponse:
        answer = self._user("set_user_password", message)
        answer.ended = pb.Ended(sessions=2, keys=1)
        return answer

    async def set_user_role(self, message: pb.SetUserRoleRequest) -> pb.UserResponse:
        return self._user("set_user_role", message, role=message.role)

    async def set_user_active(self, message: pb.SetUserActiveRequest) -> pb.UserResponse:
        return self._user("set_user_active", message, active=message.active)

    async def remove_user(self, message: pb.RemoveUserRequest) -> pb.UserResponse:
        return self._user("remove_user", message)

    async def link_user(self, message: pb.LinkUserRequest) -> pb.UserResponse:
        return self._user("link_user", message, unix_user=message.unix_user)

    async def set_user_limits(self, message: pb.SetUserLimitsRequest) -> pb.UserResponse:
        return self._user("set_user_limits", message, limits=message.limits)

    async def invite_user(self, message: pb.InviteUserRequest) -> pb.InviteUserResponse:
        self.control.note("invite_user", message)
        return pb.InviteUserResponse(invite=INVITATION, expires_at=NOW)

    async def set_node(self, message: pb.SetNodeRequest) -> pb.NodeResponse:
        found = next((one for one in self.control.nodes if one.id == message.node), None)
        if found is None:
            raise GRPCError(Status.NOT_FOUND, f"there is no node {message.node}")
        found.draining = bool(message.draining)
        return pb.NodeResponse(node=found)

    async def list_invitations(self, message: pb.ListInvitationsRequest) -> pb.ListInvitationsResponse:
        found = pb.Invitation(id="0198-invitation", role="user", invited_by="admin", created_at=NOW, expires_at=NOW)
        return pb.ListInvitationsResponse(invitations=[found])

    async def revoke_invitation(self, message: pb.RevokeInvitationRequest) -> pb.RevokeInvitationResponse:
        self.control.note("revoke_invitation", message)
        return pb.RevokeInvitationResponse()

    async def rotate_secret(self, message: pb.RotateSecretRequest) -> pb.RotateSecretResponse:
        self.control.note("rotate_secret", message)
        return pb.RotateSecretResponse(access_tokens=True)


class FakeAccounts(pb.AccountServiceBase):
    """Everybody's password is the same one. Each refresh token is good once; an old one ends the session."""

    def __init__(self, control: FakeControl) -> None:
        self.control = control
        self.refreshes = 0
        self.expires_in = 3600.0
        self.password = PASSWORD
        self.refused: set[str] = set()
        """Values of `authorization` that Hello does not take."""

    def _tokens(self) -> pb.LoginResponse:
        return pb.LoginResponse(
            access_token=f"access-{self.refreshes}", refresh_token=f"odr_{self.refreshes}", expires_in_s=self.expires_in
        )

    async def login(self, message: pb.LoginRequest) -> pb.LoginResponse:
        self.control.note("login", message)
        if message.password != self.password:
            self.control.trailer = common.Error(code="UNAUTHENTICATED", message="wrong name or password")
            raise GRPCError(Status.UNAUTHENTICATED, "wrong name or password")
        return self._tokens()

    async def register(self, message: pb.RegisterRequest) -> pb.UserResponse:
        self.control.note("register", message)
        return pb.UserResponse(user=user(message.user))

    async def refresh(self, message: pb.RefreshRequest) -> pb.LoginResponse:
        self.control.note("refresh", message)
        if message.refresh_token != f"odr_{self.refreshes}":
            self.control.trailer = common.Error(
                code="UNAUTHENTICATED", message="this refresh token was used already"
            )
            raise GRPCError(Status.UNAUTHENTICATED, "this refresh token was used already")
        self.refreshes += 1
        return self._tokens()

    async def logout(self, message: pb.LogoutRequest) -> pb.LogoutResponse:
        self.control.note("logout", message)
        return pb.LogoutResponse()

    async def who_am_i(self, message: pb.WhoAmIRequest) -> pb.WhoAmIResponse:
        self.control.note("who_am_i", message)
        bearer = self.control.bearers[-1]
        if bearer is None:
            return pb.WhoAmIResponse(user=user("admin", role="admin"), auth="peercred", uid=1000, scopes=SCOPES)
        auth, scopes = ("apikey", ["jobs"]) if "odk_" in bearer else ("token", SCOPES)
        return pb.WhoAmIResponse(user=user("maya"), auth=auth, scopes=scopes, credential="0198")

    async def get_usage(self, message: pb.GetUsageRequest) -> pb.UsageResponse:
        self.control.note("get_usage", message)
        limits = pb.UserLimits(running=5, jobs=0, storage=10 << 30, served_per_day=0, requests_per_minute=600)
        return pb.UsageResponse(
            user=message.name or "admin", limits=limits, running=2, jobs=3, stored=3 << 30, served_today=7 << 20,
            requests=12,
        )  # fmt: skip

    async def set_own_password(self, message: pb.SetOwnPasswordRequest) -> pb.SetOwnPasswordResponse:
        self.control.note("set_own_password", message)
        self.password = message.new_password
        return pb.SetOwnPasswordResponse()

    async def revoke_everything(self, message: pb.RevokeEverythingRequest) -> pb.RevokeEverythingResponse:
        self.control.note("revoke_everything", message)
        return pb.RevokeEverythingResponse(sessions=2, keys=1)

    async def list_api_keys(self, message: pb.ListApiKeysRequest) -> pb.ListApiKeysResponse:
        self.control.note("list_api_keys", message)
        return pb.ListApiKeysResponse(keys=[api_key("phone"), api_key("sonarr", expires_at=NOW)])

    async def create_api_key(self, message: pb.CreateApiKeyRequest) -> pb.ApiKeyResponse:
        self.control.note("create_api_key", message)
        made = api_key(message.name, scopes=message.scopes, expires_at=message.expires_at)
        return pb.ApiKeyResponse(key=made, secret=API_KEY)

    async def rotate_api_key(self, message: pb.RotateApiKeyRequest) -> pb.ApiKeyResponse:
        self.control.note("rotate_api_key", message)
        return pb.ApiKeyResponse(key=api_key(message.key), secret=API_KEY)

    async def revoke_api_key(self, message: pb.RevokeApiKeyRequest) -> pb.ApiKeyResponse:
        self.control.note("revoke_api_key", message)
        return pb.ApiKeyResponse(key=api_key(message.key))

    async def list_sessions(self, message: pb.ListSessionsRequest) -> pb.ListSessionsResponse:
        self.control.note("list_sessions", message)
        return pb.ListSessionsResponse(sessions=[pb.Session(id="0198-session", created_at=NOW, expires_at=NOW)])

    async def end_session(self, message: pb.EndSessionRequest) -> pb.EndSessionResponse:
        self.control.note("end_session", message)
        return pb.EndSessionResponse()


def user(name: str, **fields: Any) -> pb.User:
    known: dict[str, Any] = {"name": name, "role": "user", "active": True, "created_at": NOW, "id": "0198-user"}
    return pb.User(**(known | fields))


def api_key(name: str, **fields: Any) -> pb.ApiKey:
    known: dict[str, Any] = {"id": "0198-key", "name": name, "user": "maya", "scopes": ["jobs"], "created_at": NOW}
    return pb.ApiKey(**(known | fields))


def missing(text: str) -> common.Error:
    return common.Error(code="NOT_FOUND", message=f"there is no job {text!r}", hint="odctl ls shows your jobs")


def entry(**fields: Any) -> pb.CacheEntry:
    known: dict[str, Any] = {"key": "aria2:hash:" + "a" * 40, "name": "thing", "engine": "aria2", "size": 10}
    return pb.CacheEntry(**(known | fields))


def setting(key: str) -> pb.Setting:
    return pb.Setting(key=key, value="43200.0", default="86400", source="stored", type="duration", editable=True)


class _Server(Server):
    """Knows its connections: grpclib's, and asyncio's of Python 3.11, are closed with some of them open."""

    def __init__(self, handlers: Sequence[Any]) -> None:
        super().__init__(handlers)
        self._open: dict[Any, asyncio.BaseTransport | None] = {}

    def _protocol_factory(self) -> Any:
        protocol: Any = super()._protocol_factory()
        made, lost = protocol.connection_made, protocol.connection_lost
        self._open[protocol] = None

        def connection_made(transport: asyncio.BaseTransport) -> None:
            self._open[protocol] = transport
            made(transport)

        def connection_lost(error: BaseException | None) -> None:
            del self._open[protocol]
            lost(error)

        protocol.connection_made, protocol.connection_lost = connection_made, connection_lost
        return protocol

    def hang_up(self) -> bool:
        """Whether nobody is connected any more."""
        for transport in self._open.values():
            if isinstance(transport, asyncio.Transport):
                transport.abort()
        return not self._open


class FakeDaemon:
    """`async with FakeDaemon(path) as control:`"""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.control = FakeControl()
        self._server: _Server | None = None

    async def __aenter__(self) -> FakeControl:
        handlers: Sequence[Any] = [self.control, FakeAdmin(self.control), self.control.accounts]
        self._server = _Server(handlers)
        listen(self._server, RecvRequest, self._see_bearer)
        listen(self._server, SendTrailingMetadata, self._add_error)
        await self._server.start(path=str(self.path))
        return self.control

    async def _see_bearer(self, event: RecvRequest) -> None:
        bearer = event.metadata.get("authorization")
        assert bearer is None or isinstance(bearer, str)
        self.control.bearers.append(bearer)

    async def _add_error(self, event: SendTrailingMetadata) -> None:
        if self.control.trailer is not None:
            event.metadata[ERROR_METADATA_KEY] = bytes(self.control.trailer)

    def cut(self) -> None:
        """Breaks every connection, as a daemon that is killed does."""
        assert self._server is not None
        self._server.hang_up()

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self.path.unlink(missing_ok=True)
        for queue in self.control.watching:
            queue.put_nowait(None)
        # grpclib cancels what is running without telling the caller: let it end first
        await until(lambda: not self.control.watching, what="the watches to end")
        self._server.close()
        await asyncio.wait_for(self._server.wait_closed(), 60)
        await until(self._server.hang_up, every=0.01, what="the connections to end")
