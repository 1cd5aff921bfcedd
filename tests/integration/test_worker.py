"""`oddaemon worker` as a process, with a controller's end in the test's own: how it begins, what it keeps and says."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from oddaemon.domain.join_token import PastedToken, new_token
from oddaemon.transports.grpc import handshake
from tests.support.daemons import Daemon
from tests.support.forked import ROOT, finished
from tests.support.nodes import WORKER, Controller, controller
from tests.support.tcp_relay import tcp_relay
from tests.support.wait import until


@pytest.fixture
async def there() -> AsyncIterator[Controller]:
    async with controller() as built:
        built.registry.every = 0.2  # type: ignore[assignment]
        yield built


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Daemon]:
    """Not started."""
    settings = {"NODE_ID": WORKER, "NODE_LABELS": "room=attic,fast=yes", "ENGINES_YTDLP_ENABLED": "false"}
    found = Daemon(tmp_path / "worker", settings, mode="worker")
    found.folder.mkdir()
    yield found
    await found.__aexit__(None, None, None)


def token(there: Controller, fingerprint: str = "") -> PastedToken:
    """A good one, for one node."""
    made = new_token(fingerprint or there.fingerprint)
    there.registry.tokens[made.id] = made.secret
    return made


def points(worker: Daemon, there: Controller, shown: PastedToken | None) -> None:
    worker.others = {"CONTROLLER_URL": f"127.0.0.1:{there.port}", "CONTROLLER_TOKEN": shown.word if shown else ""}


async def runs(worker: Daemon) -> tuple[int, str]:
    """To its end: the exit code and what it said."""
    code, _, err = await finished(
        "oddaemon", "worker", environment=worker.environment, cwd=ROOT, stdin=b"", timeout=60
    )
    assert "Traceback" not in err, err
    return code, err


async def test_a_first_start_that_cannot_succeed_ends_in_words(
    worker: Daemon, there: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = new_token(there.fingerprint)
    points(worker, there, used)
    code, said = await runs(worker)
    assert code == 77, said
    assert "this join token is not good" in said
    assert "odctl nodes token create" in said
    assert used.secret not in said

    points(worker, there, token(there, "f" * 64))
    code, said = await runs(worker)
    assert code == 77, said
    assert "certificate is not the one that the join token names" in said

    there.registry.add(WORKER)
    points(worker, there, token(there))
    code, said = await runs(worker)
    assert code == 78, said
    assert "has a node attic already" in said
    assert "OD_NODE_ID" in said
    del there.registry.credentials[WORKER]

    theirs = handshake.own_version()
    theirs.major, theirs.software = theirs.major + 1, "9.0.0"
    with monkeypatch.context() as patch:
        patch.setattr("oddaemon.transports.grpc.registry_service.own_version", lambda: theirs)
        points(worker, there, token(there))
        code, said = await runs(worker)
    assert code == 78, said
    assert "it runs 9.0.0" in said
    assert "upgrade the older of the two" in said

    # none of it left anything behind that a good start would stumble over
    assert not (worker.folder / "data" / "node.json").exists()
    points(worker, there, token(there))
    await worker.start()
    await until(lambda: there.registry.beats, what="it beats")


async def test_a_worker_knows_who_it_is_after_kill_9(worker: Daemon, there: Controller) -> None:
    points(worker, there, token(there))
    await worker.start()
    await until(lambda: WORKER in there.registry.announced, what="it is announced")
    assert there.registry.announced[WORKER].labels == {"room": "attic", "fast": "yes"}
    kept = worker.folder / "data" / "node.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    credential = there.registry.credentials[WORKER]
    assert json.loads(kept.read_text())["credential"] == credential.hex()
    assert credential.hex() not in worker.log

    second = await finished(
        "oddaemon", "worker", stdin=b"", timeout=60, cwd=ROOT,
        environment={**worker.environment, "OD_PATHS_RUNTIME_DIR": str(worker.runtime / "other")},
    )  # fmt: skip
    assert second[0] == 69, second
    assert "uses the data directory" in second[2]

    await worker.kill()
    there.registry.announced.clear()
    worker.others, worker.settings = {}, {"NODE_ID": "renamed", "ENGINES_YTDLP_ENABLED": "false"}
    await worker.start()
    await until(lambda: there.registry.announced, what="it is announced again")
    assert set(there.registry.announced) == {WORKER}
    assert there.registry.credentials == {WORKER: credential}

    await worker.stop()
    kept.write_bytes(kept.read_bytes()[:40])
    points(worker, there, token(there))
    code, said = await runs(worker)
    assert code == 78
    assert "node.json is damaged" in said
    assert set(there.registry.credentials) == {WORKER}, "it did not join anew"


async def test_odctl_sees_how_a_worker_is_and_nothing_else(worker: Daemon, there: Controller) -> None:
    points(worker, there, token(there))
    await worker.start()
    await until(lambda: there.registry.beats, what="it beats")
    found = (await worker.odctl("status", "--json", "--exit-code")).ok().json
    assert (found["server"]["role"], found["server"]["store"]) == ("worker", None)
    assert found["server"]["download_dir"] == str(worker.downloads)
    (node,) = found["nodes"]
    assert (node["id"], node["role"], node["state"]) == (WORKER, "worker", "online")
    assert [(engine["name"], engine["ok"]) for engine in node["engines"]] == [("aria2", True)]
    shown = (await worker.odctl("status")).ok().out
    assert "attic" in shown
    assert "reached   the controller" in shown
    assert "reserved" not in shown
    for command in (["ls"], ["add", "http://127.0.0.1:1/x"], ["settings", "ls"], ["users", "ls"]):
        refused = await worker.odctl(*command)
        assert refused.code != 0, command
        assert "this daemon is a worker" in refused.err, refused.err
        assert f"127.0.0.1:{there.port}" in refused.err

    # it was removed on the controller: said, and shown; what is here stays
    del there.registry.credentials[WORKER]
    there.listener.forget(WORKER)

    async def warned() -> str:
        answer = await worker.odctl("status", "--json", "--exit-code")
        return "".join(one["message"] for one in answer.json["warnings"]) if answer.code == 3 else ""

    async def removed() -> bool:
        return "removed there" in await warned()

    await until(removed, what="odctl shows it")
    assert (await worker.odctl("status", "--json")).json["nodes"][0]["state"] == "offline"
    assert (worker.folder / "data" / "node.json").exists()
    assert "changed: nothing" in (await worker.odctl("daemon", "reload")).ok().out
    (await worker.odctl("daemon", "stop")).ok()
    assert await worker.stop() == 0
    # another token is the wish to join once more, under the same name
    before = (worker.folder / "data" / "node.json").read_bytes()
    points(worker, there, token(there))
    there.registry.announced.clear()
    await worker.start()
    await until(lambda: WORKER in there.registry.announced, what="it is back")
    assert (worker.folder / "data" / "node.json").read_bytes() != before


async def test_a_worker_starts_without_its_controller_and_joins_when_it_is_there(
    worker: Daemon, there: Controller
) -> None:
    points(worker, there, token(there))
    async with tcp_relay(1) as line:
        worker.others = {**worker.others, "CONTROLLER_URL": f"127.0.0.1:{line.port}"}
        await worker.start()
        await until(lambda: line.refused > 1, what="two tries")
        (warning,) = (await worker.odctl("status", "--json")).ok().json["warnings"]
        assert warning["code"] == "controller_lost"
        assert "controller" in warning["message"]
        assert "not yet, and tries go on: the controller at" in worker.log
        line.to = there.port
        await until(lambda: WORKER in there.registry.announced, what="it joins")
        assert 1 <= worker.log.count("not joined yet") <= 2
        assert worker.process is not None
        os.kill(worker.process.pid, signal.SIGHUP)
        await until(lambda: "reloaded" in worker.log, what="the reload")
        assert await worker.stop() == 0


async def test_a_controllers_data_directory_is_no_workers(worker: Daemon, there: Controller) -> None:
    (worker.folder / "data").mkdir()
    (worker.folder / "data" / "opendebrid.db").touch()
    points(worker, there, token(there))
    code, said = await runs(worker)
    assert code == 78
    assert "is a controller's data directory" in said
