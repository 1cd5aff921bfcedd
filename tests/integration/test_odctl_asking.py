"""Questions, and Ctrl-C: what a person at a terminal meets, and a script never does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fake_control import COMPLETED, FakeControl, job
from tests.support.odctl_shell import Shell
from tests.support.terminal import Terminal
from tests.support.wait import until

MANY = (
    (["pause", "--all"], "pause_jobs"), (["resume", "-f", "id>=1"], "resume_jobs"),
    (["cancel", "--all"], "cancel_jobs"), (["retry", "--failed"], "retry_jobs"), (["rm", "--all"], "remove_jobs"),
    (["set", "--all", "priority=high"], "set_jobs"),
)  # fmt: skip
"""Every verb that may meet several jobs at once, and the call that it makes."""


def changes(control: FakeControl, call: str) -> list[object]:
    return [message.selector for name, message in control.calls if name == call and not message.dry_run]


@pytest.mark.parametrize(("line", "call"), MANY, ids=lambda value: value[0] if isinstance(value, list) else "")
async def test_a_script_is_told_the_flag_and_changes_nothing(
    odctl: Shell, control: FakeControl, line: list[str], call: str
) -> None:
    refused = await odctl(*line)
    assert (refused.code, refused.out) == (2, "")
    assert "2 jobs: this needs a confirmation" in refused.err
    assert "-y (--yes)" in refused.err
    assert (await odctl(*line, "--dry-run")).out.count("\n") == 2
    assert changes(control, call) == []
    assert (await odctl(*line, "-y")).code == 0
    assert len(changes(control, call)) == 1


@pytest.mark.parametrize(("line", "call"), MANY, ids=lambda value: value[0] if isinstance(value, list) else "")
async def test_a_yes_is_for_the_jobs_that_were_asked_about(
    odctl: Shell, control: FakeControl, line: list[str], call: str, tmp_path: Path
) -> None:
    async with Terminal() as terminal:
        terminal.fork(*line, environment=odctl.environment(TERM="xterm"), cwd=tmp_path)
        await terminal.shows("2 jobs? [y/N]")
        control.jobs[3] = job(3)  # comes to fit while the question is open
        terminal.type("y", "enter")
        assert await terminal.ended() == 0
    (chosen,) = changes(control, call)
    assert (chosen.ids, chosen.filter, chosen.all) == (["1", "2"], "", False)  # type: ignore[attr-defined]


@pytest.mark.parametrize("typed", ["n", "", "yep"])
async def test_anything_but_yes_changes_nothing(
    odctl: Shell, control: FakeControl, typed: str, tmp_path: Path
) -> None:
    async with Terminal() as terminal:
        terminal.fork("rm", "--all", environment=odctl.environment(TERM="xterm"), cwd=tmp_path)
        await terminal.shows("[y/N]")
        terminal.type(typed, "enter")
        assert await terminal.ended() == 1
        assert "nothing was changed" in terminal.text
    assert changes(control, "remove_jobs") == []


async def test_who_wants_no_questions_meets_none_at_a_terminal(
    odctl: Shell, control: FakeControl, tmp_path: Path
) -> None:
    for words, switch in ((["--no-input"], "0"), ([], "1")):
        async with Terminal() as terminal:
            environment = odctl.environment(TERM="xterm", ODCTL_NO_INPUT=switch)
            terminal.fork("rm", "--all", *words, environment=environment, cwd=tmp_path)
            assert await terminal.ended() == 2
            assert "add -y" in terminal.text
    assert changes(control, "remove_jobs") == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("wait 1", "job 1 keeps running"), ("watch 1", "job 1 keeps running"),
        ("wait 1 3", "jobs 1, 3 keep running"), ("get 1 --wait", "job 1 keeps running"),
        ("add http://h/x --wait", "keeps running"), ("add http://h/x --follow", "keeps running"),
    ],
)  # fmt: skip
async def test_control_c_leaves_the_jobs_alone(
    odctl: Shell, control: FakeControl, line: str, told: str, tmp_path: Path
) -> None:
    control.jobs[3] = job(3)
    async with Terminal() as terminal:
        terminal.fork(*line.split(), environment=odctl.environment(TERM="xterm"), cwd=tmp_path)
        await until(lambda: bool(control.watching), what="the watch")
        terminal.type("\x03")
        assert await terminal.ended() == 130
        assert told in terminal.text
        assert terminal.restored
    assert not [name for name, _ in control.calls if name in ("cancel_jobs", "pause_jobs", "remove_jobs")]


async def test_control_c_of_a_watch_for_programs_is_told_to_nobody(odctl: Shell, control: FakeControl) -> None:
    control.jobs[1].state = COMPLETED
    assert (await odctl("watch", "1", "--json")).err == ""
