"""What odctl says to people, and how it ends, where the two could be misunderstood."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from grpclib.const import Status
from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.control import v1 as pb

from odctl.sources import MAX_PRIORITY
from oddaemon.services import orders
from tests.support.fake_control import COMPLETED, FAILED, FakeControl, job
from tests.support.odctl_shell import Shell
from tests.support.wait import until


async def test_several_jobs_are_one_line_and_one_has_its_name(odctl: Shell, control: FakeControl) -> None:
    assert (await odctl("pause", "1", "2")).out == "paused 2 jobs\n"
    assert (await odctl("cancel", "1")).out == "cancelled 1  job 1\n"
    assert (await odctl("rm", "1", "2")).out == "removed 2 jobs  (2.0 KiB)\n"
    control.jobs[1].attempts = 1
    assert (await odctl("resume", "1")).out == "1 is running already\n"
    control.jobs[2].state = common.JobState.QUEUED
    assert (await odctl("resume", "1", "2")).out == "1 is running already\nresumed 2  job 2\n"
    assert (await odctl("retry", "1")).out == "1 queued again (attempt 2)  job 1\n"


async def test_wait_is_silent_but_for_a_last_line(odctl: Shell, control: FakeControl) -> None:
    child = await odctl.start("wait", "1", "2")
    await until(lambda: bool(control.watching), what="the watch")
    control.change(1, progress=0.75)
    control.change(1, state=COMPLETED, progress=1.0)
    assert await asyncio.wait_for(child.communicate(), 60) == (b"1  completed  job 1\n2  completed  job 2\n", b"")


async def test_wait_for_any_is_content_with_one(odctl: Shell, control: FakeControl) -> None:
    control.jobs[3] = job(3, state=FAILED)
    assert (await odctl("wait", "1", "2", "3", "--any")).code == 0
    assert (await odctl("wait", "1", "3", "--any")).code == 7


async def test_get_with_wait_says_that_the_job_failed(odctl: Shell, control: FakeControl) -> None:
    control.jobs[3] = job(3, state=FAILED, completed_at=datetime(2026, 1, 31, 12, 0, tzinfo=UTC))
    told = (await odctl("show", "3")).out
    assert ("  ended      2026" in told, "completed" in told) == (True, False)
    assert [(await odctl("get", "3", *words)).code for words in ((), ("--wait",))] == [9, 7]


async def test_why_does_not_say_the_state_again_and_tells_local_time(odctl: Shell, control: FakeControl) -> None:
    at = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
    control.jobs[1] = job(
        1, state=common.JobState.QUEUED, hold=common.Hold.USER, reason=common.Reason(code="PAUSED", message="paused")
    )
    assert "why" not in (await odctl("show", "1")).out
    until_then = common.Reason(code="PAUSED_UNTIL", message="paused until 2026-01-31 12:00 UTC", retry_at=at)
    control.jobs[1].reason = until_then
    assert "paused until 2026-01-31 14:00:00\n" in (await odctl("show", "1", TZ="UTC-2")).out
    assert "paused until 2026-01-31 14:00:00\n" in (await odctl("ls", TZ="UTC-2")).out


async def test_columns_look_as_in_the_list(odctl: Shell, control: FakeControl) -> None:
    assert (await odctl("ls", "--columns", "id,size,state")).out.splitlines()[1] == " 1  1000 B  active"
    assert (await odctl("ls", "--columns", "id,size", "-o", "csv")).out == "id,size\n1,1000\n2,1000\n"
    assert (await odctl("ls", "--columns", "nonsense")).code == 2


async def test_errors_say_where_in_the_source(odctl: Shell, control: FakeControl) -> None:
    error = common.Error(code="INVALID_FILTER", message="expected field=value", details='{"position": 13}')
    control.refuse["list_jobs"] = (Status.INVALID_ARGUMENT, error)
    assert (await odctl("ls", "x")).err == "odctl: expected field=value (at character 14)\n"


async def test_a_filter_s_error_points_at_the_column(odctl: Shell, control: FakeControl) -> None:
    """Three lines, also for a long filter, wide characters and such that would steer the terminal."""
    for text, position, shown, column in (
        ("state=active stat=x", 13, "state=active stat=x", 13),
        ("日本 stat=x", 3, "日本 stat=x", 5),
        ("\x1b[2J stat=x", 5, "\\x1b[2J stat=x", 8),
        ("x" * 200 + " stat=x" + "y" * 200, 201, "…" + "x" * 59 + " stat=x" + "y" * 33 + "…", 61),
        ("", 0, "", 0),
    ):
        details = json.dumps({"position": position, "text": text})
        error = common.Error(code="INVALID_FILTER", message="no", hint="fields: id", details=details)
        control.refuse["list_jobs"] = (Status.INVALID_ARGUMENT, error)
        told = await odctl("ls", "x")
        assert told.err.splitlines() == ["odctl: no", f"  {shown}", "  " + " " * column + "^ fields: id"]
        assert (told.code, told.out) == (2, "")


async def test_columns_and_fields_are_pointed_at(odctl: Shell, control: FakeControl) -> None:
    first, second, third = (await odctl("ls", "--columns", "id,sise")).err.splitlines()
    assert first == "odctl: --columns: there is no field 'sise' here"
    assert second == "  id,sise"
    assert third.startswith("     ^ did you mean size? fields: id, ")
    assert "\n  name,idd\n       ^ " in (await odctl("ls", "--fields", "name,idd")).err


async def test_filters_are_joined_without_changing_what_they_mean(odctl: Shell, control: FakeControl) -> None:
    await odctl("pause", "-f", "a | b", "-f", "c", "--dry-run")
    await odctl("ls", "a", "|", "b", "--mine", "--user", 'an"n')
    assert control.asked("list_jobs").filter == '((a | b) user="an\\"n") mine'
    assert control.asked("pause_jobs").selector.filter == "(a | b) c"


async def test_json_has_null_for_what_is_unknown_and_lists_where_there_may_be_several(
    odctl: Shell, control: FakeControl
) -> None:
    assert (await odctl("probe", "http://h/x", "--json")).json[0]["files"][0]["job"] is None
    assert (await odctl("show", "1", "--json")).json[0]["placement"] is None
    assert [one["name"] for one in (await odctl("engines", "test", "aria2", "--json")).json] == ["aria2"]
    assert [one["pinned"] for one in (await odctl("cache", "pin", "k", "--json")).json] == [True]


async def test_a_probe_names_the_origin_s_answer_as_a_job_does(odctl: Shell, control: FakeControl) -> None:
    details = json.dumps({"failure": {"code": "ORIGIN_GONE", "message": "404", "retryable": False}})
    error = common.Error(code="ENGINE_FAILED", message="the origin answered 404", details=details)
    control.refuse["probe"] = (Status.ABORTED, error)
    answer = await odctl("probe", "http://h/x", "--json")
    assert (answer.code, answer.errors[0]["code"]) == (9, "ORIGIN_GONE")


async def test_probe_reads_stdin_and_looks_at_several_at_once(odctl: Shell, control: FakeControl) -> None:
    control.probes_together = 3
    answer = await odctl("probe", "-", "--json", stdin=b"http://a/\n# no\nfile:///x\nhttp://b/\nhttp://c/\n")
    assert [one["input"] for one in answer.json] == ["http://a/", "http://b/", "http://c/"]
    assert (answer.code, answer.errors[0]["details"]["input"]) == (6, "file:///x")


async def test_each_key_of_a_removal_has_its_own_answer(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl("cache", "rm", "x", "missing", "y")
    assert (answer.code, [line.split()[1] for line in answer.out.splitlines()]) == (6, ["x", "y"])
    assert "missing" in answer.err
    control.refuse["remove_cache"] = (Status.ABORTED, common.Error(code="CONFLICT", message="it is pinned"))
    assert (await odctl("cache", "rm", "x", "y")).err == "odctl: x: it is pinned\nodctl: y: it is pinned\n"


async def test_a_key_can_be_shortened_and_a_job_stands_for_its_entry(odctl: Shell, control: FakeControl) -> None:
    first, second = f"aria2:hash:{'a' * 40}", f"aria2:hash:ab{'b' * 38}"
    control.cached = [first, second, "ytdlp:watch:1"]
    control.jobs[1].cache_key = second
    for given, meant in (("aria2:hash:aa", first), ("1", second), (first, first), ("ytdlp", "ytdlp:watch:1")):
        assert (await odctl("cache", "show", given)).code == 0
        assert control.asked("list_cache").key == meant
        assert (await odctl("cache", "pin", given)).code == 0
        assert control.asked("pin_cache").keys == [meant]
        assert (await odctl("cache", "rm", given)).code == 0
        assert control.asked("remove_cache").keys == [meant]
    control.calls.clear()
    for verb in ("show", "pin", "unpin", "rm"):
        answer = await odctl("cache", verb, "aria2:hash:a")
        assert (answer.code, answer.err.splitlines()) == (
            2, ["odctl: 'aria2:hash:a' is the beginning of 2 keys", f"  {first}  {second}"]
        )  # fmt: skip
    control.jobs[2].cache_key = ""
    assert "no cache entry for job 2" in (await odctl("cache", "rm", "2")).err
    assert (await odctl("cache", "rm", "77")).code == 3
    assert not {"pin_cache", "remove_cache"} & {name for name, _ in control.calls}
    # a list that is read elsewhere, and the wide one, have keys whole
    for answer in (await odctl("cache", "ls"), await odctl.at_a_terminal("cache", "ls", "-o", "wide")):
        assert all(key in answer.out for key in control.cached)


async def test_the_plan_of_a_cleanup_stands_above_its_question(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl("cache", "cleanup", "--older", "1d")
    assert answer.code == 2
    plan, question = answer.err.splitlines()[:2]
    assert (plan.split()[:2], "this needs a confirmation" in question) == (["would", "remove"], True)


async def test_a_yes_to_a_cleanup_is_for_the_entries_that_were_shown(odctl: Shell, control: FakeControl) -> None:
    assert (await odctl("cache", "cleanup", "--older", "1d", "-y")).code == 0
    planned, done = (message for name, message in control.calls if name == "cleanup_cache")
    assert (planned.dry_run, planned.only) == (True, None)
    assert [(entry.key, entry.generation) for entry in done.only.entries] == [("aria2:hash:" + 40 * "a", 0)]
    assert (await odctl("cache", "cleanup", "--older", "1d", "-y", "--only", "k#1", "--only", "a:b#c#2")).code == 0
    asked = [message for name, message in control.calls if name == "cleanup_cache"][2]
    assert [(entry.key, entry.generation) for entry in asked.only.entries] == [("k", 1), ("a:b#c", 2)]
    wrong = await odctl("cache", "cleanup", "--older", "1d", "-y", "--only", "k")
    assert (wrong.code, "KEY#GENERATION" in wrong.err) == (2, True)


async def test_copies_are_asked_for(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl("cache", "copy", "k", "--to", "attic")
    assert (answer.code, answer.out) == (0, "attic  copying  k\n")
    asked = control.asked("copy_cache")
    assert (asked.key, asked.node) == ("k", "attic")
    shown = (await odctl("cache", "copy", "k", "--to", "attic", "--json")).json
    assert [(found["state"], found["wanted"]) for found in shown["replicas"]] == [("copying", 1000)]
    assert (await odctl("cache", "copy", "k")).code == 2
    assert (await odctl("cache", "pin", "k")).code == 0
    assert control.asked("pin_cache").replicas is None
    assert (await odctl("cache", "pin", "k", "--replicas", "2")).code == 0
    assert [message.replicas for name, message in control.calls if name == "pin_cache"] == [None, 2]
    assert (await odctl("cache", "pin", "k", "--replicas", "0")).code == 2


async def test_a_cache_entry_is_told_in_words(odctl: Shell, control: FakeControl) -> None:
    told = (await odctl("cache", "show", "k")).out
    assert "size       10 B\n" in told
    assert "{" not in told


async def test_stopping_what_does_not_run_is_done_already(odctl: Shell) -> None:
    answer = await odctl("daemon", "stop", "--json")
    assert (answer.code, answer.json["state"], answer.err) == (0, "stopped", "")


async def test_filters_are_combined_and_switches_can_be_off(odctl: Shell, control: FakeControl) -> None:
    assert (await odctl("rm", "-f", "state=active", "-f", "tag=x", "-y")).code == 0
    assert control.asked("remove_jobs").selector.filter == "state=active tag=x"
    control.refuse["list_jobs"] = (Status.ABORTED, common.Error(code="CONFLICT", message="no"))
    assert "Traceback" not in (await odctl("ls", ODCTL_DEBUG="0")).err
    assert "Traceback" in (await odctl("ls", ODCTL_DEBUG="1")).err


async def test_a_change_that_no_key_can_be_is_told(odctl: Shell, control: FakeControl) -> None:
    for word, meant in (("PRIORITY=high", "priority=high"), ("foo-bar=1", "foo_bar=1")):
        answer = await odctl("set", "1", word)
        assert (answer.code, f"did you mean {meant}" in answer.err) == (2, True)
    assert [name for name, _ in control.calls] == []
    assert MAX_PRIORITY == orders.MAX_PRIORITY
    assert (await odctl("add", "http://h/x", "-p", str(MAX_PRIORITY + 1))).code == 2


async def test_the_note_below_files_counts_all_of_them(odctl: Shell, control: FakeControl) -> None:
    control.files[1] = [
        common.File(job=1, index=at, path=name, size=1, ready=True, selected=at < 3)
        for at, name in enumerate(("a.txt", "b.txt", "c.nfo"), start=1)
    ]
    assert (await odctl("files", "1", "-f", "*.txt")).err == "2 of 3 files fit\n2 of 3 selected: 1,2\n"


async def test_a_detached_player_is_named_and_leaves_no_list_behind(
    odctl: Shell, control: FakeControl, tmp_path: Path
) -> None:
    control.links = [pb.Link(job=1, index=1, path="a.mkv", url="http://h/x", content_type="video/x-matroska")]
    player = tmp_path / "mpv"
    player.write_text('#!/bin/sh\ncat "$1" > seen.part && mv seen.part seen\nwhile [ ! -e end ]; do sleep 0.05; done\n')
    player.chmod(0o755)
    answer = await odctl("play", "1", "--player", str(player), "--detach", "--json", TMPDIR=str(tmp_path))
    assert (answer.code, answer.json["player"], answer.json["urls"]) == (0, "mpv", ["http://h/x"])
    await until(lambda: (tmp_path / "seen").exists(), what="the player")
    assert "http://h/x" in (tmp_path / "seen").read_text()
    os.kill(answer.json["pid"], 0)
    (tmp_path / "end").touch()
    await until(lambda: not list(tmp_path.glob("odctl-*.m3u")), what="the list to go")


HUGE = "9" * 30
BEYOND = "9" * 5000
"""More digits than Python reads as a whole number."""


@pytest.mark.parametrize("number", [HUGE, BEYOND], ids=len)
@pytest.mark.parametrize(
    "line",
    [
        "ls --limit N", "ls --offset N", "logs -n N", "show 1 --log N", "link 1 --max-uses N", "events --since N",
        "add http://h/x --max-rate N", "add http://h/x --max-rate NG", "get 2 --limit-rate N", "get 2 -j N",
        "cache cleanup --until-free NT", "users quota maya N", "users quota maya --jobs N", "ls --timeout N",
        "ls -w N", "pause 1 --for N", "web --port N", "add http://h/x -p N",
    ],
)  # fmt: skip
async def test_numbers_beyond_all_bounds_are_told_by_their_option(
    odctl: Shell, control: FakeControl, line: str, number: str
) -> None:
    answer = await odctl(*(word.replace("N", number) for word in line.split()))
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.err.splitlines()) <= 3
    assert "the request is not a" not in answer.err
    assert control.calls == []


@pytest.mark.parametrize(
    "line",
    ["ls W", "show W", "add http://h/x --name W", "add http://h/W", "set 1 name=W", "link 1 W", "events --type W",
     "cache show W", "logs W", "select 1 W", "apikey create W", "settings set W=1", "-c W ls", "help W", "W"],
)  # fmt: skip
async def test_words_that_are_not_utf_8_are_no_bug(odctl: Shell, control: FakeControl, line: str) -> None:
    """As a terminal of another encoding sends them, or the completion of a file's name."""
    answer = await odctl(*(word.replace("W", "\udcff") for word in line.split()))
    assert (answer.code in (2, 3), answer.out) == (True, "")
    assert len(answer.err.splitlines()) <= 3
    assert "this is a bug" not in answer.err


async def test_json_that_no_text_can_be_made_of_is_one_of_the_batch_that_failed(
    odctl: Shell, control: FakeControl
) -> None:
    lines = [b'{"url": "http://h/a", "name": "\\ud800"}', b'{"url":' * 5000, b"http://h/b", b"\xff"]
    answer = await odctl("add", "-", "--json", stdin=b"\n".join(lines))
    assert (answer.code, [one["ok"] for one in answer.json]) == (6, [False, False, True, False])
    assert [one["details"]["line"] for one in answer.errors] == [1, 2, 4]


async def test_small_mistakes_are_told_in_words_that_help(odctl: Shell, control: FakeControl) -> None:
    for group, verb in (("nodes", "ls"), ("users", "ls"), ("cache", "ls"), ("settings", "ls"), ("engines", "ls"),
                        ("context", "ls"), ("daemon", "start")):  # fmt: skip
        answer = await odctl(group)
        assert (answer.code, answer.err.splitlines()[-1]) == (
            2, f"odctl: a command is missing, as in: odctl {group} {verb}"
        )  # fmt: skip
    answer = await odctl("add", "-", stdin=b"# no\n\nfile:///x\n")
    assert answer.err.splitlines()[0] == "odctl: line 3: file:///x: file: is not a source"
    control.jobs.clear()
    answer = await odctl("ls", "--user", "missing")
    assert (answer.code, "missing" in answer.err.splitlines()[0]) == (0, True)
    answer = await odctl.at_a_terminal("users", "rm", "missing")
    assert (answer.code, "[y/N]" in answer.out) == (3, False)
    told = (await odctl("--help")).out
    assert "[default: 0]" not in told
    assert "contexts" in told
    assert "on contexts," in " ".join(told.split())
    assert "'!size" in (await odctl("ls", "--help")).out
