"""Options of single commands, as the daemon gets them: the real command line against a control API in this process."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import create_server

import pytest
from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.control import v1 as pb

from tests.support.fake_control import FakeControl, job
from tests.support.odctl_shell import Shell
from tests.support.terminal import Terminal
from tests.support.wait import until


@pytest.mark.parametrize(("words", "milliseconds"), [(["-w", "5"], 5000), (["-w"], 0), (["--watch=250ms"], 250)])
async def test_a_watched_list_is_looked_at_every_so_often(
    odctl: Shell, control: FakeControl, words: list[str], milliseconds: int
) -> None:
    child = await odctl.start("ls", *words, "state=active", "--json")
    await until(lambda: bool(control.watching), what="the watch")
    child.terminate()
    await asyncio.wait_for(child.communicate(), 60)
    assert (control.asked("watch").interval_ms, control.asked("watch").filter) == (milliseconds, "state=active")


async def test_a_list_is_not_watched_too_often(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl("ls", "-w", "0.01")
    assert (answer.code, answer.out) == (2, "")
    assert "0.1 to 60 seconds" in answer.err


async def test_a_watched_list_says_what_it_leaves_out(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl("ls", "-w", "--limit", "201")
    assert (answer.code, answer.out) == (2, "")
    assert "at most 200 jobs" in answer.err
    control.jobs |= {number: job(number) for number in range(3, 1501)}
    child = await odctl.start("ls", "-w", "--json", "--fields", "id")
    told = json.loads(await asyncio.wait_for(child.stderr.readline(), 60))
    assert told == {"note": "odctl: 200 of 1,500 jobs; --offset shows later ones"}
    child.terminate()
    await asyncio.wait_for(child.communicate(), 60)


async def test_a_watched_list_has_room_on_its_terminal(odctl: Shell, control: FakeControl, tmp_path: Path) -> None:
    for lines, words, asked in ((20, [], 17), (2, [], 1), (20, ["--limit", "40"], 40), (999, [], 200)):
        control.calls.clear()
        async with Terminal(lines=lines) as terminal:
            terminal.fork("ls", "-w", *words, environment=odctl.environment(TERM="xterm"), cwd=tmp_path)
            # that of the terminal before may not have ended here
            await until(lambda: [name for name, _ in control.calls if name == "watch"], what="the watch")
            assert control.asked("watch").limit == asked
            await terminal.shows("job 2") if lines > 2 else None
            terminal.type("\x03")
            assert await terminal.ended() == 130


async def test_a_watched_list_that_is_empty_says_so(odctl: Shell, control: FakeControl, tmp_path: Path) -> None:
    control.jobs.clear()
    async with Terminal() as terminal:
        terminal.fork("ls", "-w", "state=failed", environment=odctl.environment(TERM="xterm"), cwd=tmp_path)
        await terminal.shows("no job fits")
    assert (await odctl("ls", "-w", "--json", "--fields", "nonsense")).code == 2


async def test_retry_now_tries_as_it_is(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl("retry", "--now", "1")
    assert (answer.code, answer.out) == (0, "1 due now  job 1\n")
    assert control.asked("retry_jobs").now
    assert (await odctl("retry", "--now", "--node", "nas", "1")).code == 2


async def test_the_source_of_settings_is_shown_and_chosen(odctl: Shell, control: FakeControl) -> None:
    for words in ([], ["--source"], ["--source", "db"], ["--source", "stored"]):
        assert "SOURCE" in (await odctl("settings", "ls", *words)).out, words
    assert (await odctl("settings", "ls", "--source", "env")).out == ""
    assert (await odctl("settings", "ls", "--source", "nonsense")).code == 2


async def test_the_queue_is_paused_by_a_setting(odctl: Shell, control: FakeControl) -> None:
    assert (await odctl("pause", "--queue")).code == 0
    assert control.asked("set_settings").values == {"scheduler.paused": "true"}
    assert (await odctl("resume", "--queue")).code == 0
    assert control.asked("unset_settings").keys == ["scheduler.paused"]
    answer = await odctl("settings", "unset", "limits.retries", "--dry-run")
    assert (answer.code, "nothing was changed" in answer.err) == (0, True)
    asked = [message for name, message in control.calls if name == "unset_settings"][-1]
    assert (asked.keys, asked.dry_run) == (["limits.retries"], True)
    assert (await odctl("resume", "--queue", "--dry-run")).code == 0
    assert (control.asked("set_settings").values, control.asked("set_settings").dry_run) == (
        {"scheduler.paused": "false"}, True
    )  # fmt: skip
    assert (await odctl("pause", "--queue", "--json")).json == []
    for words in (["1"], ["--all"], ["--for", "2h"], ["-f", "state=active"]):
        assert (await odctl("pause", "--queue", *words)).code == 2


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", ".local/share/bash-completion/completions/odctl"), ("fish", ".config/fish/completions/odctl.fish"),
        ("zsh", ".local/share/zsh/site-functions/_odctl"),
    ],
)  # fmt: skip
async def test_completion_is_installed_where_the_shell_looks(odctl: Shell, shell: str, place: str) -> None:
    printed = await odctl("completion", shell)
    for words, login_shell in (([shell], ""), ([], f"/usr/bin/{shell}")):
        answer = await odctl("completion", *words, "--install", host=False, SHELL=login_shell)
        assert (answer.code, answer.out) == (0, f"{odctl.home / place}\n")
        assert (odctl.home / place).read_text() == printed.out
        assert [path.name for path in (odctl.home / place).parent.iterdir()] == [(odctl.home / place).name]
    assert (await odctl("completion", "--install", SHELL="/bin/nonsense")).code == 2
    assert (await odctl("completion")).code == 2


async def test_doctor_tells_of_clocks_that_differ_and_links_out_of_reach(odctl: Shell, control: FakeControl) -> None:
    control.clock = datetime.now(UTC) + timedelta(hours=1)
    found = {check["check"]: check for check in (await odctl("doctor", "--json")).json}
    assert found["clock skew"]["status"] == "warn"
    assert "ahead" in found["clock skew"]["detail"]
    assert found["disk"]["detail"] == "50 GiB free"
    assert found["links"]["status"] == "skip"
    # where this daemon is, not where one would be by default
    assert found["runtime folder"]["detail"] == f"{odctl.folder} (from env)"


async def test_doctor_without_a_daemon_looks_for_what_one_needs(odctl: Shell, tmp_path: Path) -> None:
    (tmp_path / "aria2c").write_text("#!/bin/sh\necho aria2 version 9.9\n")
    (tmp_path / "aria2c").chmod(0o755)
    for path, status in ((str(tmp_path), "ok"), ("/nonexistent", "fail")):
        answer = await odctl("doctor", "--json", PATH=path)
        found = {check["check"]: check for check in answer.json}
        assert answer.code == 9
        assert found["aria2c"]["status"] == status
        assert {"groups", "linger", "ssh path", "yt-dlp", "ffmpeg", "JavaScript for yt-dlp"} <= set(found)
        assert {"disk", "ports"} <= set(found)


async def test_doctor_without_a_daemon_goes_by_the_settings_that_it_would_have(odctl: Shell, tmp_path: Path) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = tmp_path / "od.toml"
        config.write_text(f'[node]\nfile_server_port = {port}\n[server]\nport = 0\n')
        answer = await odctl("doctor", "--json", OD_CONFIG_PATH=str(config), OD_PATHS_DATA_DIR=str(tmp_path / "bytes"))
    found = {check["check"]: check for check in answer.json}
    assert str(config) in found["settings"]["detail"]
    assert found["disk"]["detail"].endswith(f" free at {tmp_path / 'bytes'}")
    assert found["ports"]["detail"] == f"127.0.0.1:{port} is taken by another program"
    answer = await odctl("doctor", "--json", OD_CONFIG_PATH="/nonexistent.toml")
    found = {check["check"]: check for check in answer.json}
    assert (found["settings"]["status"], "/nonexistent.toml" in found["settings"]["detail"]) == ("fail", True)
    assert "without settings" in found["settings"]["hint"]


async def test_doctor_mends_what_is_safe(odctl: Shell, control: FakeControl) -> None:
    socket = odctl.folder / "c.sock"
    socket.chmod(0o777)
    answer = await odctl("doctor")
    assert f"fix: chmod o-rwx {socket}" in answer.out
    assert socket.stat().st_mode & 0o777 == 0o777
    answer = await odctl("doctor", "--fix")
    assert f"fixed socket: chmod o-rwx {socket}" in answer.err
    assert f"✓ socket {socket} (mode 0770" in " ".join(answer.out.split())
    assert socket.stat().st_mode & 0o777 == 0o770


async def test_links_are_listed_with_their_use_and_revoked(odctl: Shell, control: FakeControl) -> None:
    later, before = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(hours=1)
    control.links = [
        pb.Link(
            id="a", job=1, index=1, path="a/b.mkv", kind="file", expires_at=later, access_count=3, bytes_served=77,
            state="live",
        ),
        pb.Link(id="b", job=0, kind="zip", expires_at=before, state="expired"),
        pb.Link(id="c", job=1, kind="zip", expires_at=later, revoked_at=before, state="revoked"),
    ]
    assert (await odctl("links", "ls", "-q")).out == "a\n"
    assert control.asked("list_links").job == ""
    found = (await odctl("links", "ls", "--all", "1", "--json")).json
    assert control.asked("list_links").job == "1"
    assert [(one["id"], one["job"], one["access_count"], one["bytes_served"]) for one in found] == [
        ("a", 1, 3, 77), ("b", None, 0, 0), ("c", 1, 0, 0)
    ]  # fmt: skip
    assert "url" not in found[0]
    assert (await odctl("links", "rm", "a", "c")).out == "revoked 2 links\n"
    assert control.asked("revoke_links").ids == ["a", "c"]
    assert (await odctl("links", "rm", "--job", "1", "--json")).json == {"revoked": 3, "not_reached": []}
    control.not_reached = [pb.NodeNotReached(node="cellar", until=later)]
    partly = await odctl("links", "rm", "a", "-q")
    assert partly.code == 6
    assert "node cellar was not reached: the link may work there until" in partly.err
    told = await odctl("links", "rm", "a", "--json")
    assert (told.code, told.json["not_reached"][0]["node"]) == (6, "cellar")
    assert told.json["not_reached"][0]["until"]
    assert (await odctl("links", "rm")).code == 2


async def test_nodes_are_named_where_they_matter(odctl: Shell, control: FakeControl) -> None:
    assert (await odctl("logs", "--node", "nas")).code == 0
    assert control.asked("logs").node == "nas"
    assert (await odctl("probe", "http://h/x", "--node", "nas", "--playlist")).code == 0
    assert (control.asked("probe").node, control.asked("probe").options) == ("nas", {"no-playlist": "false"})
    await odctl("probe", "http://h/x", "--no-playlist")
    assert control.asked("probe").options == {"no-playlist": "true"}
    assert (await odctl("add", "http://h/x", "--node-label", "gpu=yes", "--node-label", "room=attic")).code == 0
    assert control.adds[-1].items[0].node_labels == {"gpu": "yes", "room": "attic"}
    wrong = await odctl("add", "http://h/x", "--node-label", "gpu")
    assert (wrong.code, "--node-label" in wrong.err) == (2, True)


@pytest.mark.parametrize("verb", [["get", "2"], ["play", "2", "--player", "true"]], ids=lambda verb: verb[0])
async def test_the_way_that_bytes_come(odctl: Shell, control: FakeControl, verb: list[str]) -> None:
    control.links = []
    assert (await odctl(*verb, "--via", "smoke")).code == 2
    tunnel = await odctl(*verb, "--via", "tunnel")
    assert (tunnel.code, "over ssh" in tunnel.err) == (9, True)
    for way in ("auto", "direct"):
        assert "odctl files" in (await odctl(*verb, "--via", way)).err


async def test_files_are_picked_at_a_terminal_and_nowhere_else(odctl: Shell, control: FakeControl) -> None:
    refused = await odctl("add", "http://h/x", "--pick")
    assert (refused.code, refused.out, "--files" in refused.err) == (2, "", True)
    control.probed = [common.File(index=index, path=f"s/{index}.mkv", size=5) for index in (1, 2, 3)]
    answer = await odctl.at_a_terminal("add", "http://h/x", "--pick", typed="2-3\n")
    assert answer.code == 0, answer.out
    assert "2.mkv" in answer.out
    assert "2 of 3 files" in answer.out
    assert control.adds[-1].items[0].files == "2-3"
    added = len(control.adds)
    assert (await odctl.at_a_terminal("add", "http://h/x", "--pick", typed="q\n")).code == 1
    assert len(control.adds) == added
    for words in (["--files", "1"], ["-"]):
        assert (await odctl.at_a_terminal("add", "http://h/x", "--pick", *words, typed="")).code == 2


async def test_the_engine_s_own_words_are_shown_when_asked_for(odctl: Shell, control: FakeControl) -> None:
    assert "engine_raw" not in (await odctl("show", "1", "--json")).json[0]
    assert (await odctl("show", "1", "--raw", "--json")).json[0]["engine_raw"] == {"gid": "ab", "connections": "4"}
    assert "connections            4" in (await odctl("show", "1", "--raw")).out


async def test_verbose_tells_where_and_how_long_on_stderr(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl("-v", "ls", "-q")
    assert answer.out == "1\n2\n"
    assert f"unix://{odctl.folder / 'c.sock'} (from env): oddaemon 9.9.9, API 1.3, node nas, you are maya" in answer.err
    assert re.search(r"list jobs: \d+\.\d ms", answer.err)
    told = await odctl("ls", "--json", "-v")
    assert all(json.loads(line)["note"] for line in told.err.splitlines())
    assert " ms" not in (await odctl("ls")).err


async def test_long_answers_go_through_the_pager_of_a_terminal(odctl: Shell, control: FakeControl) -> None:
    pager = "sed s/^/paged:/"
    for number in range(3, 60):
        control.jobs[number] = job(number)
    shown = await odctl.at_a_terminal("ls", ODCTL_PAGER=pager)
    assert sum(line.startswith("paged:") for line in shown.out.splitlines()) == 60
    assert "paged:" in (await odctl.at_a_terminal("help", "add", ODCTL_PAGER=pager)).out
    assert "paged:" not in (await odctl.at_a_terminal("version", ODCTL_PAGER=pager)).out
    assert "paged:" not in (await odctl("ls", ODCTL_PAGER=pager)).out
    control.events_sent = [pb.EventsResponse(event=pb.Event(seq=seq, type="job.completed")) for seq in range(1, 60)]
    assert (await odctl.at_a_terminal("events", "--no-follow", ODCTL_PAGER=pager)).out.count("paged:") == 59
    missing = await odctl.at_a_terminal("ls", ODCTL_PAGER="/nonexistent/pager")
    assert (missing.code, "job 59" in missing.out) == (0, True)


async def test_links_may_have_so_many_uses(odctl: Shell, control: FakeControl) -> None:
    control.links = [
        pb.Link(id="a", job=1, index=1, url="http://h/d/x", max_uses=3, uses_left=1, kind="file", state="live")
    ]
    assert (await odctl("link", "1", "--max-uses", "3")).out == "http://h/d/x\n"
    assert control.asked("create_links").max_uses == 3
    assert (await odctl("link", "1", "--max-uses", "0")).code == 2
    assert " 2/3 " in (await odctl("links", "ls")).out
    control.links[0].uses_left, control.links[0].state = 0, "used_up"
    assert (await odctl("links", "ls", "-q")).out == ""
    assert "used up" in (await odctl("links", "ls", "--all")).out
