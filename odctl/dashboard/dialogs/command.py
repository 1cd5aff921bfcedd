"""A line of odctl, carried out by odctl: the same grammar, the same words, what it prints in a window."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Input, Static

from odctl.dashboard import children
from odctl.dashboard.dialogs.base import Dialog
from odctl.dashboard.history import History
from odctl.text import clean

TAKES_TERMINAL = {
    "top": "this is the dashboard already",
    "web": "it serves a page until it is ended: run it in a terminal",
    "login": "it asks for a password: run it in a terminal",
    "stdio": "it is for programs: run it in a terminal",
}
ENDLESS = {
    "watch": "it follows for ever: the list does that here", "wait": "it waits: the list shows when it is done",
    "events": "add --no-follow, or look at the screen Activity",
}  # fmt: skip
FOLLOWING = ("--follow", "-w", "--watch", "--wait")
LEAVE = frozenset({"q", "q!", "quit"})
"""As in editors."""
SHOWN = 40
"""Words that are offered for completion."""


def refusal(words: Sequence[str]) -> str:
    """Why this line is not for here; empty: it is."""
    verb = next((word for word in words if not word.startswith("-")), "")
    if verb in TAKES_TERMINAL:
        return f"{verb}: {TAKES_TERMINAL[verb]}"
    if verb in ENDLESS and "--no-follow" not in words:
        return f"{verb}: {ENDLESS[verb]}"
    if verb == "daemon" and "run" in words:
        return "daemon run: it holds a terminal until it is ended"
    if any(word in FOLLOWING or word.startswith("--watch=") for word in words) and verb != "get":
        return f"{verb}: it would not end by itself: leave the following out"
    if verb == "play" and "--detach" not in words:
        return "play: it wants the terminal: add --detach, or press o in the list"
    return ""


def asks(ended: children.Ended) -> bool:
    """It wanted to be told that it may."""
    return ended.code == 2 and "this needs a confirmation" in ended.err


BULK = frozenset({"pause", "resume", "cancel", "retry", "rm", "remove", "delete"})
SETS = ("--all", "--failed")


class CommandLine(Dialog[None]):
    wide = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "Complete", show=False, priority=True, id="command.complete"),
        Binding("up", "older", "Older", show=False, priority=True, id="command.older"),
        Binding("down", "newer", "Newer", show=False, priority=True, id="command.newer"),
        Binding("pagedown", "page(1)", "Down", show=False, priority=True, id="command.page-down"),
        Binding("pageup", "page(-1)", "Up", show=False, priority=True, id="command.page-up"),
        Binding("escape", "leave", "Back", show=False, priority=True, id="dialog.leave"),
    ]

    def __init__(self, endpoint: str, history: History) -> None:
        super().__init__("Command: as odctl takes it", "enter runs · tab completes · ↑ ↓ earlier · esc ends or leaves")
        self.endpoint = endpoint
        self.history = history
        self.running: asyncio.Task[None] | None = None

    def parts(self) -> list[Widget]:
        line = Input(placeholder="ls 'state=failed'", id="answer", compact=True)
        return [line, VerticalScroll(Static("", id="said", markup=False), can_focus=False)]

    def on_mount(self) -> None:
        self._line.focus()

    @property
    def _line(self) -> Input:
        return self.query_one("#answer", Input)

    def _say(self, text: str) -> None:
        self.app.clear_notifications()  # they would stand on the last lines
        shown = "\n".join(clean(line.replace("\t", "  ")) for line in text.splitlines())
        self.query_one("#said", Static).update(Text(shown, overflow="fold"))
        self.query_one(VerticalScroll).scroll_home(animate=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        line = event.value.strip().removeprefix("odctl ").strip()
        if not line or self._busy():
            return
        if line in LEAVE:
            self.app.exit(0)
            return
        try:
            words = shlex.split(line)
        except ValueError as error:
            self._say(f"{error}: close the quotes")
            return
        self.history.add(line)
        why = refusal(words)
        if why:
            self._say(why)
            return
        self._line.value = ""
        self._start(words)

    def _busy(self) -> bool:
        return self.running is not None and not self.running.done()

    def _start(self, words: list[str], *, yes: bool = False) -> None:
        self._say(f"{shlex.join(words)} …")
        self.running = asyncio.create_task(self._run(words, yes=yes), name="command")

    async def _run(self, words: list[str], *, yes: bool) -> None:
        try:
            ended = await children.run(children.command(self.endpoint, words, yes=yes))
        except OSError as error:
            self._say(error.strerror or str(error))
            return
        if asks(ended) and not yes:
            self._ask(await self._pinned(words), words, ended.err)
            return
        code = "" if ended.code == 0 else f"\n(exit {ended.code})"
        self._say(f"odctl {shlex.join(words)}\n\n{ended.out}{ended.err}{code}")

    async def _pinned(self, words: list[str]) -> list[str]:
        """The same for what fits now, by its names: more may fit by the time of the answer."""
        if words[:2] == ["cache", "cleanup"]:
            return await self._planned(words)
        rest, chosen = without_sets(words)
        if not chosen:
            return words
        found = await children.run(children.command(self.endpoint, [*words, "--dry-run", "-q"]))
        numbers = found.out.split()
        return [rest[0], *numbers, *rest[1:]] if found.code == 0 and numbers else words

    async def _planned(self, words: list[str]) -> list[str]:
        """A clean-up of the entries that it would remove now."""
        found = await children.run(children.command(self.endpoint, [*words, "--dry-run", "--json"]))
        try:
            entries = json.loads(found.out)["plan"] if found.code == 0 else []
        except (ValueError, LookupError, TypeError):
            return words
        return [*words, *(f"--only={entry['key']}#{entry['generation']}" for entry in entries)]

    def _ask(self, pinned: list[str], words: list[str], said: str) -> None:
        from odctl.dashboard.dialogs.confirm import Confirm

        question = said.splitlines()[0].removeprefix("odctl: ").partition(": this needs")[0]

        def answered(yes: bool | None) -> None:
            if yes:
                self._start(pinned, yes=True)
            else:
                self._say("nothing was changed")

        self.app.push_screen(Confirm(question + "?", [f"odctl {shlex.join(words)}"], "Do it"), answered)

    # Keys

    def action_leave(self) -> None:
        if self.running is not None and not self.running.done():
            self.running.cancel()
            self._say("ended")
        else:
            self.dismiss(None)

    def on_unmount(self) -> None:
        if self.running is not None:
            self.running.cancel()

    def action_page(self, pages: int) -> None:
        said = self.query_one(VerticalScroll)
        (said.scroll_page_down if pages > 0 else said.scroll_page_up)(animate=False)

    def action_older(self) -> None:
        self._recall(self.history.older(self._line.value))

    def action_newer(self) -> None:
        self._recall(self.history.newer())

    def _recall(self, line: str) -> None:
        self._line.value = line
        self._line.cursor_position = len(line)

    async def action_complete(self) -> None:
        if self._busy():
            return
        before = self._line.value
        argv = [*children.ODCTL, "__complete", "--host", self.endpoint, *split_open(before)]
        ended = await children.run(argv)
        if self._line.value != before:
            return  # the person has typed on
        words = [line.partition("\t") for line in ended.out.splitlines() if line and not line.startswith(":files")]
        if not words:
            return
        last = split_open(before)[-1]
        common = _common([word for word, _, _ in words])
        if len(words) == 1 or len(common) > len(last):
            done = shlex.quote(common) if common and len(words) == 1 and not common.endswith("=") else common
            self._recall(before[: len(before) - len(last)] + done + (" " if len(words) == 1 else ""))
        if len(words) > 1:
            self._say("\n".join(f"{word:<24} {hint}" for word, _, hint in words[:SHOWN]))


def without_sets(words: Sequence[str]) -> tuple[list[str], bool]:
    """A verb of many jobs without what names a set of them, and whether something did."""
    rest: list[str] = []
    chosen, at = False, 0
    while at < len(words):
        word = words[at]
        if words[0] in BULK and (word in ("-f", "--filter", *SETS) or word.startswith(("--filter=", "-f"))):
            chosen = True
            at += 2 if word in ("-f", "--filter") else 1
        else:
            rest.append(word)
            at += 1
    return rest, chosen


def split_open(line: str) -> list[str]:
    """The words of a line that is not finished; the last one is what is being written, which may be nothing."""
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    return [*words, ""] if not line or line[-1].isspace() else words or [""]


def _common(words: Sequence[str]) -> str:
    first, last = min(words), max(words)
    for at, letter in enumerate(first):
        if at >= len(last) or letter != last[at]:
            return first[:at]
    return first
