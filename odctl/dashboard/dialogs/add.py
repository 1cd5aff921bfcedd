"""Adds downloads: any number of sources, one a line, each looked at while it is being written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec.structs import replace
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Checkbox, Input, Static, TextArea

from odctl import text as words
from odctl.client.errors import OdctlError
from odctl.client.models import File, Job, Outcome
from odctl.dashboard import messages as m
from odctl.dashboard.desk import TOLD
from odctl.dashboard.dialogs.base import Dialog
from odctl.dashboard.file_list import FileList
from odctl.dashboard.probing import Line, Probes, lines_of
from odctl.selecting import ALL, compact
from odctl.sources import Order, parse_priority, resolve

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

TYPING_SECONDS = 0.3
AUTO = ("", "auto")


class Sources(TextArea):
    """Where they are written."""

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "escape":
            event.prevent_default()  # it is the dialog's

    async def _on_paste(self, event: events.Paste) -> None:
        event.text = _pasted(event.text)


class Tick(Checkbox):
    """As boxes are drawn elsewhere: Textual's has its cross when it is off, too, in another colour."""

    def render(self) -> Content:
        return Content(f"[{'x' if self.value else ' '}] ") + self._label


def _pasted(text: str) -> str:
    """What could steer the terminal is in no source."""
    return "\n".join(words.clean(line) for line in text.splitlines())


class Add(Dialog[tuple[Job, ...]]):
    """Its answer is what was added. `adding` False: only looks."""

    wide = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2,ctrl+enter", "send", "Add", priority=True, id="add.send"),
        Binding("f3", "files", "Files", priority=True, id="add.files"),
    ]

    def __init__(self, text: str = "", *, adding: bool = True) -> None:
        hint = "F2 adds · F3 files · tab next field · esc back" if adding else "F3 files · esc back"
        super().__init__("Add downloads" if adding else "Look at sources, add nothing", hint)
        self.text = _pasted(text)
        self.adding = adding
        self.errors: dict[str, OdctlError] = {}
        """Why these lines were not added."""
        self.chosen: dict[str, frozenset[int]] = {}
        """The files that are wanted of these lines, where not all are."""
        self.added: list[Job] = []
        self.sending = False

    def parts(self) -> list[Widget]:
        self.probes = Probes(lambda: self.dashboard.client, self._draw)
        files = FileList(self.dashboard.glyphs, "add-files")
        return [
            Static("links, magnets, info-hashes or paths of .torrent files, one a line", classes="dim", markup=False),
            Sources(self.text, id="sources", soft_wrap=False),
            VerticalScroll(Static("", id="said", markup=False), can_focus=False),
            files,
            Horizontal(
                Input(placeholder="engine: auto", id="engine", compact=True),
                Input(placeholder="node: auto", id="node", compact=True),
                *(self._of_jobs() if self.adding else ()),
                id="options",
            ),
        ]

    @staticmethod
    def _of_jobs() -> list[Widget]:
        """What means nothing to a look."""
        return [
            Input(placeholder="tags", id="tags", compact=True),
            Input(placeholder="priority: normal", id="priority", compact=True),
            Tick(Content("paused"), id="paused", compact=True),
        ]

    def on_mount(self) -> None:
        self.query_one(Sources).focus()
        self._look()
        self._draw()

    def on_unmount(self) -> None:
        self.probes.stop()

    # What is written

    def _value(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def _line(self, text: str) -> Line:
        engine, node = self._value("engine"), self._value("node")
        return Line(text=text, engine="" if engine in AUTO else engine, node="" if node in AUTO else node)

    def _lines(self) -> list[str]:
        return lines_of(self.query_one(Sources).text)

    def _here(self) -> str:
        """The line under the cursor."""
        area = self.query_one(Sources)
        row = area.cursor_location[0]
        found = lines_of(area.document.get_line(row)) if row < area.document.line_count else []
        return found[0] if found else ""

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self._later()

    def on_text_area_selection_changed(self, event: TextArea.SelectionChanged) -> None:
        event.stop()
        self._draw()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if event.input.id in ("engine", "node"):
            self._later()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()

    def _later(self) -> None:
        """When nothing was written for a moment."""
        text = self.query_one(Sources).text

        def quiet() -> None:
            if self.is_mounted and self.query_one(Sources).text == text:
                self._look()

        self.set_timer(TYPING_SECONDS, quiet)

    def _look(self) -> None:
        self.probes.want([self._line(text) for text in self._lines()])
        self._draw()

    # Drawing

    def _draw(self) -> None:
        if not self.is_mounted or not self.query("#said"):
            return
        here, said = self._here(), Text(no_wrap=True, overflow="ellipsis")
        for text in self._lines():
            self._draw_line(said, text, here=text == here)
        self.query_one("#said", Static).update(said)
        self._draw_files(here)

    def _draw_line(self, said: Text, text: str, *, here: bool) -> None:
        glyphs, line = self.dashboard.glyphs, self._line(text)
        told = self.probes.told.get(line)
        error = self.errors.get(text) or (told if isinstance(told, OdctlError) else None)
        said.append(f"{glyphs.cursor if here else ' '} ", "bold")
        if error is not None:
            hint = f" – {error.hint}" if error.hint else ""
            said.append(words.clean(f"{glyphs.failed} {text[:40]}  {error.message}{hint}"), "red")
        elif isinstance(told, dict):
            said.append(words.clean(f"{glyphs.completed} {told['name'] or text}"), "bold")
            said.append(words.clean(f"  {self._facts(text, told)}"))
        else:
            wait = f"looking {glyphs.more}" if self.probes.looking(line) else glyphs.more
            said.append(words.clean(f"{glyphs.queued} {text[:60]}  {wait}"))
        said.append("\n")

    def _facts(self, text: str, told: dict[str, Any]) -> str:
        count, chosen = told["files_total"], self.chosen.get(text)
        files = f"{count} file{'s' if count != 1 else ''}"
        if chosen is not None:
            files = f"{len(chosen) + count - len(told['files'])} of {files}"
        size = words.size(told["size"]) if chosen is None else words.size(
            sum(file.size or 0 for file in told["files"] if file.index in chosen)
        )  # fmt: skip
        cached = (told["cache"] or {}).get("hit")
        where = told["would_run_on"] or "nowhere now"
        place = f"already cached on {where} → instant" if cached else f"→ {where}"
        return f"{told['engine']}  {size}  {files}  {place}"

    def _draw_files(self, here: str) -> None:
        listed = self.query_one(FileList)
        told = self.probes.told.get(self._line(here)) if here else None
        files: Sequence[File] = told["files"] if isinstance(told, dict) else ()
        chosen = self.chosen.get(here)
        shown = [replace(file, selected=chosen is None or file.index in chosen) for file in files]
        if listed.name_of != here or len(shown) != len(listed.files):
            listed.name_of = here
            listed.clear_files()
        listed.put(shown, len(shown))
        title = f"files of {words.clean(here[:60])} (space toggles, * all)" if shown else ""
        listed.border_title = Content(title)

    # Files

    def action_files(self) -> None:
        self.query_one(FileList).focus()

    def on_file_list_chosen(self, event: FileList.Chosen) -> None:
        event.stop()
        listed = self.query_one(FileList)
        every = frozenset(listed.files)
        before = self.chosen.get(listed.name_of, every)
        after = before | set(event.indices) if event.wanted else before - set(event.indices)
        if not after:
            self.dashboard.say("at least one file is wanted; take the line away for none", severity="warning")
            return
        if after == every:
            self.chosen.pop(listed.name_of, None)
        else:
            self.chosen[listed.name_of] = after
        self._draw()

    # Adding

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.adding or action != "send"

    def action_send(self) -> None:
        lines = self._lines()
        if not lines or self.sending:
            return
        try:
            priority = parse_priority(self._value("priority") or "normal")
        except OdctlError as error:
            self.dashboard.complain("add", error)
            return
        base = Order(
            input="", tags=tuple(self._value("tags").replace(",", " ").split()), priority=priority,
            paused=self.query_one("#paused", Checkbox).value,
        )  # fmt: skip
        plans = [(text, self._line(text), self._files_of(text)) for text in lines]
        self.sending = True

        async def work(client: DaemonClient) -> tuple[dict[str, OdctlError], list[tuple[str, Outcome]]]:
            try:
                return await _send(client, base, plans)
            finally:
                self.sending = False

        self.dashboard.carry_out("add", work, self._sent)
        if self.dashboard.client is None:
            self.sending = False

    def _files_of(self, text: str) -> str:
        told, chosen = self.probes.told.get(self._line(text)), self.chosen.get(text)
        if chosen is None or not isinstance(told, dict):
            return ""
        named = compact(chosen, told["files"], told["files_total"])
        return "" if named == ALL else named

    def _sent(self, answer: tuple[dict[str, OdctlError], list[tuple[str, Outcome]]]) -> None:
        self.errors, outcomes = dict(answer[0]), answer[1]
        for text, outcome in outcomes:
            if outcome.failure is not None:
                told = outcome.failure
                self.errors[text] = OdctlError(told.message, code=told.code, hint=told.hint)
            elif outcome.job is not None:
                self.added.append(outcome.job)
        if not self.is_running:
            self._tell_of_the_rest(len(outcomes))
            return
        # what was written meanwhile stays, too
        accepted = {text for text, outcome in outcomes if outcome.job is not None}
        left = [text for text in self._lines() if text not in accepted]
        if not left:
            self.dismiss(tuple(self.added))
            return
        if accepted:
            self.dashboard.say(f"added {len(accepted)}; what was not stays here", severity="warning")
        self.query_one(Sources).text = "\n".join(left) + "\n"
        self._look()

    def _tell_of_the_rest(self, sent: int) -> None:
        """The dialog was left before the answers came: nobody would hear of what they say."""
        if self.added:
            self.dashboard.say(f"added {len(self.added)} of {max(sent, len(self.added) + len(self.errors))}")
        for at, (text, error) in enumerate(self.errors.items()):
            if at < TOLD:
                self.dashboard.complain(f"add {text[:60]}", error)
            else:
                self.dashboard.tell(m.Failed(what=f"add {text[:60]}", error=error, at=datetime.now(UTC)))
        if len(self.errors) > TOLD:
            more = len(self.errors) - TOLD
            self.dashboard.say(f"and {more} more were not added: Activity lists them", severity="error")

    def action_leave(self) -> None:
        self.dismiss(tuple(self.added))


async def _send(
    client: DaemonClient, base: Order, plans: Sequence[tuple[str, Line, str]]
) -> tuple[dict[str, OdctlError], list[tuple[str, Outcome]]]:
    """What is wrong with lines that never reached the daemon, and the daemon's answers to the others."""

    def read() -> tuple[dict[str, OdctlError], list[tuple[str, Order]]]:
        wrong: dict[str, OdctlError] = {}
        orders: list[tuple[str, Order]] = []
        for text, line, files in plans:
            try:
                orders.append((text, resolve(replace(base, engine=line.engine, node=line.node, files=files), text)))
            except OdctlError as error:
                wrong[text] = error
        return wrong, orders

    wrong, orders = await asyncio.to_thread(read)
    if not orders:
        return wrong, []
    outcomes = await client.add([order.item() for _, order in orders])
    return wrong, [(text, outcome) for (text, _), outcome in zip(orders, outcomes, strict=False)]
