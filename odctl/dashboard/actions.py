"""What the keys do to jobs: to the marked ones, else to the one under the cursor. Nothing is shown before the daemon
said it; its answers are shown at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from textual.binding import Binding

from odctl import text as words
from odctl.client.errors import UsageError
from odctl.client.models import Detail, Job, Outcome, Selection
from odctl.dashboard import messages as m
from odctl.dashboard.desk import TOLD, Dashboard

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

MARK_LIMIT = 5000
"""Jobs that are marked at most by one key."""

BINDINGS = (
    Binding("p", "pause", "Pause", id="jobs.pause"),
    Binding("x", "cancel", "Cancel", show=False, id="jobs.cancel"),
    Binding("r", "retry", "Retry", id="jobs.retry"),
    Binding("d", "remove", "Remove", id="jobs.remove"),
    Binding("P", "priority", "Priority", show=False, id="jobs.priority"),
    Binding("t", "tags", "Tags", show=False, id="jobs.tags"),
)

Work = Callable[["DaemonClient", Selection], Awaitable[list[Outcome]]]


def label(job: Job) -> str:
    return words.clean(f"{job.id} {job.name or job.source}".strip())[:200]


def summed(what: str, outcomes: Sequence[Outcome], more: str = "") -> tuple[str, str]:
    """What became of a batch, and how grave it is: one line of success, and one for each failure that is told."""
    done = [outcome for outcome in outcomes if outcome.failure is None]
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    lines: list[str] = []
    if len(done) == 1 and done[0].job is not None:
        lines.append(f"{what} {label(done[0].job)}{more}")
    elif done:
        lines.append(f"{what} {len(done)} job{'s' if len(done) != 1 else ''}{more}")
    for outcome in failed[:TOLD]:
        assert outcome.failure is not None
        hint = f" – {words.clean(outcome.failure.hint)}" if outcome.failure.hint else ""
        lines.append(f"{words.clean(outcome.id)}: {words.clean(outcome.failure.message)}{hint}")
    if len(failed) > TOLD:
        lines.append(f"and {len(failed) - TOLD} more failed")
    return "\n".join(lines), "error" if failed and not done else "warning" if failed else "information"


def tag_changes(text: str) -> list[str]:
    """`tv,new` are the tags from here on; `+tv -old` changes those that are there. Raises UsageError."""
    parts = text.replace(",", " ").split()
    signed = [part for part in parts if part[0] in "+-"]
    if signed and len(signed) != len(parts):
        raise UsageError("either the tags as they shall be, or each with + or -", hint="tv new, or +tv -old")
    if not signed:
        return [f"tags={','.join(parts)}"]
    changes = []
    for sign in "+-":
        named = [part[1:] for part in parts if part[0] == sign and part[1:]]
        if named:
            changes.append(f"tags{sign}={','.join(named)}")
    return changes


class JobActions:
    """Part of the pane that lists jobs."""

    dashboard: Dashboard

    def in_sight(self, what: str) -> bool:
        """What the key is about can be seen. If not, it is shown, and the key did no more than that."""
        return True

    def _chosen(self, what: str) -> tuple[Selection, tuple[Job, ...]] | None:
        """Those that a key is about, with what is known of them; says so when there are none."""
        state = self.dashboard.state
        if not state.marks and not self.in_sight(what):
            return None
        numbers = state.chosen
        if not numbers:
            self.dashboard.say(f"{what}: no job is under the cursor, and none is marked", severity="warning")
            return None
        known = tuple(job for number in numbers if (job := state.window.job(number)) is not None)
        return Selection(ids=tuple(str(number) for number in numbers)), known

    def _change(self, what: str, done: str, which: Selection, work: Work) -> None:
        def then(outcomes: list[Outcome]) -> None:
            self.dashboard.tell(m.JobsTold(jobs=tuple(item.job for item in outcomes if item.job is not None)))
            self.dashboard.say(*summed(done, outcomes))

        self.dashboard.carry_out(what, lambda client: work(client, which), then)

    def _named(self, which: Selection, known: Sequence[Job]) -> str:
        if len(which.ids) > 1:
            return f"{len(which.ids)} jobs"
        return label(known[0]) if known else f"job {which.ids[0]}"

    def _with_whole(self, what: str, which: Selection, then: Callable[[Job | None], None]) -> None:
        """Gives `then` everything of the job, of which the list knows only what it shows; None where it is several."""
        if len(which.ids) > 1:
            then(None)
            return

        def told(details: list[Detail]) -> None:
            failure = details[0].failure if details else None
            if failure is not None:
                self.dashboard.say(f"{what}: {failure.message} – {failure.hint}", severity="error")
            elif details:
                then(details[0].job)

        self.dashboard.carry_out(what, lambda client: client.get_jobs(which), told, opens=True)

    # Keys

    def action_pause(self) -> None:
        """Pauses those that are not paused; when all of them are, resumes them."""
        found = self._chosen("pause")
        if found is None:
            return
        which, known = found
        open_ = [job for job in known if not job.over]
        held = [job for job in open_ if job.hold == "user"]
        if held and len(held) == len(open_) and len(known) == len(which.ids):
            only = Selection(ids=tuple(str(job.id) for job in held))
            self._change("resume", "resumed", only, lambda client, which: client.resume(which))
            return
        if open_ and len(known) == len(which.ids):
            which = Selection(ids=tuple(str(job.id) for job in open_ if job not in held))
        self._change("pause", "paused", which, lambda client, which: client.pause(which))

    def action_retry(self) -> None:
        found = self._chosen("retry")
        if found is not None:
            self._change(
                "retry", "queued again", found[0],
                lambda client, which: client.retry(which, node="", engine="", options={}),
            )  # fmt: skip

    def action_cancel(self) -> None:
        found = self._chosen("cancel")
        if found is None:
            return
        which, known = found
        from odctl.dashboard.dialogs.confirm import Confirm

        def answered(yes: bool | None) -> None:
            if yes:
                self._change("cancel", "cancelled", which, lambda client, which: client.cancel(which))

        lines = [
            "It is given up and stays in the list; r takes it up again.",
            "What was downloaded goes, unless somebody else wants it: p keeps it.",
        ]
        self.dashboard.push_screen(Confirm(f"Cancel {self._named(which, known)}?", lines, "Cancel it"), answered)

    def action_remove(self) -> None:
        found = self._chosen("remove")
        if found is None:
            return
        which, known = found

        def would(outcomes: list[Outcome]) -> None:
            going = [item for item in outcomes if item.failure is None]
            if not going:
                self.dashboard.say(*summed("removed", outcomes))
                return
            self._ask_removal(which, known, going)

        self.dashboard.carry_out("remove", lambda client: client.remove(which, dry_run=True), would, opens=True)

    def _ask_removal(self, which: Selection, known: Sequence[Job], going: Sequence[Outcome]) -> None:
        from odctl.dashboard.dialogs.confirm import Choose

        freed = sum(item.freed_bytes for item in going)
        names = [label(item.job) for item in going if item.job is not None]
        room = f"{words.size(freed)} are freed." if freed else "Nothing is freed: others need the files, or none are."
        lines = [*names[:8], *([f"and {len(names) - 8} more"] if len(names) > 8 else []), "", room,
                 "Its links die. This cannot be taken back."]  # fmt: skip

        def answered(answer: str | None) -> None:
            if answer is not None:
                self._remove(which, keep=answer == "keep")

        choices = [("keep", "Keep the data"), ("all", "Remove")]
        question = f"Remove {self._named(which, known)}?"
        self.dashboard.push_screen(Choose(question, lines, choices), answered)

    def _remove(self, which: Selection, *, keep: bool) -> None:
        def then(outcomes: list[Outcome]) -> None:
            gone = [item for item in outcomes if item.failure is None]
            numbers = {item.job.id if item.job is not None else int(item.id) for item in gone}
            self.dashboard.tell(m.JobsRemoved(numbers=frozenset(numbers)))
            freed = sum(item.freed_bytes for item in gone)
            more = ", its data is kept" if keep else f", {words.size(freed)} freed" if freed else ""
            self.dashboard.say(*summed("removed", outcomes, more))

        self.dashboard.carry_out("remove", lambda client: client.remove(which, keep_data=keep), then)

    def action_priority(self) -> None:
        found = self._chosen("priority")
        if found is None:
            return
        which, known = found
        from odctl.dashboard.dialogs.ask import Ask
        from odctl.sources import parse_priority

        def check(text: str) -> object:
            return text.strip() in ("top", "bottom") or parse_priority(text)

        def answered(text: str | None) -> None:
            if text is None:
                return
            top = text.strip()
            change = f"position={top}" if top in ("top", "bottom") else f"priority={parse_priority(text)}"
            self._change("priority", "changed", which, lambda client, which: client.set_jobs(which, [change]))

        def ask(job: Job | None) -> None:
            lines = ["low, normal, high or a number; top: the next of the queue"]
            value = "" if job is None else str(job.priority)
            self.dashboard.push_screen(
                Ask(f"Priority of {self._named(which, known)}", lines, value=value, check=check), answered
            )

        self._with_whole("priority", which, ask)

    def action_tags(self) -> None:
        found = self._chosen("tags")
        if found is None:
            return
        which, known = found
        from odctl.dashboard.dialogs.ask import Ask

        def answered(text: str | None) -> None:
            if text is not None:
                changes = tag_changes(text)
                self._change("tags", "changed", which, lambda client, which: client.set_jobs(which, changes))

        def ask(job: Job | None) -> None:
            lines = ["the tags as they shall be, or +tv -old to change those that are there"]
            value = "" if job is None else " ".join(job.tags)
            self.dashboard.push_screen(
                Ask(f"Tags of {self._named(which, known)}", lines, value=value, check=tag_changes), answered
            )

        self._with_whole("tags", which, ask)

    def action_mark_all(self) -> None:
        """All that the filter finds, as the daemon tells them."""
        query = self.dashboard.state.query

        async def work(client: DaemonClient) -> tuple[list[Job], int]:
            return await client.list_jobs(where=query.filter, sort=query.sort, old=query.old, limit=MARK_LIMIT)

        def then(answer: tuple[list[Job], int]) -> None:
            jobs, total = answer
            if self.dashboard.state.query != query:
                return
            self.dashboard.tell(m.AllMarked(sizes={job.id: job.size for job in jobs}))
            if total > len(jobs):
                self.dashboard.say(f"the first {len(jobs):,} of {total:,} are marked", severity="warning")

        self.dashboard.carry_out("mark all", work, then)

