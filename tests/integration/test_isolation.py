"""Nobody sees or touches what is not theirs: every call of every service, by every kind of caller.

`CALLS` is the table. A service that takes a caller and is not in it, or a call of one that is not, makes a test fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import pkgutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from oddaemon import services as services_package
from oddaemon.app.load_settings import load
from oddaemon.app.setting_specs import fixed_settings, setting_specs
from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.cache import CacheEntry, EntryFile, Replica, ReplicaState
from oddaemon.domain.credentials import KeyId, Session, SessionId
from oddaemon.domain.errors import Conflict, NotAllowed, NotFound, OpenDebridError, Unauthenticated
from oddaemon.domain.events import JobCreated, NodeOnline, is_for
from oddaemon.domain.job import JobState
from oddaemon.domain.keyed_add import KeyedAdd
from oddaemon.domain.types import Bytes, EntryId, JobId, ReplicaId, Seconds, UserId
from oddaemon.domain.user import ALL_SCOPES, Principal, Proof, Role, Scope, UserLimits
from oddaemon.ports.store import Transaction
from oddaemon.services.accounts import Accounts
from oddaemon.services.availability import AvailabilityService
from oddaemon.services.batches import Batches, Chosen, Outcome
from oddaemon.services.cache import CacheService
from oddaemon.services.discretion import Discretion
from oddaemon.services.downloads import DownloadService
from oddaemon.services.engine_reports import EngineReports
from oddaemon.services.event_feed import EventFeed
from oddaemon.services.job_files import JobFiles
from oddaemon.services.job_finder import JobFinder
from oddaemon.services.keyed_adds import Answered, KeyedAdds
from oddaemon.services.links import LinkService
from oddaemon.services.nodes import NodeChange, Nodes
from oddaemon.services.orders import OrderReader
from oddaemon.services.probing import Prober
from oddaemon.services.quotas import Quotas
from oddaemon.services.request_rate import RequestLimiter
from oddaemon.services.runtime_settings import RuntimeSettings
from oddaemon.services.status import StatusService
from oddaemon.services.views import AddOrder
from oddaemon.testing.store_samples import a_job, a_link
from tests.support.accounts import OWN_UID, PASSWORD, built_accounts
from tests.support.control import quiet_nodes
from tests.support.core import HERE, SIMULATED, House
from tests.support.links import linking

CONTENT = b"all of it"
SECRET_NAME = "The owner's own film"
"""In the name, the path and the source of everything that the owner has: nobody else may come to see it."""


@dataclass(slots=True)
class StillHouse(House):
    """Nothing happens by itself: what the store holds is what the calls left in it."""

    async def _run(self) -> None:
        await asyncio.Event().wait()


@dataclass(slots=True)
class Services:
    home: StillHouse
    downloads: DownloadService
    jobs: JobFinder
    job_files: JobFiles
    reports: EngineReports
    prober: Prober
    links: LinkService
    cache: CacheService
    status: StatusService
    settings: RuntimeSettings
    accounts: Accounts
    quotas: Quotas
    batches: Batches
    availability: AvailabilityService
    keyed_adds: KeyedAdds
    nodes: Nodes

    @property
    def operator(self) -> Awaitable[Principal]:
        return self.accounts.by_uid(OWN_UID)

    async def someone(self, name: str, role: Role = Role.USER, scopes: frozenset[Scope] = ALL_SCOPES) -> Principal:
        """A new user, let in by an API key."""
        operator = await self.operator
        await self.accounts.add_user(operator, name, role=role, password=PASSWORD)
        return await self.key_of(name, scopes)

    async def key_of(self, name: str, scopes: frozenset[Scope]) -> Principal:
        made = await self.accounts.create_key(await self.operator, f"key {uuid4().hex}", scopes, user=name)
        return await self.accounts.by_api_key(made.secret)


@dataclass(frozen=True, slots=True)
class Things:
    """What an owner has: names of it, as callers give them."""

    owner: str = "nobody"
    job: str = "999999"
    job_id: JobId = field(default_factory=lambda: JobId(uuid4()))
    failed: JobId = field(default_factory=lambda: JobId(uuid4()))
    waiting: JobId = field(default_factory=lambda: JobId(uuid4()))
    link: str = field(default_factory=lambda: str(uuid4()))
    key: str = field(default_factory=lambda: str(uuid4()))
    session: str = field(default_factory=lambda: str(uuid4()))
    cache_key: str = "aria2:hash:" + "0" * 40
    idempotency_key: str = "none"

    def hidden(self, text: str) -> str:
        """The text without the names by which it was asked for."""
        for part in (
            self.job_id, self.failed, self.waiting, self.owner, self.job, self.link, self.key, self.session,
            self.cache_key,
        ):  # fmt: skip
            text = text.replace(repr(str(part)), "X")
        return text


async def things_of(services: Services, owner: Principal) -> Things:
    """A completed job with its content, link and key, a failed one and a waiting one."""
    home, now = services.home, SystemClock().now()
    replica_id, entry_id = ReplicaId(uuid4()), EntryId(uuid4())
    (home.storage.allocate(replica_id) / "1.bin").write_bytes(CONTENT)
    cache_key = f"aria2:hash:{uuid4().hex}00000000"
    key_id = (await services.accounts.create_key(owner, f"hers {uuid4()}", ALL_SCOPES)).key.id
    session = Session(
        id=SessionId(uuid4()), user_id=owner.user_id, digest="0" * 64, created_at=now,
        expires_at=now + timedelta(days=1),
    )  # fmt: skip

    def work(tx: Transaction) -> Things:
        user = tx.users.get(owner.user_id)
        assert user is not None
        size = Bytes(len(CONTENT))
        entry = CacheEntry(
            id=entry_id, key=cache_key, generation=1, engine=SIMULATED, created_at=now, name=SECRET_NAME,
            total_size=size, files_known=True, complete_at=now, last_used_at=now,
        )  # fmt: skip
        tx.cache.insert_entry(entry)
        file = EntryFile(index=1, path=f"{SECRET_NAME}.mkv", disk_path="1.bin", size=size, ready=True)
        tx.cache.put_files(entry_id, [file])
        tx.cache.insert_replica(
            Replica(
                id=replica_id, entry_id=entry_id, node_id=HERE, engine=SIMULATED, created_at=now, updated_at=now,
                state=ReplicaState.READY,
            )
        )  # fmt: skip
        given: dict[str, Any] = {
            "source": f"http://origin.test/{uuid4()}", "created_at": now, "updated_at": now, "engine": SIMULATED,
            "name": SECRET_NAME,
        }  # fmt: skip
        done = tx.jobs.insert(
            a_job(
                tx, user, **given, state=JobState.COMPLETED, entry_id=entry_id, cache_key=cache_key, node_id=HERE,
                completed_at=now, size=size, done=size,
            )
        )  # fmt: skip
        failed = tx.jobs.insert(a_job(tx, user, **given, state=JobState.FAILED, completed_at=now))
        waiting = tx.jobs.insert(a_job(tx, user, **given))
        link = a_link(
            done, entry_id=entry_id, replica_id=replica_id, node_id=HERE, path=file.path, created_at=now,
            expires_at=now + timedelta(days=1),
        )  # fmt: skip
        tx.links.insert(link)
        tx.sessions.insert(session)
        tx.keyed_adds.put(
            KeyedAdd(
                user_id=user.id, key=str(entry_id), digest="d", created_at=now, job_ids=(done.id,), answer=SECRET_NAME
            )
        )
        return Things(
            owner=user.username, job=str(done.number), job_id=done.id, failed=failed.id, waiting=waiting.id,
            link=str(link.id), key=str(key_id), session=str(session.id), cache_key=cache_key,
            idempotency_key=str(entry_id),
        )  # fmt: skip

    return await services.home.store.write(work)


@dataclass(frozen=True, slots=True)
class Call:
    run: Callable[[Services, Principal, Things], Awaitable[object]]
    needs: Scope | None
    """None: for admins alone."""
    stranger: str = "hidden"
    """What becomes of a stranger's call. hidden: as for something that does not exist. blind: it succeeds, and shows
    and changes nothing of the owner's."""


def d(run: Callable[[DownloadService, Principal, Things], Awaitable[object]], needs: Scope, stranger: str = "hidden") -> Call:  # noqa: E501
    return Call(lambda services, who, it: run(services.downloads, who, it), needs, stranger)


def a(run: Callable[[Accounts, Principal, Things], Awaitable[object]], needs: Scope | None, stranger: str = "hidden") -> Call:  # noqa: E501
    return Call(lambda services, who, it: run(services.accounts, who, it), needs, stranger)


async def alone(outcomes: Awaitable[Sequence[Outcome]]) -> object:
    """What became of the one member of a batch, or of the first that failed."""
    found = await outcomes
    for one in found:
        if one.error is not None:
            raise one.error
    return found


def b(run: Callable[[Batches, Principal, Chosen], Awaitable[Sequence[Outcome]]], of: str) -> Call:
    """A wish for a job of the owner's."""
    return Call(lambda s, who, it: alone(run(s.batches, who, Chosen(ids=[str(getattr(it, of))]))), Scope.JOBS)


async def told_of(services: Services, who: Principal, it: Things) -> object:
    """All that is told of what is there, without what was asked."""
    asked = f"magnet:?xt=urn:btih:{it.cache_key.rpartition(':')[2]}"
    return [(one.available, one.name, one.size, one.files) for one in await services.availability.check(who, [asked])]


async def added_once(services: Services, who: Principal, it: Things) -> object:
    """With a key that the owner has used."""

    async def carry_out(ids: Sequence[JobId]) -> Answered:
        view = await services.downloads.add(who, AddOrder(source="http://x.test/once"), id=ids[0])
        return Answered(str(view.job.number))

    return await services.keyed_adds.once(who, it.idempotency_key, digest="d", count=1, carry_out=carry_out)


async def in_vain(call: Awaitable[object]) -> object:
    """Of a call that nobody can have carried out: who may not even ask is told that, everybody else why not."""
    try:
        return await call
    except (Conflict, NotFound) as error:
        return str(error)


def seeking(it: Things) -> str:
    """A filter that every job of the owner's fits, in several ways."""
    return f"user={it.owner} | !mine | {SECRET_NAME} | name~/./ | id={it.job} | !id=0 | size>=0 | user~a"


LISTED: Mapping[str, Any] = {"filter": "", "sort": "", "offset": 0, "limit": 100}
CALLS: Mapping[str, Call] = {
    "downloads.add": d(lambda s, who, it: s.add(who, AddOrder(source=f"http://x.test/{uuid4()}")), Scope.JOBS, "blind"),
    "jobs.page": Call(lambda s, who, it: s.jobs.page(who, **LISTED, include_old=True), Scope.READ, "blind"),
    "jobs.numbers": Call(lambda s, who, it: s.jobs.numbers(who, **LISTED, include_old=True), Scope.READ, "blind"),
    "jobs.page, filtered": Call(
        lambda s, who, it: s.jobs.page(who, **{**LISTED, "filter": seeking(it)}, include_old=True), Scope.READ, "blind"
    ),
    "jobs.numbers, filtered": Call(
        lambda s, who, it: s.jobs.numbers(who, **{**LISTED, "filter": seeking(it)}, include_old=True), Scope.READ,
        "blind",
    ),
    "jobs.pick, filtered": Call(lambda s, who, it: s.jobs.pick(who, [], filter=seeking(it)), Scope.READ, "blind"),
    "jobs.views": Call(lambda s, who, it: s.jobs.views(who, range(1000)), Scope.READ, "blind"),
    "jobs.pick": Call(lambda s, who, it: s.jobs.pick(who, [], all_jobs=True), Scope.READ, "blind"),
    "jobs.pick by id": Call(lambda s, who, it: s.jobs.pick(who, [it.job, "1-900"]), Scope.READ, "blind"),
    "jobs.get": Call(lambda s, who, it: s.jobs.get(who, it.job), Scope.READ),
    "jobs.get by id": Call(lambda s, who, it: s.jobs.get(who, str(it.job_id)), Scope.READ),
    "job_files.files": Call(lambda s, who, it: s.job_files.files(who, it.job, offset=0, limit=9), Scope.READ),
    "job_files.browse": Call(lambda s, who, it: s.job_files.browse(who, it.job, "", offset=0, limit=9), Scope.READ),
    "reports.peers": Call(lambda s, who, it: s.reports.peers(who, it.job), Scope.READ),
    "reports.raw": Call(lambda s, who, it: s.reports.raw(who, it.job), Scope.READ),
    "downloads.pause": d(lambda s, who, it: s.pause(who, it.waiting), Scope.JOBS),
    "downloads.pause, dry": d(lambda s, who, it: s.pause(who, it.waiting, dry_run=True), Scope.JOBS),
    "downloads.resume": d(lambda s, who, it: s.resume(who, it.waiting), Scope.JOBS),
    "downloads.cancel": d(lambda s, who, it: s.cancel(who, it.waiting), Scope.JOBS),
    "downloads.retry": d(lambda s, who, it: s.retry(who, it.failed), Scope.JOBS),
    "downloads.set": d(lambda s, who, it: s.set(who, it.job_id, ["name=mine"]), Scope.JOBS),
    "job_files.select": Call(lambda s, who, it: s.job_files.select(who, it.job, "1"), Scope.JOBS),
    "downloads.remove": d(lambda s, who, it: s.remove(who, it.job_id, keep_data=False), Scope.JOBS),
    "downloads.remove, dry": d(lambda s, who, it: s.remove(who, it.job_id, keep_data=False, dry_run=True), Scope.JOBS),
    "prober.probe": Call(
        lambda s, who, it: s.prober.probe(who, "http://x.test/a", torrent=None, engine="simulated", options={},
                                          deadline=Seconds(20)), Scope.JOBS, "blind",
    ),
    "batches.add": Call(
        lambda s, who, it: alone(s.batches.add(who, [AddOrder(source=f"http://x.test/{uuid4()}")])), Scope.JOBS, "blind"
    ),
    "batches.pause": b(lambda s, who, of: s.pause(who, of), "waiting"),
    "batches.pause, all": Call(
        lambda s, who, it: alone(s.batches.pause(who, Chosen(all=True), dry_run=True)), Scope.JOBS, "blind"
    ),
    "batches.resume": b(lambda s, who, of: s.resume(who, of), "waiting"),
    "batches.cancel": b(lambda s, who, of: s.cancel(who, of), "waiting"),
    "batches.retry": b(lambda s, who, of: s.retry(who, of), "failed"),
    "batches.set": b(lambda s, who, of: s.set(who, of, ["name=mine"]), "job_id"),
    "batches.remove": b(lambda s, who, of: s.remove(who, of), "job_id"),
    "batches.remove, all": Call(
        lambda s, who, it: alone(s.batches.remove(who, Chosen(filter="state=completed"), dry_run=True)), Scope.JOBS,
        "blind",
    ),
    "availability.check": Call(told_of, Scope.READ, "blind"),
    "keyed_adds.once": Call(added_once, Scope.JOBS, "blind"),
    "links.create": Call(lambda s, who, it: s.links.create(who, it.job), Scope.JOBS),
    "links.page": Call(lambda s, who, it: s.links.page(who, id=None, offset=0, limit=99), Scope.READ, "blind"),
    "links.page of a job": Call(lambda s, who, it: s.links.page(who, id=it.job, offset=0, limit=99), Scope.READ),
    "links.revoke": Call(lambda s, who, it: s.links.revoke(who, [it.link]), Scope.JOBS),
    "links.revoke of a job": Call(lambda s, who, it: s.links.revoke(who, [], job=it.job), Scope.JOBS),
    "cache.page": Call(lambda s, who, it: s.cache.page(who, **LISTED), Scope.READ, "blind"),
    "cache.page, filtered": Call(
        lambda s, who, it: s.cache.page(who, **{**LISTED, "filter": f"user={it.owner} | !mine | name!=x | user~a"}),
        Scope.READ, "blind",
    ),
    "cache.page of a key": Call(lambda s, who, it: s.cache.page(who, **LISTED, key=it.cache_key), Scope.READ),
    "cache.copy": Call(lambda s, who, it: s.cache.copy(who, it.cache_key, "here"), None),
    "cache.pin": Call(lambda s, who, it: s.cache.pin(who, [it.cache_key], pinned=True), None),
    "cache.remove": Call(lambda s, who, it: s.cache.remove(who, [it.cache_key], dry_run=False), None),
    "cache.cleanup": Call(
        lambda s, who, it: s.cache.cleanup(who, older=None, until_free=None, node="", dry_run=False, verify=False), None
    ),
    "status.status": Call(lambda s, who, it: s.status.status(who), Scope.READ, "blind"),
    "status.engines": Call(lambda s, who, it: s.status.engines(who), Scope.READ, "blind"),
    "status.test_engine": Call(lambda s, who, it: s.status.test_engine(who, "simulated"), Scope.READ, "blind"),
    "status.node_named": Call(lambda s, who, it: s.status.node_named(who, HERE), None),
    "settings.one": Call(lambda s, who, it: s.settings.one(who, "limits.retries"), None),
    "settings.list": Call(lambda s, who, it: s.settings.list(who), None),
    "settings.set": Call(lambda s, who, it: s.settings.set(who, {"limits.retries": "9"}), None),
    "settings.unset": Call(lambda s, who, it: s.settings.unset(who, ["limits.retries"]), None),
    "quotas.usage": Call(lambda s, who, it: s.quotas.usage(who, it.owner), Scope.READ),
    "accounts.users": a(lambda s, who, it: s.users(who), None),
    "accounts.user": a(lambda s, who, it: s.user(who, it.owner), Scope.READ),
    "accounts.add_user": a(lambda s, who, it: s.add_user(who, f"n{uuid4().hex[:9]}"), None),
    "accounts.set_own_password": a(lambda s, who, it: s.set_own_password(who, PASSWORD, "another one"), Scope.ADMIN, "blind"),  # noqa: E501
    "accounts.set_password": a(lambda s, who, it: s.set_password(who, it.owner, "another one"), None),
    "accounts.set_role": a(lambda s, who, it: s.set_role(who, it.owner, Role.ADMIN), None),
    "accounts.set_active": a(lambda s, who, it: s.set_active(who, it.owner, False), None),
    "accounts.link_uid": a(lambda s, who, it: s.link_uid(who, it.owner, 4242), None),
    "accounts.set_limits": a(lambda s, who, it: s.set_limits(who, it.owner, UserLimits(jobs=3)), None),
    "accounts.invite": a(lambda s, who, it: s.invite(who, ttl=Seconds(3600)), None),
    "accounts.remove_user": a(lambda s, who, it: s.remove_user(who, it.owner, keep_jobs=False), None),
    "accounts.create_key": a(lambda s, who, it: s.create_key(who, uuid4().hex, ALL_SCOPES, user=it.owner), Scope.ADMIN),
    "accounts.list_keys": a(lambda s, who, it: s.list_keys(who, it.owner), Scope.READ),
    "accounts.list_keys, own": a(lambda s, who, it: s.list_keys(who), Scope.READ, "blind"),
    "accounts.rotate_key": a(lambda s, who, it: s.rotate_key(who, it.key), Scope.ADMIN),
    "accounts.regenerate_key": a(lambda s, who, it: s.regenerate_key(who, "tv"), Scope.ADMIN, "blind"),
    "accounts.change_user": a(lambda s, who, it: s.change_user(who, it.owner, active=False, limits={"jobs": 3}), None),
    "accounts.revoke_key": a(lambda s, who, it: s.revoke_key(who, it.key), Scope.ADMIN),
    "accounts.list_sessions": a(lambda s, who, it: s.list_sessions(who, it.owner), Scope.READ),
    "accounts.list_sessions, own": a(lambda s, who, it: s.list_sessions(who), Scope.READ, "blind"),
    "accounts.end_session": a(lambda s, who, it: s.end_session(who, it.session), Scope.ADMIN),
    "accounts.end_session of one": a(lambda s, who, it: s.end_session(who, it.session, user=it.owner), Scope.ADMIN),
    "accounts.list_invitations": a(lambda s, who, it: s.list_invitations(who), None),
    "accounts.revoke_invitation": a(lambda s, who, it: in_vain(s.revoke_invitation(who, str(uuid4()))), None),
    "accounts.revoke_everything of one": a(lambda s, who, it: s.revoke_everything(who, it.owner), Scope.ADMIN),
    "accounts.revoke_everything": a(lambda s, who, it: s.revoke_everything(who), None),
    "accounts.rotate_secret": a(lambda s, who, it: s.rotate_secret(who), None),
    "nodes.change": Call(lambda s, who, it: s.nodes.change(who, HERE, NodeChange(draining=True)), None),
    "nodes.remove": Call(lambda s, who, it: in_vain(s.nodes.remove(who, "nobody")), None),
    "nodes.create_token": Call(lambda s, who, it: s.nodes.create_token(who), None),
    "nodes.list_tokens": Call(lambda s, who, it: s.nodes.list_tokens(who), None),
    "nodes.revoke_token": Call(lambda s, who, it: in_vain(s.nodes.revoke_token(who, "0123456789ab")), None),
}  # fmt: skip
NEEDS_NOBODY = {
    # how callers come to be known, and their own end
    "accounts.by_api_key", "accounts.by_access_token", "accounts.by_uid", "accounts.login", "accounts.refresh",
    "accounts.register", "accounts.load", "accounts.logout", "accounts.ended", "accounts.run", "accounts.tidy",
    # of a job that was found for its caller
    "reports.ask_progress", "reports.progress",
    # which engines there are
    "jobs.engine",
    # the daemon's own
    "links.trim", "cache.evict", "settings.load", "settings.value",
    "settings.values", "settings.stored", "settings.on_change", "settings.refix", "quotas.load", "quotas.note",
    "quotas.of", "status.nodes", "keyed_adds.trim", "nodes.trim",
    "nodes.expects_workers",
}  # fmt: skip
KINDS: Mapping[str, type] = {
    "downloads": DownloadService, "jobs": JobFinder, "job_files": JobFiles, "reports": EngineReports, "prober": Prober,
    "links": LinkService, "cache": CacheService, "status": StatusService,
    "settings": RuntimeSettings, "accounts": Accounts, "quotas": Quotas, "batches": Batches,
    "availability": AvailabilityService, "keyed_adds": KeyedAdds, "nodes": Nodes,
}  # fmt: skip
INNER = {OrderReader, Discretion, EventFeed, RequestLimiter}
"""They take a caller, too: parts of what is in the table, and what the faces ask after they have checked the scope."""


def test_every_service_that_takes_a_caller_is_in_the_table() -> None:
    takes = set()
    for found in pkgutil.iter_modules(services_package.__path__):
        module = importlib.import_module(f"{services_package.__name__}.{found.name}")
        takes |= {
            kind for _, kind in inspect.getmembers(module, inspect.isclass)
            if kind.__module__ == module.__name__ and any(map(_takes_a_caller, vars(kind).values()))
        }  # fmt: skip
    # of several that are one in the end, the whole is there
    assert {kind for kind in takes if not any(issubclass(known, kind) for known in KINDS.values())} == INNER


def _takes_a_caller(member: object) -> bool:
    if not inspect.isfunction(member) or member.__name__.startswith("_"):
        return False
    return any("Principal" in str(one.annotation) for one in inspect.signature(member).parameters.values())


def test_every_call_is_in_the_table() -> None:
    public = {
        f"{place}.{name}"
        for place, kind in KINDS.items()
        for name, _ in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and name not in getattr(kind, "__dataclass_fields__", ())
    }
    assert public == {name.partition(" ")[0].rstrip(",") for name in CALLS} | NEEDS_NOBODY


@contextlib.asynccontextmanager
async def services(folder: Path) -> AsyncIterator[Services]:
    home = StillHouse(folder)
    await home.start()
    clock, store, inner = SystemClock(), home.store, home.core
    specs = {SIMULATED: home.agent.engines[SIMULATED].capabilities.options}

    async def none(_: object) -> dict[ReplicaId, Bytes]:
        return {}

    class Files:
        async def revoke(self, links: object) -> None:
            pass

        async def rekey(self, keys: object) -> None:
            pass

    linked = linking(store)
    linked.servers.serve_on(HERE, "http://127.0.0.1:1", Files())
    loaded = load(environ={})
    settings = RuntimeSettings(store, clock, setting_specs(loaded), fixed_settings(loaded))
    await settings.load()
    built = Services(
        home=home, downloads=inner.downloads, jobs=inner.jobs, job_files=inner.job_files, reports=inner.reports,
        prober=inner.prober, links=linked.service,
        cache=CacheService(
            store=store, clock=clock, nodes=lambda: [home.agent], wake=lambda _: None, settle=none, in_use=lambda: (),
            measure=none,
        ),
        status=StatusService(
            store=store, clock=clock, board=inner.board, reconciler=inner.reconciler, node=lambda _: home.agent,
            limits=lambda: home.limits, option_specs=lambda: specs, version="1", started_at=clock.now(),
        ),
        settings=settings, accounts=built_accounts(store, clock),
        quotas=Quotas(store=store, clock=clock, limits=lambda: home.limits),
        batches=inner.batches,
        availability=AvailabilityService(
            store=store, reader=inner.reader, hits=inner.hits, discretion=inner.discretion
        ),
        keyed_adds=KeyedAdds(store, clock), nodes=quiet_nodes(home),
    )  # fmt: skip
    inner.board.nodes[HERE] = await home.agent.snapshot()
    try:
        yield built
    finally:
        built.accounts.passwords.close()
        await home.crash()


def rows(folder: Path, owner: UserId) -> dict[str, list[Any]]:
    """All that is the owner's and all that is nobody's, as the database has it. (What the caller did for itself, and
    who was seen when, is not.)"""
    mine = {"users": "id", "jobs": "user_id", "download_links": "user_id", "api_keys": "user_id", "sessions": "user_id"}
    mine |= {"served_bytes": "user_id", "keyed_adds": "user_id"}
    everybodys = (
        "cache_entries", "entry_files", "replicas", "settings", "secrets", "invitations", "quarantine", "join_tokens",
        "node_credentials",
    )  # fmt: skip
    with contextlib.closing(sqlite3.connect(folder / "opendebrid.db")) as connection:
        found = {}
        for table in (*mine, *everybodys):
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            shown = ", ".join(f'"{name}"' for name in columns if name not in {"last_seen_at", "last_used_at"})
            where = f"WHERE {mine[table]} = '{owner.hex}'" if table in mine else ""
            found[table] = sorted(connection.execute(f"SELECT {shown} FROM {table} {where}"), key=repr)
    assert found["users"], "the owner's rows are not found"
    return found


async def outcome(call: Call, services: Services, who: Principal, it: Things) -> object:
    """The answer, or the error."""
    try:
        return await call.run(services, who, it)
    except OpenDebridError as error:
        return error


async def test_nobody_gets_at_what_is_not_theirs(tmp_path: Path) -> None:
    """Strangers, credentials that lack the scope, and those that were let in before their access ended."""
    async with services(tmp_path) as built:
        owner, stranger = await built.someone("owner"), await built.someone("stranger")
        admin = await built.someone("boss", Role.ADMIN)
        it, missing = await things_of(built, owner), Things()
        lesser = {
            Scope.READ: [replace(owner, scopes=frozenset())],
            Scope.JOBS: [await built.key_of("owner", frozenset({Scope.READ}))],
            Scope.ADMIN: [
                await built.key_of("owner", frozenset({Scope.READ, Scope.JOBS})),
                await built.key_of("owner", frozenset({Scope.JOBS})),
            ],
            None: [owner, await built.key_of("boss", frozenset({Scope.READ, Scope.JOBS}))],
        }
        before = rows(tmp_path, owner.user_id)
        for name, call in CALLS.items():
            told = await outcome(call, built, stranger, it)
            if call.needs is None:
                assert isinstance(told, NotAllowed), (name, told)
            elif call.stranger == "hidden":
                absent = await outcome(call, built, stranger, missing)
                assert isinstance(told, NotFound), (name, told)
                assert isinstance(absent, NotFound), (name, absent)
                assert it.hidden(str(told)) == missing.hidden(str(absent)), name
                assert (told.hint, told.details) == (absent.hint, absent.details), name
            else:
                assert not isinstance(told, OpenDebridError), (name, told)
                for of_the_owner in (
                    SECRET_NAME, str(owner.user_id), repr(it.job_id), it.link, it.key, it.session, it.cache_key,
                ):  # fmt: skip
                    assert of_the_owner not in repr(told), name
            for who in lesser[call.needs]:
                error = await outcome(call, built, who, it)
                assert isinstance(error, NotAllowed), (name, who.scopes, error)
                if call.needs is not None:
                    assert str(call.needs) in str(error), name
            if name == "accounts.set_own_password":
                stranger = await built.key_of("stranger", ALL_SCOPES)  # its old one has just died
            assert rows(tmp_path, owner.user_id) == before, name
        # an admin whose key may only look does not even look at what others have
        looking = await built.key_of("boss", frozenset({Scope.READ}))
        assert isinstance(await outcome(CALLS["jobs.get"], built, looking, it), NotFound)
        assert SECRET_NAME not in repr(await outcome(CALLS["jobs.page"], built, looking, it))
        assert SECRET_NAME in repr(await outcome(CALLS["jobs.page"], built, admin, it))


async def test_owners_and_admins_may(tmp_path: Path) -> None:
    """The owner with just the scope that the call needs. What a call may have ended is made anew for the next."""
    async with services(tmp_path) as built:
        for role in (Role.USER, Role.ADMIN):
            owner: Principal | None = None
            admin: Principal | None = None
            it = Things()
            for number, (name, call) in enumerate(CALLS.items()):
                if role is Role.USER and call.needs is None:
                    continue
                if owner is None:
                    owner = await built.someone(f"owner{number}{role}")
                    admin = await built.someone(f"boss{number}", role) if role is Role.ADMIN else None
                    it = await things_of(built, owner)
                who = admin or replace(owner, scopes=frozenset({call.needs or Scope.ADMIN}))
                told = await outcome(call, built, who, it)
                assert not isinstance(told, OpenDebridError), (name, role, told)
                if call.needs is Scope.JOBS:
                    it = await things_of(built, owner)
                elif call.needs is not Scope.READ:
                    owner = None


ENDED: Mapping[str, Callable[[Services, Principal], Awaitable[object]]] = {
    "disabled": lambda s, who: _by_the_operator(s, lambda boss: s.accounts.set_active(boss, who.username, False)),
    "key revoked": lambda s, who: s.accounts.revoke_key(who, str(who.credential)),
    "removed": lambda s, who: _by_the_operator(s, lambda boss: s.accounts.remove_user(boss, who.username, keep_jobs=True)),  # noqa: E501
}


async def _by_the_operator(services: Services, call: Callable[[Principal], Awaitable[object]]) -> None:
    await call(await services.operator)


@pytest.mark.parametrize("how", ENDED)
async def test_who_was_let_in_before_its_access_ended_makes_nothing_any_more(tmp_path: Path, how: str) -> None:
    """No job, link, key or invitation that would outlive it."""
    async with services(tmp_path) as built:
        owner = await built.someone("owner", Role.ADMIN)
        it = await things_of(built, owner)
        await ENDED[how](built, owner)
        before = await built.home.store.read(_counted)
        for name in ("downloads.add", "links.create", "accounts.create_key", "accounts.invite", "accounts.add_user"):
            error = await outcome(CALLS[name], built, owner, it)
            assert isinstance(error, Unauthenticated), (name, error)
        assert await built.home.store.read(_counted) == before


def _counted(tx: Transaction) -> tuple[int, int, int]:
    return (
        len(tx.jobs.by_numbers(range(1000))), len(tx.links.alive(None, datetime.min.replace(tzinfo=UTC))),
        len(tx.users.all()),
    )  # fmt: skip


async def test_nobody_a_disabled_user_and_an_expired_key_are_not_let_in(tmp_path: Path) -> None:
    async with services(tmp_path) as built:
        accounts = built.accounts
        await built.someone("owner")
        made = await accounts.create_key(await built.operator, "kept", ALL_SCOPES, user="owner")
        tokens = await accounts.login("owner", PASSWORD, address="192.0.2.1")
        for nobody in ("", "x", f"odk_{uuid4().hex}_{'A' * 43}"):
            with pytest.raises(Unauthenticated):
                await accounts.by_api_key(nobody)
            with pytest.raises(Unauthenticated):
                await accounts.by_access_token(nobody)
        past = SystemClock().now() - timedelta(seconds=1)
        await built.home.store.write(lambda tx: tx.api_keys.renew(made.key.id, made.key.digest, past))
        with pytest.raises(Unauthenticated):
            await accounts.by_api_key(made.secret)
        await built.home.store.write(lambda tx: tx.api_keys.renew(KeyId(made.key.id), made.key.digest, None))
        await accounts.by_api_key(made.secret)
        await accounts.set_active(await built.operator, "owner", False)
        for call in (
            accounts.by_api_key(made.secret), accounts.by_access_token(tokens.access_token),
            accounts.login("owner", PASSWORD, address="192.0.2.1"), accounts.refresh(tokens.refresh_token),
        ):  # fmt: skip
            with pytest.raises(Unauthenticated):
                await call


def test_events_are_for_whom_they_concern() -> None:
    ann = Principal(user_id=UserId(uuid4()), username="ann", role=Role.USER, proof=Proof.LOCAL)
    admin = Principal(user_id=UserId(uuid4()), username="boss", role=Role.ADMIN, proof=Proof.LOCAL)
    now = SystemClock().now()
    hers, his, nobodys = (
        JobCreated(at=now, user_id=ann.user_id), JobCreated(at=now, user_id=UserId(uuid4())), NodeOnline(at=now)
    )  # fmt: skip
    assert [is_for(event, ann) for event in (hers, his, nobodys)] == [True, False, False]
    assert [is_for(event, admin) for event in (hers, his, nobodys)] == [True, True, True]
    reading = replace(admin, scopes=frozenset({Scope.READ}))
    assert not is_for(his, reading)
