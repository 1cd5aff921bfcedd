"""The job under the cursor in full: what is known of it, its files, its peers or formats, its log.

It asks only while it is shown, at most once a second, and only when the list told that something changed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, cast

from msgspec.structs import replace
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from odctl import text as words
from odctl.client.errors import OdctlError
from odctl.client.models import Detail, File, Job, Selection
from odctl.dashboard import overview
from odctl.dashboard.desk import Dashboard
from odctl.dashboard.errands import Errands
from odctl.dashboard.file_list import FileList, edit
from odctl.dashboard.framed import Framed
from odctl.dashboard.showing import show
from odctl.dashboard.state import State

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

TABS = ("Overview", "Files", "Peers", "Log")
REFRESH_SECONDS = 1.0
SETTLE_SECONDS = 0.15
"""After the cursor was moved; who runs through the list asks nothing of the jobs on the way."""
PAGE = 200
LOG_LINES = 500
RATES = 60
PROBE_SECONDS = 60.0


def _room(text: Text, width: int) -> list[int]:
    """Of each line a number that is another one when the line may take another height."""
    return [1 if line.cell_len <= width else line.cell_len for line in text.split()]


def _fits(room: list[int], width: int, height: int) -> bool:
    """Whether lines of this room surely have so much, wherever words are broken: one that is broken is filled to more
    than its half, or the word behind it would have had room."""
    return sum(1 if length == 1 else 2 * length // width + 1 for length in room) <= height


def _only_figures(before: Job | None, job: Job | None) -> bool:
    if before is None or job is None:
        return False
    stands = [(one.state, one.engine_state, one.hold, one.reason, one.error, one.name) for one in (before, job)]
    return stands[0] == stands[1]


class Details(Framed, Container):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "tab(1)", "Next tab", show=False, id="details.next"),
        Binding("left", "tab(-1)", "Previous tab", show=False, id="details.previous"),
        Binding("f", "filter_files", "Find file", show=False, id="details.find"),
    ]

    def __init__(self, dashboard: Dashboard) -> None:
        super().__init__(id="details")
        self.dashboard = dashboard
        self.at = 0
        self.job: Job | None = None
        self.detail: Detail | None = None
        self.rates: deque[int] = deque(maxlen=RATES)
        self.log_lines: deque[str] = deque(maxlen=LOG_LINES)
        self.formats: dict[int, Text] = {}
        """What a look at the sources of jobs said, by their numbers."""
        self._drawn: dict[str, Text] = {}
        self._asked: object = None
        self._figures_wait = False
        self._errands = Errands("details", self._failed)

    def compose(self) -> ComposeResult:
        yield Static("", id="tabs", markup=False)
        yield VerticalScroll(Static("", id="facts", markup=False), id="facts-scroll")
        files = FileList(self.dashboard.glyphs)
        files.display = False
        yield files

    def on_mount(self) -> None:
        self.set_interval(REFRESH_SECONDS, self._tick)
        self._draw()

    def on_unmount(self) -> None:
        self._errands.close()

    @property
    def files(self) -> FileList:
        return self.query_one(FileList)

    @property
    def shown(self) -> bool:
        return self.is_mounted and bool(self.display)

    @property
    def tab(self) -> str:
        return TABS[self.at]

    # What it is about

    def show_job(self, state: State) -> None:
        """Draws what the list knows already; asks for the rest a little later."""
        job = state.job
        if job is None and state.number is not None and self.job is not None and self.job.id == state.number:
            return  # it is only not among the rows that are known now
        before, self.job = self.job, job
        if not self.is_mounted:
            return
        if (before.id if before else None) != (job.id if job else None):
            self._other_job()
        elif job is before:
            return
        elif _only_figures(before, job):
            # they wait for the next tick: beside a list that changes they would double what is drawn
            self._figures_wait = True
            return
        if self.shown:
            self._draw()

    def _other_job(self) -> None:
        self.detail = None
        self.rates.clear()
        self.log_lines.clear()
        self._asked = None
        self._errands.stop("ask", "files", "log")
        self.files.clear_files()
        self.query_one("#facts-scroll", VerticalScroll).scroll_home(animate=False)
        number = None if self.job is None else self.job.id

        def settled() -> None:
            if self.job is not None and self.job.id == number:
                self._tick()

        self.set_timer(SETTLE_SECONDS, settled)

    def _tick(self) -> None:
        job = self.job
        if job is None or not self.shown:
            return
        if job.state == "active":
            self.rates.append(self._whole(job).rate_down)
        changed, live = job != self._asked, self.tab == "Peers" and job.state == "active"
        if self._figures_wait and not changed:
            self._draw()  # else with the answer
        if changed or live:
            self._asked = job
            self._errands.start("ask", self._ask(job.id))
            if self.tab == "Files":
                self._errands.start("files", self._ask_files(job.id))
        if self.tab == "Files" and not self.files.files:
            self._errands.start("files", self._ask_files(job.id))
        if self.tab == "Log" and not self._errands.on("log"):
            self._errands.start("log", self._follow_log(job.id))

    # Asking

    def _failed(self) -> None:
        self._asked = None  # asked again with the next tick
        if self._figures_wait:
            self._draw()

    async def _ask(self, number: int) -> None:
        client = self.dashboard.client
        if client is None:
            self._failed()
            return
        which = Selection(ids=(str(number),))
        found = await client.get_jobs(which, peers=self.tab == "Peers")
        if found and self.job is not None and self.job.id == number:
            self.detail = found[0]
            self._draw()

    async def _ask_files(self, number: int, *, every: bool = False) -> None:
        """All pages while some are not known, or when `every` one may have changed; else that on the screen."""
        client = self.dashboard.client
        if client is None:
            return
        files = self.files
        if not every and files.files and len(files.files) >= files.total:
            seen = [line.file.index for at in files.rows if at < files.count and (line := files.lines[at]).file]
            order = list(files.files)
            offset = order.index(seen[0]) if seen else 0
            page, total = await client.files.page(str(number), offset, PAGE)
            self._put(number, page, total)
            return
        offset = 0 if every else len(files.files)
        while True:
            page, total = await client.files.page(str(number), offset, PAGE)
            if not self._put(number, page, total) or not page:
                return
            offset += len(page)
            if offset >= total:
                return

    def _put(self, number: int, page: list[File], total: int) -> bool:
        if self.job is None or self.job.id != number:
            return False
        self.files.put(page, total)
        return True

    async def _follow_log(self, number: int) -> None:
        client = self.dashboard.client
        if client is None:
            return
        self.log_lines.clear()
        try:
            stream = client.logs(job=str(number), lines=200, follow=True, level="", since=None)
            async for line in stream:
                self.log_lines.append(overview.log_line(line))
                if self.tab == "Log" and self.shown:
                    self.call_after_refresh(self._draw)
        except OdctlError as error:
            self.log_lines.append(words.clean(error.message))
            self._draw()
            await asyncio.Event().wait()  # until another job or tab: it would only fail again

    def _probe(self) -> None:
        """Formats are known to a look at the source alone."""
        job = self.job
        if job is None or job.id in self.formats:
            return
        number, source, engine = job.id, job.source, job.engine or ""
        self.formats[number] = Text(f"looking at the source {self.dashboard.glyphs.more}", "dim")

        async def work(client: DaemonClient) -> dict[str, Any]:
            try:
                return await client.probe(
                    source=source, torrent=b"", engine=engine, options={}, timeout_s=PROBE_SECONDS
                )
            except OdctlError as error:
                self.formats[number] = Text(words.clean(f"{error.message} {error.hint}"))
                self._draw()
                raise

        def then(told: dict[str, Any]) -> None:
            self.formats[number] = overview.formats(told["formats"])
            self._draw()

        self.dashboard.carry_out("formats", work, then)

    # Drawing

    def titles(self) -> tuple[str, ...]:
        media = self.job is not None and self.job.engine == "ytdlp"
        return tuple("Formats" if tab == "Peers" and media else tab for tab in TABS)

    def _draw(self) -> None:
        if not self.is_mounted or not self.shown:
            return
        self._figures_wait = False
        tabs = Text(no_wrap=True)
        for at, title in enumerate(self.titles()):
            tabs.append(f" {title} ", "reverse" if at == self.at else "")
        self._update("tabs", tabs)
        self.head(self._heading())
        files = self.tab == "Files"
        show(self.files, files)
        show(self.query_one("#facts-scroll"), not files)
        if not files:
            self._update("facts", self._content())
        known = self.files
        found = f"{known.count} of {known.total}, /{known.filter}" if known.filter else ""
        self.foot(Content(words.clean(found) if files else ""))

    def _update(self, name: str, text: Text) -> None:
        """Draws what differs. The whole screen is laid out anew only when there may be other lines to have room for."""
        before = self._drawn.get(name)
        if text == before:
            return
        self._drawn[name] = text
        part = self.query_one(f"#{name}", Static)
        width, height = max(1, part.size.width), part.container_size.height
        rooms = [_room(told, width) for told in (text, before or Text())]
        # it is never less high than there is place for it: all that fits has the same height
        alike = rooms[0] == rooms[1] or all(_fits(room, width, height) for room in rooms)
        part.update(text, layout=before is None or not alike)

    def _heading(self) -> Content:
        if self.job is None:
            return Content("")
        return Content(words.clean(f"{self.job.id} {self.job.name or self.job.source}")[:120])

    def _content(self) -> Text:
        job = self.job
        if job is None:
            return Text("no job is under the cursor", "dim")
        if self.tab == "Overview":
            return self._overview(job)
        if self.tab == "Log":
            return Text("\n".join(self.log_lines) or "nothing was logged of it", overflow="fold")
        if self.titles()[self.at] == "Formats":
            return self.formats.get(job.id, Text("enter looks at the source", "dim"))
        return overview.peers(self.detail)

    def _overview(self, job: Job) -> Text:
        told = self.detail
        same = told is not None and told.job is not None and told.job.id == job.id
        extra = told.extra if told is not None and same else None
        return overview.overview(self._whole(job), extra, tuple(self.rates), self.dashboard.glyphs)

    def _whole(self, job: Job) -> Job:
        """All that was told of it, with what the list, which knows only what it shows, knows better."""
        whole = None if self.detail is None else self.detail.job
        if whole is None or whole.id != job.id:
            return job
        if whole.rev >= job.rev:
            return whole
        return replace(
            whole, state=job.state, hold=job.hold, reason=job.reason, error=job.error, engine_state=job.engine_state,
            progress=job.progress, size=job.size, position=job.position, rev=job.rev,
        )  # fmt: skip

    # Keys

    def action_tab(self, by: int) -> None:
        self.open((self.at + by) % len(TABS))

    def open(self, at: int) -> None:
        """Shows this tab, with the focus on what is in it."""
        self.at = at
        self._errands.stop("log")
        if self.titles()[at] == "Formats":
            self._probe()
        self._asked = None
        self._draw()
        self.take_focus()
        self._tick()

    def take_focus(self) -> None:
        target = self.files if self.tab == "Files" else self.query_one("#facts-scroll", VerticalScroll)
        show(target, True)
        target.focus()

    def action_filter_files(self) -> None:
        if self.tab != "Files":
            self.open(TABS.index("Files"))
            return
        found = self.query("#file-filter")
        if found:
            cast(Input, found.first()).focus()
            return
        line = Input(self.files.filter, placeholder="*.mkv or a part of the path", id="file-filter", compact=True)
        self.mount(line)
        line.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.files.look_for(event.value)
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        event.input.remove()
        self.files.focus()

    def back(self) -> bool:
        """One step out; False when there is none."""
        found = self.query("#file-filter")
        if found or self.files.filter:
            found.remove()
            self.files.look_for("")
            self._draw()
            self.files.focus()
            return True
        return False

    def on_file_list_chosen(self, event: FileList.Chosen) -> None:
        event.stop()
        job = self.job
        if job is None or self.dashboard.read_only:
            return
        number = job.id
        change = edit(event.indices, list(self.files.files.values()), wanted=event.wanted)
        first = min(event.indices)

        async def work(client: DaemonClient) -> tuple[list[File], int]:
            await client.files.choose(str(number), change)
            order = list(self.files.files)
            return await client.files.page(str(number), order.index(first) if first in order else 0, PAGE)

        def then(answer: tuple[list[File], int]) -> None:
            self._put(number, *answer)
            if len(event.indices) > PAGE:
                self._errands.stop("files")
                self._errands.start("files", self._ask_files(number, every=True))
            self._asked = None

        self.dashboard.carry_out("select", work, then)

    def on_click(self, event: events.Click) -> None:
        if event.widget is None or event.widget.id != "tabs":
            return
        at = 0
        for number, title in enumerate(self.titles()):
            if at <= event.x < at + len(title) + 2:
                self.open(number)
                return
            at += len(title) + 2
