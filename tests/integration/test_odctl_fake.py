"""The real command line against a control API in this process: what it prints, where, and how it ends."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import sys
from pathlib import Path

import pytest
from grpclib.const import Status
from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.control import v1 as pb

from tests.support.fake_control import ACTIVE, COMPLETED, FAILED, NOW, FakeControl, FakeDaemon, job
from tests.support.forked import ROOT
from tests.support.odctl_shell import Shell
from tests.support.wait import until

HASH = "a" * 40
JOB_FIELDS = [
    "id", "uuid", "name", "source", "kind", "cache_key", "cache_hit", "state", "hold", "reason", "engine_state",
    "engine", "node", "user", "progress", "size", "done", "rate_down", "rate_up", "eta_s", "seeders", "peers",
    "files_total", "files_selected", "priority", "tags", "position", "error", "created_at", "started_at",
    "completed_at", "rev",
]  # fmt: skip


async def test_a_stale_socket_is_told_from_a_missing_one(odctl: Shell) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(odctl.folder / "c.sock"))
    answer = await odctl("ls")
    assert answer.code == 5
    assert "exists but nobody is listening (daemon crashed?)" in answer.err


async def test_a_socket_that_hangs_up_at_once_is_no_daemon(odctl: Shell) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_unix_server(hang_up, odctl.folder / "c.sock"):
        answer = await odctl("ls")
        looked = await odctl("doctor", "--json")
    assert answer.code == 5
    assert answer.err.startswith("odctl: the connection to the daemon was lost\n")
    assert looked.code == 9
    (found,) = [check for check in looked.json if check["check"] == "daemon"]
    assert (found["status"], "does not answer" in found["detail"]) == ("fail", True)


async def test_a_frozen_daemon_fails_the_doctor(odctl: Shell) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    async with await asyncio.start_unix_server(silent, odctl.folder / "c.sock"):
        looked = await odctl("doctor", "--json", "--timeout", "1s")
        assert looked.code == 9
        assert [check["status"] for check in looked.json if check["check"] == "daemon"] == ["fail"]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e300])
async def test_what_is_no_number_is_not_known(odctl: Shell, control: FakeControl, number: float) -> None:
    control.jobs[1] = job(1, eta_s=number, progress=number)
    control.nodes[0].heartbeat_age_s = number
    for line in ("ls", "show 1", "ls -o wide", "nodes ls", "status"):
        answer = await odctl(*line.split())
        assert answer.code == 0, answer.err
    (told,) = (await odctl("show", "1", "--json")).json
    assert told["eta_s"] is None
    assert 0 <= told["progress"] <= 1


async def test_jobs_have_exactly_the_documented_fields(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl("ls", "--json")
    assert [list(one) for one in answer.json] == [JOB_FIELDS, JOB_FIELDS]
    first = answer.json[0]
    assert (first["id"], first["state"], first["hold"], first["size"], first["eta_s"]) == (
        1,
        "active",
        "none",
        1000,
        None,
    )
    assert first["created_at"] == "2026-01-31T12:00:00.000Z"
    assert list((await odctl("show", "1", "--json")).json[0])[: len(JOB_FIELDS)] == JOB_FIELDS


async def test_fields_narrow_every_format(odctl: Shell, control: FakeControl) -> None:
    assert (await odctl("ls", "--json", "--fields", "id,state")).json[0] == {"id": 1, "state": "active"}
    assert (await odctl("ls", "-o", "csv", "--fields", "id,state")).out == "id,state\n1,active\n2,completed\n"
    assert (await odctl("--fields", "id", "ls", "-o", "jsonl")).out == '{"id": 1}\n{"id": 2}\n'
    assert (await odctl("ls", "-q")).out == "1\n2\n"
    wrong = await odctl("ls", "--fields", "nonsense")
    assert (wrong.code, wrong.out) == (2, "")


async def test_fields_narrow_what_is_one_thing_or_a_stream(odctl: Shell, control: FakeControl) -> None:
    control.events_sent = [
        pb.EventsResponse(event=pb.Event(seq=seq, ts=NOW, type="job.completed", job=1)) for seq in (7, 8)
    ]
    for line, told in (
        ("events --no-follow --fields seq,job", "7  1\n8  1\n"),
        ("events --no-follow -o csv --fields seq,type", "seq,type\n7,job.completed\n8,job.completed\n"),
        ("logs --fields level,port", "info  1\n"),
        ("logs -o csv", "ts,level,event,job,node,msg\n2026-01-31T12:00:00.000Z,info,started,,,daemon started\n"),
        ("version --fields server", "SERVER\n9.9.9\n"),
        ("version -o csv --fields server", "server\n9.9.9\n"),
        ("cache show k --fields key,pinned -o csv", f"key,pinned\naria2:hash:{'a' * 40},false\n"),
        ("engines test aria2 --fields name,ok", "NAME   OK\naria2  true\n"),
        ("ls --summary --fields total", "TOTAL\n2\n"),
        ("status -o csv --fields context,rates", 'context,rates\n,"{""down"": 0, ""up"": 0}"\n'),
        ("daemon status --fields state,pid", "STATE    PID\nrunning  4242\n"),
    ):
        answer = await odctl(*line.split())
        assert (answer.code, answer.out) == (0, told), line
    wrong = await odctl("events", "--no-follow", "--fields", "nonsense")
    assert (wrong.code, wrong.out) == (2, "")


async def test_colours_can_be_forced_into_a_pipe_and_never_reach_programs(odctl: Shell, control: FakeControl) -> None:
    for line in ("ls", "logs", "status", "doctor"):
        assert "\x1b[3" in (await odctl(*line.split(), "--color", "always")).out, line
        assert "\x1b[3" in (await odctl(*line.split(), CLICOLOR_FORCE="1")).out, line
        assert "\x1b" not in (await odctl(*line.split(), NO_COLOR="1", CLICOLOR_FORCE="1")).out
    for form in ("json", "csv", "plain"):
        assert "\x1b" not in (await odctl("ls", "--color", "always", "-o", form)).out


async def test_levels_are_the_words_of_the_log_and_no_lines_are_none(odctl: Shell, control: FakeControl) -> None:
    for given, sent in (("warn", "warn"), ("WARNING", "warn"), ("critical", "error"), ("debug", "debug")):
        assert (await odctl("logs", "--level", given)).code == 0
        assert control.asked("logs").level == sent
    assert (await odctl("logs", "--level", "loud")).code == 2
    await odctl("logs", "-n", "0")
    assert control.asked("logs").lines == 0
    assert (await odctl("show", "1", "--log", "-1")).code == 2


async def test_names_cannot_steer_the_terminal(odctl: Shell, control: FakeControl) -> None:
    control.jobs[1].name = "[/] \x1b]0;x\x07 \u202eevil"
    for arguments in (["ls"], ["show", "1"], ["ls", "-o", "csv"], ["ls", "--json"], ["pause", "1"]):
        answer = await odctl(*arguments)
        assert answer.code == 0
        assert not {"\x1b", "\x07", "\u202e"} & set(answer.out + answer.err)
    assert (await odctl("ls", "--json")).json[0]["name"] == control.jobs[1].name


async def test_add_answers_in_the_order_of_the_input(odctl: Shell, control: FakeControl) -> None:
    batch = b"http://a/\n# no\nfile:///etc/passwd\nrefused:x\n" + b'{"url": "http://b/", "tags": ["tv"]}\n'
    answer = await odctl("add", "-", "--json", stdin=batch)
    assert answer.code == 6
    assert [one["ok"] for one in answer.json] == [True, False, False, True]
    assert [one["input"] for one in answer.json] == ["http://a/", "file:///etc/passwd", "refused:x", "http://b/"]
    assert [error["code"] for error in answer.errors] == ["INVALID_SOURCE", "INVALID_SOURCE"]
    assert answer.json[3]["job"]["tags"] == ["tv"]


async def test_add_sends_at_most_two_hundred_at_a_time(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl("add", "-", "-q", stdin=b"".join(b"http://h/%d\n" % number for number in range(401)))
    assert answer.code == 0
    assert len(answer.out.splitlines()) == 401
    assert [len(request.items) for request in control.adds] == [200, 200, 1]


async def test_add_passes_every_option_on(odctl: Shell, control: FakeControl, tmp_path: Path) -> None:
    (tmp_path / "x.torrent").write_bytes(b"d4:infodee")
    answer = await odctl(
        "add", "x.torrent", "-e", "aria2", "-n", "nas", "--files", "*.mkv", "-O", "split=4", "--name", "N", "-t", "a",
        "-t", "b", "-p", "high", "--paused", "--force", "--checksum", "sha-256=00", "--max-rate", "2M",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    item = control.adds[0].items[0]
    assert (item.torrent, item.torrent_name, item.engine, item.node) == (b"d4:infodee", "x.torrent", "aria2", "nas")
    assert (item.files, item.options, item.name, item.tags) == ("*.mkv", {"split": "4"}, "N", ["a", "b"])
    assert (item.priority, item.paused, item.force, item.checksum) == (10, True, True, "sha-256=00")
    assert item.max_rate_down == 2 << 20
    assert answer.out == "+ 3  N  aria2 → nas\n"


async def test_nothing_is_changed_before_every_option_was_looked_at(odctl: Shell, control: FakeControl) -> None:
    for line in (
        "add http://h/x --wait --progress frob", "add http://h/x --fields nonsense", "pause 1 --fields nonsense",
        "rm 1 --fields state", "link 1 --fields nonsense", "get 1 --progress frob", "watch 1 --fields nonsense",
        "cache pin k --fields nonsense", "cache cleanup --older 1d -y --fields key", "cache rm k --fields nonsense",
        "settings set a=1 --fields nonsense", "settings unset a --fields nonsense", "select 1 all --fields nonsense",
        "daemon reload --fields nonsense", "daemon stop --fields nonsense",
    ):  # fmt: skip
        assert (await odctl(*line.split())).code == 2, line
    assert [name for name, _ in control.calls if name != "hello"] == []


async def test_a_job_that_is_only_thought_of_has_no_number(odctl: Shell, control: FakeControl) -> None:
    assert (await odctl("add", "http://h/x", "--dry-run")).out == "would add  http://h/x  aria2 → nas\n"
    assert (await odctl("add", "http://h/x", "--dry-run", "-q")).out == ""
    made = (await odctl("add", "http://h/x", "refused:x", "--dry-run", "--json")).json
    assert (made[0]["job"]["id"], made[0]["job"]["uuid"], made[0]["job"]["name"]) == (None, None, "http://h/x")
    assert "job" not in made[1]


async def test_the_timeout_of_a_wait_is_not_that_of_the_add_before_it(odctl: Shell, control: FakeControl) -> None:
    control.add_seconds = 1.0
    answer = await odctl("add", "http://h/x", "--wait", "--timeout", "300ms")
    assert (answer.code, "+ 3" in answer.err) == (8, True)


async def test_settings_are_shown_as_people_write_them(odctl: Shell, control: FakeControl) -> None:
    assert (await odctl("settings", "get", "limits.link_expiry")).out == "12h\n"
    assert "12h" in (await odctl("settings", "ls")).out
    found = (await odctl("settings", "ls", "-o", "csv", "--fields", "value,default")).out
    assert found == "value,default\n43200,86400\n"


async def test_failures_carry_the_daemon_s_own_words(odctl: Shell, control: FakeControl) -> None:
    error = common.Error(code="NO_SPACE", message="the disk is full", hint="make room", details='{"free": 1}')
    control.refuse["list_jobs"] = (Status.UNAVAILABLE, error)
    answer = await odctl("ls")
    assert (answer.code, answer.err) == (9, "odctl: the disk is full\n  make room\n")
    told = (await odctl("ls", "--json")).errors[0]
    assert told == {
        "code": "NO_SPACE",
        "message": "the disk is full",
        "hint": "make room",
        "details": {"free": 1},
        "exit": 9,
    }


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.INTERNAL, 1), (Status.INVALID_ARGUMENT, 2), (Status.NOT_FOUND, 3), (Status.PERMISSION_DENIED, 4),
        (Status.UNAVAILABLE, 5), (Status.DEADLINE_EXCEEDED, 8), (Status.ABORTED, 9), (Status.RESOURCE_EXHAUSTED, 9),
    ],
)  # fmt: skip
async def test_grpc_s_status_decides_where_there_is_no_code(
    odctl: Shell, control: FakeControl, status: Status, code: int
) -> None:
    control.refuse["list_jobs"] = (status, common.Error(message="no"))
    assert (await odctl("ls")).code == code


async def test_another_major_version_is_refused_by_name(odctl: Shell, control: FakeControl) -> None:
    control.api_major = 2
    answer = await odctl("ls")
    assert answer.code == 9
    assert "API 1.0" in answer.err
    assert "API 2.3" in answer.err


async def test_a_daemon_that_hangs_meets_the_deadline(odctl: Shell, control: FakeControl) -> None:
    control.hang = True
    assert (await odctl("ls", "--timeout", "300ms")).code == 8


async def test_what_was_added_before_the_daemon_went_away_is_told(odctl: Shell, control: FakeControl) -> None:
    control.most_adds = 2
    lines = [f"http://h/{number}" for number in range(500)]
    batch = "\n".join(["file:///etc/passwd", *lines]).encode()
    answer = await odctl("add", "-", "--json", stdin=batch)
    assert answer.code == 6
    told = answer.json
    assert [one["input"] for one in told] == ["file:///etc/passwd", *lines]
    assert [one["ok"] for one in told] == [False] + [True] * 400 + [False] * 100
    assert [one["job"]["name"] for one in told if one["ok"]] == lines[:400]
    assert "whether this one was added is not known" in told[450]["error"]["message"]
    assert told[450]["error"]["exit"] == 5

    control.most_adds, sent = 4, len(control.adds)
    answer = await odctl("add", "-", "-q", stdin="\n".join([*lines, *lines]).encode())
    assert (answer.code, len(answer.out.splitlines()), len(control.adds) - sent) == (6, 200, 2)
    assert len(answer.err.splitlines()) <= 3 * 6
    assert "and 795 more failed" in answer.err


async def test_no_more_is_said_of_many_failures_than_can_be_read(odctl: Shell, control: FakeControl) -> None:
    unknown = [str(number) for number in range(1000, 2000)]
    answer = await odctl("pause", "1", *unknown)
    assert (answer.code, answer.out) == (6, "paused 1  job 1\n")
    assert len(answer.err.splitlines()) <= 3 * 6
    assert "and 995 more failed" in answer.err
    assert len((await odctl("pause", *unknown, "--json")).errors) == 1000


async def test_batches_partly_failed(odctl: Shell, control: FakeControl) -> None:
    some = await odctl("rm", "1", "99", "--json")
    assert (some.code, some.json) == (6, [{"id": 1, "freed_bytes": 1000}])
    assert some.errors[0]["exit"] == 3
    assert (await odctl("rm", "98", "99")).code == 3
    assert (await odctl("show", "1", "99", "--json")).code == 6


async def test_only_a_filter_that_meets_several_asks(odctl: Shell, control: FakeControl) -> None:
    refused = await odctl("rm", "--all")
    assert refused.code == 2
    assert "-y" in refused.err
    assert [name for name, message in control.calls if name == "remove_jobs" and not message.dry_run] == []
    assert (await odctl("rm", "--all", "-y")).code == 0
    assert (await odctl("rm", "1", "2")).code == 0
    del control.jobs[2]
    assert (await odctl("rm", "-f", "state=active")).code == 0


async def test_wait_ends_with_the_jobs(odctl: Shell, control: FakeControl) -> None:
    child = await odctl.start("wait", "1", "2", "--json")
    await until(lambda: bool(control.watching), what="the watch")
    control.change(1, state=FAILED, error=common.JobError(code="GONE", message="404"))
    out, _ = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 7
    assert [(one["id"], one["state"]) for one in json.loads(out)] == [(1, "failed"), (2, "completed")]


async def test_wait_survives_a_daemon_that_restarts(odctl: Shell, socket_dir: Path) -> None:
    first = FakeDaemon(socket_dir / "c.sock")
    async with first as control:
        control.jobs[1] = job(1)
        child = await odctl.start("wait", "1")
        await until(lambda: bool(control.watching), what="the watch")
    async with FakeDaemon(socket_dir / "c.sock") as control:
        control.jobs[1] = job(1, state=COMPLETED, progress=1.0)
        out, err = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 0, err
    assert out == b"1  completed  job 1\n"
    assert b"trying again" in err


async def test_control_c_only_detaches(odctl: Shell, control: FakeControl) -> None:
    child = await odctl.start("wait", "1")
    await until(lambda: bool(control.watching), what="the watch")
    child.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 130
    assert b"job 1 keeps running" in err


async def test_wait_times_out(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl("wait", "1", "--timeout", "500ms")
    assert answer.code == 8
    assert "job 1 keeps running" in answer.err


async def test_add_wait_prints_bars_nowhere_but_on_stderr(odctl: Shell, control: FakeControl) -> None:
    child = await odctl.start("add", "http://h/x", "--wait", "--json")
    await until(lambda: bool(control.watching), what="the watch")
    control.change(3, progress=0.75)
    control.change(3, state=COMPLETED, progress=1.0)
    out, _ = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 0
    assert json.loads(out)[0]["job"]["state"] == "completed"


async def test_events_tell_of_a_gap_on_stderr_alone(odctl: Shell, control: FakeControl) -> None:
    event = pb.Event(seq=7, ts=NOW, type="job.completed", job=1, data='{"a": 1}')
    control.events_sent = [pb.EventsResponse(gap=True, oldest_seq=7), pb.EventsResponse(event=event)]
    answer = await odctl("events", "--since", "3", "--no-follow", "--json")
    assert json.loads(answer.out) == {
        "seq": 7, "ts": "2026-01-31T12:00:00.000Z", "type": "job.completed", "job": 1, "node": None, "user": None,
        "data": {"a": 1},
    }  # fmt: skip
    assert "before 7" in answer.err
    assert (control.asked("events").since_seq, control.asked("events").from_start) == (3, True)


async def test_get_of_a_running_job_names_wait(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl("get", "1")
    assert answer.code == 9
    assert "still runs" in answer.err
    assert "--wait" in answer.err


@pytest.mark.parametrize("path", [("help",), ("completion", "bash"), ("version",), ("help", "filters")], ids=" ".join)
async def test_help_needs_nothing(odctl: Shell, path: tuple[str, ...]) -> None:
    answer = await odctl(*path, host=False, HOME="/nonexistent")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out


@pytest.mark.parametrize(
    "line", ["completion bash", "version --help", "cache --help", "--help", "cache list --help", "--version", "help ls",
             "help json"],
)  # fmt: skip
async def test_with_json_what_is_text_for_people_is_json_too(odctl: Shell, line: str) -> None:
    for arguments in ([*line.split(), "--json"], ["-o", "json", *line.split()]):
        answer = await odctl(*arguments, host=False)
        assert (answer.code, answer.err) == (0, "")
        assert isinstance(answer.json, dict)
    if line == "cache list --help":
        assert (answer.json["name"], answer.json["summary"]) == ("ls", "List cached contents.")


async def test_what_stands_behind_dashes_goes_to_the_player(odctl: Shell, control: FakeControl, tmp_path: Path) -> None:
    control.links = [pb.Link(job=1, index=1, path="a.mkv", url="http://h/x", content_type="video/x-matroska")]
    player = tmp_path / "player"
    player.write_text('#!/bin/sh\nprintf "%s|" "$@" > said\n')
    player.chmod(0o755)
    for file in ([], ["1"]):
        answer = await odctl("play", "1", *file, "--player", str(player), "--", "--fullscreen", "x")
        assert answer.code == 0, answer.err
        assert (tmp_path / "said").read_text().startswith("--fullscreen|x|/")
        assert control.asked("create_links").files == file
    assert (await odctl("play", "1", "2", "3", "--player", str(player))).code == 2


async def test_nothing_at_all_is_short_help_on_stderr(odctl: Shell) -> None:
    answer = await odctl()
    assert (answer.code, answer.out) == (2, "")
    assert "Usage: odctl" in answer.err


async def test_other_addresses_are_said_to_come_later(odctl: Shell) -> None:
    answer = await odctl("ls", "-H", "ssh://nas")
    assert answer.code == 2
    assert "Unix socket" in answer.err


async def test_a_reader_that_goes_away_is_silent(odctl: Shell, control: FakeControl) -> None:
    for number in range(3, 3000):
        control.jobs[number] = job(number)
    child = await odctl.start("ls", "--json")
    child._transport.get_pipe_transport(1).close()
    _, err = await asyncio.wait_for(asyncio.gather(child.wait(), child.stderr.read()), 60)
    assert child.returncode == 141
    assert err == b""


async def test_an_unexpected_failure_is_one_line_and_a_file(odctl: Shell, control: FakeControl, tmp_path: Path) -> None:
    probe = (
        "import odctl.client.models as m\nm.jsonable = lambda value: 1 / 0\n"
        "from odctl.cli.app import run\nprint(run(['ls', '--json']))"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", probe, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(tmp_path), "ODCTL_HOST": f"unix://{odctl.folder / 'c.sock'}", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    out, err = await asyncio.wait_for(child.communicate(), 60)
    told = json.loads(err)["error"]
    assert (out, told["code"], told["exit"]) == (b"1\n", "BUG", 1)
    crash = next((tmp_path / ".local/state/opendebrid").glob("odctl-crash-*"))
    assert str(crash) in told["hint"]
    assert crash.stat().st_mode & 0o777 == 0o600
    assert "ZeroDivisionError" in crash.read_text()


async def test_states_are_words(control: FakeControl, odctl: Shell) -> None:
    control.jobs[1] = job(1, state=ACTIVE, hold=common.Hold.DISK)
    assert (await odctl("ls", "--json")).json[0]["hold"] == "disk"


@pytest.mark.parametrize("line", ["wait 1", "watch 1", "add http://h/x --wait", "ls -w", "events", "logs --follow"])
async def test_control_c_after_a_lost_connection_only_detaches(odctl: Shell, socket_dir: Path, line: str) -> None:
    call = "events" if line == "events" else "logs" if line.startswith("logs") else "watch"
    daemon = FakeDaemon(socket_dir / "c.sock")
    async with daemon as control:
        control.follows = True
        control.jobs[1] = job(1)
        child = await odctl.start(*line.split())

        def streams() -> int:
            return sum(name == call for name, _ in control.calls)

        await until(lambda: streams() == 1, what="the stream")
        if call == "watch":
            await until(lambda: bool(control.watching), what="the watch")
        daemon.cut()
        await until(lambda: streams() == 2, what="the stream again")
        child.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 130, err
    assert b"trying again" in err
    assert b"Traceback" not in err
    assert (b"connected again" in err) == (call in ("events", "logs"))
    assert (b"keeps running" in err) == (line not in ("ls -w", "events", "logs --follow"))
