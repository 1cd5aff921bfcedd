"""Ready files that go behind the daemon's back: noticed when somebody wants them, and by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from oddaemon.domain.cache import ReplicaState
from oddaemon.domain.errors import NotReady, StorageMissing
from oddaemon.domain.job import JobState
from oddaemon.domain.link import LinkKind
from oddaemon.fileserver.processes import FileServer
from oddaemon.services.links import LinkService
from oddaemon.services.views import JobView
from tests.support.core import HERE, House, house, stored_in
from tests.support.http import fetch
from tests.support.links import linking
from tests.support.wait import until

URL = "http://sim.invalid/file.bin"
DONE = JobState.COMPLETED

Harm = Callable[[Path], object]
HARMS = pytest.mark.parametrize(
    "harm", [Path.unlink, lambda path: path.write_bytes(b"short")], ids=["deleted", "truncated"]
)


@dataclass
class Served:
    """A completed job with its one file, and what links are made with."""

    home: House
    links: LinkService
    view: JobView

    @property
    def number(self) -> str:
        return str(self.view.job.number)

    async def file(self) -> Path:
        (replica,) = await self.home.replicas()
        (found,) = self.home.storage.walk(replica.id)
        return self.home.storage.base / str(replica.id) / found.path

    @property
    def requeued(self) -> list[object]:
        return [event.data["reason"] for event in self.home.events if event.type == "job.queued"]


async def a_completed_job(home: House) -> JobView:
    view = await home.add(URL, options={"size": "5000"})
    await home.until_state(view, DONE)
    return view


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with house(tmp_path) as home:
        linked = linking(home.store, look=home.core.presence.check)
        server = FileServer(
            host="127.0.0.1", port=0, storage=stored_in(home.storage.base), keys=[await linked.servers.node_key(HERE)],
            look_up=linked.serving.content, on_usage=linked.serving.record_usage, read_revoked=linked.servers.revoked,
            on_gone=home.core.presence.suspect,
        )  # fmt: skip
        host, port = await server.start()
        try:
            linked.servers.serve_on(HERE, f"http://{host}:{port}", server)
            yield Served(home, linked.service, await a_completed_job(home))
        finally:
            await server.stop()


@HARMS
async def test_no_link_is_made_to_a_file_that_is_gone_and_it_is_fetched_again(served: Served, harm: Harm) -> None:
    harm(await served.file())
    with pytest.raises(NotReady, match="gone from the disk"):
        await served.links.create(served.home.admin, served.number)
    assert served.requeued == ["files_missing"]
    await served.home.until_state(served.view, DONE)
    (made,) = await served.links.create(served.home.admin, served.number)
    assert (await fetch(made.url)).status == 200


@HARMS
async def test_a_file_process_that_misses_a_file_tells(served: Served, harm: Harm) -> None:
    (made,) = await served.links.create(served.home.admin, served.number)
    assert (await fetch(made.url)).status == 200
    harm(await served.file())
    assert (await fetch(made.url)).status == 404
    await until(lambda: served.requeued == ["files_missing"])
    await served.home.until_state(served.view, DONE)

    async def works_again() -> bool:
        return (await fetch(made.url)).status == 200

    await until(works_again)


async def test_an_archive_that_misses_a_file_tells(served: Served) -> None:
    (made,) = await served.links.create(served.home.admin, served.number, kind=LinkKind.ZIP)
    (await served.file()).unlink()
    assert (await fetch(made.url)).status == 503
    await until(lambda: served.requeued == ["files_missing"])


async def test_without_the_disk_no_link_is_made_and_nothing_is_invalidated(served: Served) -> None:
    base = served.home.storage.base
    base.rename(base.with_name("away"))
    base.mkdir()
    with pytest.raises(StorageMissing):
        await served.links.create(served.home.admin, served.number)
    with pytest.raises(StorageMissing):
        await served.home.core.presence.sweep()
    assert (await served.links.page(served.home.admin, id=None, offset=0, limit=10)).total == 0
    (replica,) = await served.home.replicas()
    assert (replica.state, served.requeued) == (ReplicaState.READY, [])


@HARMS
async def test_what_went_while_nobody_looked_is_noticed_after_a_start(tmp_path: Path, harm: Harm) -> None:
    home = House(tmp_path)
    await home.start()
    try:
        served = Served(home, linking(home.store).service, await a_completed_job(home))
        file = await served.file()
        await home.crash()
        harm(file)
        await home.start()
        await until(lambda: served.requeued == ["files_missing"])
        await home.until_state(served.view, DONE)
    finally:
        await home.crash()
