"""Links from the service to the client: a real store, the simulated engine, a real file server."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

import pytest

from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.cache import EntryFile, ReplicaState
from oddaemon.domain.errors import InvalidArgument, NodeUnavailable, NotFound, NotReady
from oddaemon.domain.job import JobState
from oddaemon.domain.link import LinkKind, LinkUse
from oddaemon.domain.types import Bytes, JobId, LinkId, Seconds
from oddaemon.domain.user import ALL_SCOPES, Principal, Role, User
from oddaemon.fileserver.processes import FileServer
from oddaemon.ports.store import Transaction
from oddaemon.services.file_servers import FileServers
from oddaemon.services.link_serving import LinkServing
from oddaemon.services.links import LinkService
from oddaemon.services.views import JobView, LinkView
from tests.support.accounts import built_accounts
from tests.support.core import HERE, House, house, stored_in
from tests.support.http import fetch
from tests.support.links import linking
from tests.support.wait import until

FILES = {"Show/S01/E01.mkv": b"one" * 1000, "Show/S01/E02.mkv": b"two" * 2000, "Show/it's #1 🎬.txt": b"text"}


@dataclass
class NoServer:
    revoked: dict[LinkId, datetime] = field(default_factory=dict)

    async def revoke(self, links: Mapping[LinkId, datetime]) -> None:
        self.revoked.update(links)

    async def rekey(self, keys: Sequence[bytes]) -> None:
        raise AssertionError("no key is changed here")


@dataclass
class Library:
    house: House
    links: LinkService
    serving: LinkServing
    servers: FileServers
    server: FileServer
    job: JobView

    @property
    def admin(self) -> Principal:
        return self.house.admin


async def completed(built: House, who: Principal | None = None) -> JobView:
    """A finished job with the files above, as an engine would have left it."""
    view = await built.add(f"http://origin.example/{uuid4()}", who)
    job = await built.until_state(view, JobState.COMPLETED)
    assert job.entry_id is not None
    [replica] = [one for one in await built.replicas() if one.entry_id == job.entry_id]
    known = []
    for index, (path, content) in enumerate(FILES.items(), 1):
        target = built.storage.allocate(replica.id) / f"{index}.bin"
        target.write_bytes(content)
        known.append(
            EntryFile(
                index=index, path=path, disk_path=f"{index}.bin", size=Bytes(len(content)), ready=True,
                content_type="video/x-matroska" if path.endswith("mkv") else "text/plain",
            )
        )  # fmt: skip
    entry_id = job.entry_id
    await built.store.write(lambda tx: tx.cache.put_files(entry_id, known))
    return view


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Library]:
    async with house(tmp_path) as built:
        linked = linking(built.store)
        serving, servers = linked.serving, linked.servers
        built.core.downloads.revoke = servers.push_revocations
        server = FileServer(
            host="127.0.0.1", port=0, storage=stored_in(built.storage.base), keys=[await servers.node_key(HERE)],
            look_up=serving.content, on_usage=serving.record_usage, read_revoked=servers.revoked, on_use=serving.use,
            processes=2,
        )  # fmt: skip
        host, port = await server.start()
        try:
            servers.serve_on(HERE, f"http://{host}:{port}", server)
            yield Library(built, linked.service, serving, servers, server, await completed(built))
        finally:
            await server.stop()


async def test_another_key_ends_every_link_and_makes_new_ones_that_work(library: Library) -> None:
    number = str(library.job.job.number)
    accounts = built_accounts(library.house.store, SystemClock(), rekey=library.servers.rekey)
    old = [view.url for view in await library.links.create(library.admin, number)]
    [listed] = await library.links.create(library.admin, number, kind=LinkKind.M3U)
    old.append(listed.url)
    # remembered by both processes
    assert {(await fetch(url)).status for _ in range(6) for url in old} == {200}
    await accounts.rotate_secret(library.admin)
    accounts.passwords.close()
    assert {(await fetch(url)).status for _ in range(6) for url in old} == {403}
    new = [view.url for view in await library.links.create(library.admin, number)]
    assert {(await fetch(url)).status for _ in range(6) for url in new} == {200}
    # and one that begins anew knows the new key alone
    os.kill(library.server.pids[0], signal.SIGKILL)
    await until(lambda: len(library.server.pids) == 2)
    assert {(await fetch(url)).status for _ in range(6) for url in new} == {200}
    assert {(await fetch(url)).status for _ in range(6) for url in old} == {403}
    page = await library.links.page(library.admin, id=number, offset=0, limit=99)
    assert [view.link.revoked_at is None for view in page.rows] == [False] * len(old) + [True] * len(new)


async def test_every_ready_file_has_a_link_that_works(library: Library) -> None:
    number = str(library.job.job.number)
    made = await library.links.create(library.admin, number)
    assert [view.link.path for view in made] == list(FILES)
    assert [view.size for view in made] == [len(content) for content in FILES.values()]
    for view, (path, content) in zip(made, FILES.items(), strict=True):
        answer = await fetch(view.url)
        assert (answer.status, answer.body) == (200, content)
        assert answer.fields["content-type"] == view.content_type
        assert unquote(view.url.rpartition("/")[2]) == path.rpartition("/")[2]
        token = view.url.split("/d/")[1].split("/")[0]
        assert len(token) <= 128
    assert len({view.url for view in made}) == len(FILES)
    again = await library.links.create(library.admin, number, files=["1"])
    assert again[0].url != made[0].url


@pytest.mark.parametrize(
    ("asked", "indices"), [(["2"], [2]), (["*.mkv"], [1, 2]), (["Show/it's #1 🎬.txt"], [3]), (["1", "3"], [1, 3])]
)
async def test_files_by_index_glob_and_path(library: Library, asked: list[str], indices: list[int]) -> None:
    made = await library.links.create(library.admin, str(library.job.job.number), files=asked)
    assert [view.link.file_index for view in made] == indices


async def test_what_cannot_be_linked(library: Library) -> None:
    number = str(library.job.job.number)
    create = library.links.create
    for files in (["9"], ["*.iso"], ["none"]):
        with pytest.raises(NotFound):
            await create(library.admin, number, files=files)
    for ttl in (-1, 0.5, 1e12, float("nan")):
        with pytest.raises(InvalidArgument):
            await create(library.admin, number, ttl=Seconds(ttl))
    with pytest.raises(InvalidArgument):
        await create(library.admin, number, kind=LinkKind.ZIP, files=["1"])
    with pytest.raises(InvalidArgument):
        await create(library.admin, number, folder="Show")
    with pytest.raises(NotFound):
        await create(library.admin, "999")


async def test_files_that_are_not_ready_say_which_are(library: Library) -> None:
    view = library.job
    entry_id = (await library.house.job(view)).entry_id  # type: ignore[union-attr]
    assert entry_id is not None
    files = await library.house.store.read(lambda tx: tx.cache.files(entry_id))
    await library.house.store.write(lambda tx: tx.cache.put_files(entry_id, [replace(files[1], ready=False)]))
    with pytest.raises(NotReady) as raised:
        await library.links.create(library.admin, str(view.job.number), files=["2"])
    assert "1,3" in raised.value.message
    assert "--wait" in raised.value.hint
    made = await library.links.create(library.admin, str(view.job.number))
    assert [one.link.file_index for one in made] == [1, 3]
    await library.house.store.write(
        lambda tx: tx.cache.put_files(entry_id, [replace(file, ready=False) for file in files])
    )
    with pytest.raises(NotReady):
        await library.links.create(library.admin, str(view.job.number))
    assert (await library.links.page(library.admin, id=None, offset=0, limit=10)).total == 2


async def test_a_folder_as_zip_and_a_selection_as_playlist(library: Library) -> None:
    number = str(library.job.job.number)
    [folder] = await library.links.create(library.admin, number, kind=LinkKind.ZIP, folder="Show/S01/")
    answer = await fetch(folder.url)
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.namelist() == ["E01.mkv", "E02.mkv"]
        assert archive.read("E02.mkv") == FILES["Show/S01/E02.mkv"]
    assert 'filename="S01.zip"' in answer.fields["content-disposition"]
    [everything] = await library.links.create(library.admin, number, kind=LinkKind.ZIP)
    with zipfile.ZipFile(io.BytesIO((await fetch(everything.url)).body)) as archive:
        assert archive.namelist() == list(FILES)
    with pytest.raises(NotFound):
        await library.links.create(library.admin, number, kind=LinkKind.ZIP, folder="Sho")

    [playlist] = await library.links.create(library.admin, number, kind=LinkKind.M3U, files=["*.mkv"])
    text = (await fetch(playlist.url)).body.decode()
    lines = text.splitlines()
    assert lines[0] == "#EXTM3U"
    urls = [line for line in lines if not line.startswith("#")]
    assert [(await fetch(url)).body for url in urls] == [FILES["Show/S01/E01.mkv"], FILES["Show/S01/E02.mkv"]]
    assert (await library.links.revoke(library.admin, [str(playlist.link.id)])).count == 1
    assert [(await fetch(url)).status for url in [playlist.url, *urls]] == [410] * 3
    assert (await fetch(folder.url)).status == 200


async def test_links_die_with_revocation_and_with_their_job(library: Library) -> None:
    number = str(library.job.job.number)
    one, two, three = await library.links.create(library.admin, number)
    assert (await library.links.revoke(library.admin, [str(one.link.id)])).count == 1
    assert (await library.links.revoke(library.admin, [str(one.link.id)])).count == 0
    assert [(await fetch(view.url)).status for view in (one, two)] == [410, 200]
    assert (await library.links.revoke(library.admin, [], job=number)).count == 2
    assert (await fetch(two.url)).status == 410
    [last] = await library.links.create(library.admin, number, files=["3"])
    assert (await fetch(last.url)).status == 200
    await library.house.core.downloads.remove(library.admin, library.job.job.id, keep_data=True, dry_run=False)
    assert (await fetch(last.url)).status == 410
    assert (await fetch(three.url)).status == 410
    # and after a restart of everything
    assert {view.link.id for view in (one, two, three, last)} <= set(await library.servers.revoked())


async def test_strangers_see_and_touch_nothing(library: Library) -> None:
    stranger = await library.house.user("stranger")
    number = str(library.job.job.number)
    [made] = await library.links.create(library.admin, number, files=["1"])
    for call in (
        library.links.create(stranger, number),
        library.links.page(stranger, id=number, offset=0, limit=10),
        library.links.revoke(stranger, [str(made.link.id)]),
        library.links.revoke(stranger, [], job=number),
    ):
        with pytest.raises(NotFound) as raised:
            await call
        absent = NotFound(raised.value.message)
        assert str(raised.value) == str(absent)
    with pytest.raises(NotFound):
        await library.links.revoke(stranger, [str(uuid4())])
    assert (await library.links.page(stranger, id=None, offset=0, limit=10)).total == 0
    assert (await fetch(made.url)).status == 200


async def test_a_disabled_user_s_links_are_dead(library: Library) -> None:
    user = await library.house.user("maya")
    theirs = await completed(library.house, user)
    [made] = await library.links.create(user, str(theirs.job.number), files=["1"])
    assert (await fetch(made.url)).status == 200
    account = await library.house.store.read(lambda tx: tx.users.get(user.user_id))
    assert account is not None
    await library.house.store.write(lambda tx: tx.users.update(replace(account, is_active=False)))
    with pytest.raises(NotFound):
        await library.serving.content(made.link.id, made.link.replica_id, 1)


async def test_lists_show_use_but_no_urls(library: Library) -> None:
    number = str(library.job.job.number)
    made = await library.links.create(library.admin, number)
    await fetch(made[1].url)
    await fetch(made[1].url, {"Range": "bytes=0-9"})
    expected = len(FILES["Show/S01/E02.mkv"]) + 10

    async def counted() -> bool:
        page = await library.links.page(library.admin, id=number, offset=0, limit=10)
        found = {view.link.id: view.link for view in page.rows}[made[1].link.id]
        return (found.access_count, found.bytes_served) == (2, expected) and found.last_used_at is not None

    await until(counted)
    page = await library.links.page(library.admin, id=number, offset=1, limit=1)
    assert (page.total, len(page.rows)) == (3, 1)
    assert page.rows[0].url == ""
    assert page.rows[0].job == library.job.job.number
    assert page.rows[0].size is not None


async def test_a_link_to_files_that_are_being_fetched_again_says_so(library: Library) -> None:
    [made] = await library.links.create(library.admin, str(library.job.job.number), files=["1"])
    replica = await library.house.store.read(lambda tx: tx.cache.replica(made.link.replica_id))
    assert replica is not None
    content = await library.serving.content(made.link.id, replica.id, 1)
    assert content.files[0].size == len(FILES["Show/S01/E01.mkv"])
    for state, error in ((ReplicaState.MISSING, NotReady), (ReplicaState.DELETING, NotFound)):
        changed = replace(replica, state=state)
        await library.house.store.write(lambda tx, changed=changed: tx.cache.update_replica(changed))  # type: ignore[misc]
        with pytest.raises(error):
            await library.serving.content(made.link.id, replica.id, 1)
    for index in (2, 99):
        with pytest.raises(NotFound):
            await library.serving.content(made.link.id, replica.id, index)


async def test_expiry_and_trimming(library: Library) -> None:
    [made] = await library.links.create(library.admin, str(library.job.job.number), files=["1"], ttl=Seconds(7200))
    left = made.link.expires_at - datetime.now(UTC)
    assert timedelta(seconds=7190) < left <= timedelta(seconds=7200)
    assert await library.links.trim() == 0


async def test_two_installations_share_no_key_and_a_restart_keeps_it(tmp_path: Path) -> None:
    keys = []
    for name in ("a", "b"):
        async with house(tmp_path / name) as built:
            keys.append(await linking(built.store).servers.node_key(HERE))
            assert await linking(built.store).servers.node_key(HERE) == keys[-1]
    assert keys[0] != keys[1]


async def test_a_node_that_serves_nothing_makes_no_links(tmp_path: Path) -> None:
    async with house(tmp_path) as built:
        links = linking(built.store).service
        view = await completed(built)
        with pytest.raises(NodeUnavailable):
            await links.create(built.admin, str(view.job.number))
        assert (await links.page(built.admin, id=None, offset=0, limit=10)).total == 0


async def test_a_limited_link_is_used_so_often_and_no_more_by_however_many_at_once(library: Library) -> None:
    number = str(library.job.job.number)
    [view] = await library.links.create(library.admin, number, files=["1"], max_uses=3)
    content = next(iter(FILES.values()))
    heads = [await fetch(view.url, method="HEAD") for _ in range(5)]
    assert {head.status for head in heads} == {200}
    answers = await asyncio.gather(*(fetch(view.url) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] * 3 + [410] * 17
    assert {answer.body for answer in answers if answer.status == 200} == {content}
    page = await library.links.page(library.admin, id=number, offset=0, limit=9)
    assert [(row.link.max_uses, row.link.uses_left) for row in page.rows] == [(3, 0)]
    [plain] = await library.links.create(library.admin, number, files=["1"])
    assert [(await fetch(plain.url)).status for _ in range(5)] == [200] * 5


async def test_going_on_with_what_was_begun_takes_no_use(library: Library) -> None:
    number = str(library.job.job.number)
    [view] = await library.links.create(library.admin, number, files=["1"], max_uses=1)
    content = next(iter(FILES.values()))
    assert (await fetch(view.url, {"Range": "bytes=0-0"})).body == content[:1]
    for _ in range(3):
        rest = await fetch(view.url, {"Range": "bytes=1-"})
        assert (rest.status, rest.body) == (206, content[1:])
    for fields in ({}, {"Range": "bytes=0-"}, {"Range": "bytes=-3"}, {"Range": "bytes=1-2,0-0"}):
        assert (await fetch(view.url, fields)).status == 410, fields
    # ranges that are ignored: everything would be sent
    for fields in ({"Range": "bytes=2-1"}, {"Range": "bytes=1-", "If-Range": '"another"'}):
        assert (await fetch(view.url, fields)).status == 410, fields
    etag = (await fetch(view.url, {"Range": "bytes=1-"})).fields["etag"]
    assert (await fetch(view.url, {"Range": "bytes=1-", "If-Range": etag})).status == 206
    [other] = await library.links.create(library.admin, number, files=["1"], max_uses=1)
    assert (await fetch(other.url, {"Range": "bytes=1-"})).status == 206  # who did not begin takes one, too
    assert (await fetch(other.url)).status == 410
    assert await library.serving.use(other.link.id, "192.0.2.7", True) is LinkUse.USED_UP


async def test_an_archive_is_never_gone_on_with(library: Library) -> None:
    number = str(library.job.job.number)
    [view] = await library.links.create(library.admin, number, kind=LinkKind.ZIP, max_uses=1)
    assert (await fetch(view.url)).status == 200
    assert (await fetch(view.url, {"Range": "bytes=1-"})).status == 410


async def test_a_bound_link_works_from_its_address_alone(library: Library) -> None:
    number = str(library.job.job.number)

    async def made(address: str, kind: LinkKind = LinkKind.FILE, max_uses: int | None = None) -> LinkView:
        [view] = await library.links.create(
            library.admin, number, files=["1"] if kind is LinkKind.FILE else (), kind=kind, address=address,
            max_uses=max_uses,
        )  # fmt: skip
        return view

    content = next(iter(FILES.values()))
    for address in ("127.0.0.1", "127.0.0.0/8", "::ffff:127.0.0.1", "::ffff:127.0.0.0/104"):
        assert (await fetch((await made(address)).url)).body == content
    for address in ("192.0.2.7", "2001:db8::/32"):
        bound = await made(address)
        answer = await fetch(bound.url)
        assert (answer.status, answer.body) == (403, b"this link is for another address\n")
        assert await library.serving.use(bound.link.id, address.replace("::/32", "::9"), False) is LinkUse.TAKEN
    assert (await library.links.page(library.admin, id=number, offset=0, limit=1)).rows[0].link.address == "127.0.0.1"
    # whoever may not come in takes no use
    once = await made("127.0.0.1", max_uses=1)
    assert await library.serving.use(once.link.id, "192.0.2.7", False) is LinkUse.ELSEWHERE
    assert await library.serving.use(once.link.id, "::ffff:127.0.0.1", False) is LinkUse.TAKEN
    # every file of a playlist is bound as the playlist is
    playlist = await fetch((await made("127.0.0.1", LinkKind.M3U)).url)
    [first, *_] = [line for line in playlist.body.decode().splitlines() if line.startswith("http")]
    assert (await fetch(first)).body == content
    assert (await fetch((await made("192.0.2.7", LinkKind.M3U)).url)).status == 403
    for wrong in ("home", "1.2.3", "::/129"):
        with pytest.raises(InvalidArgument, match="address"):
            await made(wrong)


async def test_limits_that_mean_nothing_are_refused(library: Library) -> None:
    number = str(library.job.job.number)
    for bad in (0, -1, 10**9):
        with pytest.raises(InvalidArgument):
            await library.links.create(library.admin, number, max_uses=bad)
    with pytest.raises(InvalidArgument, match="playlist"):
        await library.links.create(library.admin, number, kind=LinkKind.M3U, max_uses=2)


@pytest.mark.parametrize(
    "how", ["disabled", "role", "password", "removed", "removed, jobs kept", "revoked", "key revoked", "key rotated"]
)
async def test_a_users_links_die_with_the_access_and_stay_dead(library: Library, how: str) -> None:
    """At once on the file server, also on one that starts later, and also when the user is let in again."""
    store, operator = library.house.store, library.admin
    accounts = built_accounts(
        store, SystemClock(), revoke=library.servers.push_revocations, wake=library.house.core.reconciler.wake
    )
    try:
        links = {}
        for name in ("ann", "bob"):
            user = await accounts.add_user(operator, name, password="one of hers")
            made = await accounts.create_key(operator, "tv", ALL_SCOPES, user=name)
            who = await accounts.by_api_key(made.secret)
            number = await store.write(lambda tx, user=user: _claim_of(tx, user, library.job.job.id))  # type: ignore[misc]
            [links[name]] = await library.links.create(who, number, files=["1"])
            [links[f"{name}'s playlist"]] = await library.links.create(who, number, kind=LinkKind.M3U)
        entries = (await fetch(links["ann's playlist"].url)).body.decode().splitlines()
        hers = [links["ann"].url, links["ann's playlist"].url, *(line for line in entries if line.startswith("http"))]
        assert {(await fetch(url)).status for url in hers} == {200}
        endings: dict[str, Callable[[], Awaitable[object]]] = {
            "disabled": lambda: accounts.set_active(operator, "ann", False),
            "role": lambda: accounts.set_role(operator, "ann", Role.ADMIN),
            "password": lambda: accounts.set_password(operator, "ann", "another one"),
            "removed": lambda: accounts.remove_user(operator, "ann", keep_jobs=False),
            "removed, jobs kept": lambda: accounts.remove_user(operator, "ann", keep_jobs=True),
            "revoked": lambda: accounts.revoke_everything(operator, "ann"),
            "key revoked": lambda: accounts.revoke_key(operator, "tv", user="ann"),
            "key rotated": lambda: accounts.rotate_key(operator, "tv", user="ann"),
        }
        await endings[how]()
        assert {(await fetch(url)).status for url in hers} == {410}
        assert (await fetch(links["bob"].url)).status == 200
        if how == "disabled":
            await accounts.set_active(operator, "ann", True)
        later = FileServer(
            host="127.0.0.1", port=0, storage=stored_in(library.house.storage.base),
            keys=[await library.servers.node_key(HERE)], look_up=library.serving.content, on_use=library.serving.use,
            on_usage=library.serving.record_usage, read_revoked=library.servers.revoked, processes=1,
        )  # fmt: skip
        host, port = await later.start()
        try:
            for url in hers:
                assert (await fetch(f"http://{host}:{port}/d/{url.split('/d/')[1]}")).status == 410
            assert (await fetch(f"http://{host}:{port}/d/{links['bob'].url.split('/d/')[1]}")).status == 200
        finally:
            await later.stop()
    finally:
        accounts.passwords.close()


def _claim_of(tx: Transaction, user: User, like: JobId) -> str:
    """A job of the user on the same content."""
    job = tx.jobs.get(like)
    assert job is not None
    mine = tx.jobs.insert(replace(job, id=JobId(uuid4()), number=tx.jobs.take_number(), user_id=user.id))
    return str(mine.number)
