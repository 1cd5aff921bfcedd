"""The application: it holds the state, gives what the feed and the keys say to the reducer, and shows the new state."""

from __future__ import annotations

import asyncio
import gc
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from msgspec.structs import replace
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.filter import LineFilter
from textual.screen import ModalScreen, Screen
from textual.widgets import ContentSwitcher

from odctl import __version__
from odctl.client.errors import OdctlError
from odctl.client.models import Hello, Job
from odctl.dashboard import messages as m
from odctl.dashboard import preferences as prefs
from odctl.dashboard.ascii_only import AsciiOnly
from odctl.dashboard.banner import SLOW_SECONDS, Banner
from odctl.dashboard.blank import Blank
from odctl.dashboard.desk import CHANGES
from odctl.dashboard.doing import Doing
from odctl.dashboard.feed import Feed, Wanted, Work
from odctl.dashboard.first import first_wanted
from odctl.dashboard.glyphs import ASCII, Glyphs
from odctl.dashboard.key_bar import KeyBar
from odctl.dashboard.messages import Message, Query
from odctl.dashboard.options import Options
from odctl.dashboard.panes.base import Pane
from odctl.dashboard.panes.filtering import import_line
from odctl.dashboard.panes.jobs import JobsPane
from odctl.dashboard.returning import changes, said
from odctl.dashboard.screens import SCREENS
from odctl.dashboard.state import Phase, State, reduce
from odctl.dashboard.top_bar import TopBar

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient
    from odctl.dashboard.history import History

TICK_SECONDS = 1.0
"""Ages and countdowns on the screen."""
IDLE_SECONDS = 0.5
"""After the first picture: what a key may ask for is made ready."""



class Panes(Blank, ContentSwitcher):
    """The screens, of which one is shown."""


class DashboardApp(Doing):
    """`connect` makes a client for a connection, without connecting."""

    CSS_PATH = "dashboard.tcss"
    TITLE = "OpenDebrid"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(key), f"screen_key({key})", screen.title, show=False, id=f"screen.{key}")
            for key, screen in enumerate(SCREENS, 1)
        ),
        Binding("a", "add", "Add", id="jobs.add"),
        Binding("i", "probe", "Look at a source", show=False, id="jobs.probe"),
        Binding("question_mark,f1", "help", "Help", id="app.help", key_display="?"),
        Binding("colon", "command", "Command", id="app.command", key_display=":"),
        Binding("C", "contexts", "Servers", show=False, id="app.contexts"),
        Binding("r", "retry_connection", "Retry now", id="app.retry", priority=True),
        Binding("s", "start_daemon", "Start it", id="app.start", priority=True),
        Binding("q,ctrl+q", "leave", "Quit", id="app.quit"),
    ]

    def __init__(
        self, connect: Callable[[], DaemonClient], options: Options | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        options = options or Options()
        file = options.preferences
        liked, complaint = prefs.load(file) if file is not None else (prefs.Preferences(), "")
        first = first_wanted(liked, options.filter, shutil.get_terminal_size(), remote=options.remote)
        super().__init__(clock, first)
        self.options = options
        self.preferences, self._complaint = liked, complaint
        self.state = State(query=first.query)
        self.feed = Feed(connect, self.tell, self.mishaps.error)
        self._feeding: asyncio.Task[None] | None = None
        self._cut: State | None = None
        """What was known when the connection was lost."""
        self._ascii = AsciiOnly()
        self._history: History | None = None
        self._first_pane = self.options.pane if self.options.pane != "jobs" else ""
        self._drawable = False
        """There is something to draw on."""
        self._room = True
        """The terminal is large enough."""

    @property
    def glyphs(self) -> Glyphs:
        return self.options.glyphs

    @property
    def columns(self) -> int:
        return self.size.width

    @property
    def client(self) -> DaemonClient | None:
        return self.feed.client

    @property
    def place(self) -> str:
        return self.options.context or self.state.connection.where

    @property
    def read_only(self) -> bool:
        return self.options.read_only

    # What is on the screen

    def get_default_screen(self) -> Screen[None]:
        try:
            from odctl.dashboard.compositor import QuickScreen
        except ImportError:  # of what another Textual keeps to itself elsewhere
            return super().get_default_screen()
        return QuickScreen()

    def compose(self) -> ComposeResult:
        yield TopBar(self.glyphs, self.options.context, self.options.color)
        yield Banner(self.glyphs)
        with Panes(id="panes", initial="pane-jobs"):
            yield JobsPane(id="pane-jobs")
        yield KeyBar()

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Borders, toasts and names know nothing of the terminal's signs."""
        known = super().get_line_filters()
        return known if self.glyphs is not ASCII else [*known, self._ascii]

    def on_load(self) -> None:
        if not self.is_headless:
            # else the terminal would be left as it is while we draw on it
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self.exit, 128 + number)
        asyncio.get_running_loop().set_exception_handler(self.nobody_asked)
        # what is asked for now is there when the screen is drawn for the first time
        self.feed.want(self.wanted)
        self._feeding = asyncio.create_task(self.feed.run(), name="dashboard feed")

    async def on_mount(self) -> None:
        self._drawable = True
        if self.preferences.theme in self.available_themes:
            self.theme = self.preferences.theme
        if self.preferences.keys:
            self.set_keymap(dict(self.preferences.keys))
        if self.options.remote:
            self.animation_level = "none"
        self.set_interval(TICK_SECONDS, self._tick)
        self.pane.entered()
        self.draw()
        await self.switch(self.options.pane)
        if self._complaint:
            self.say(self._complaint, severity="warning")

    def on_ready(self) -> None:
        """The first picture is there."""
        if not self.is_headless:
            # what was made until now stays; the little that comes and goes is looked through often: a look at fifty
            # thousand objects, which suits a short life, holds up a key for 40 ms
            gc.freeze()
            gc.set_threshold(2_000, 5, 100)
            self.set_timer(IDLE_SECONDS, lambda: self.run_worker(asyncio.to_thread(import_line), name="import"))

    async def on_resize(self, event: events.Resize) -> None:
        from odctl.dashboard.small import fits, show_size

        if self._drawable and (not fits(event.size) or not self._room):
            before = self._room
            self._room = await show_size(self.screen_stack[0], event.size)
            self.refresh_bindings()
            if self._room and not before:
                self.pane.entered()
                self.draw()

    async def on_unmount(self) -> None:
        if self._feeding is not None:
            self._feeding.cancel()
            await asyncio.gather(self._feeding, return_exceptions=True)

    @property
    def pane(self) -> Pane:
        """The screen that is shown."""
        switcher = self.query_one("#panes", ContentSwitcher)
        return switcher.query_one(f"#{switcher.current}", Pane)

    def panes(self) -> list[tuple[str, str]]:
        """Ids and titles of the screens that this person has."""
        return [(screen.id, screen.title) for screen in SCREENS if not screen.admins or self.state.admin]

    async def switch(self, pane: str) -> None:
        """Shows another screen, which is made when it is first shown."""
        switcher = self.query_one("#panes", ContentSwitcher)
        name = f"pane-{pane}"
        if switcher.current == name or pane not in dict(self.panes()):
            return
        try:
            switcher.query_one(f"#{name}")
        except NoMatches:
            await switcher.mount(next(screen for screen in SCREENS if screen.id == pane).pane())
        self.pane.left()
        switcher.current = name
        self.pane.entered()
        self.draw()

    # State

    def tell(self, message: Message) -> None:
        """Takes in what was said and shows what came of it."""
        before = self.state
        self.mishaps.trail.add(self.clock(), message)
        self.state = reduce(before, message)
        if self.state is not before and self._drawable:
            self.draw()
            self._speak(message, before)

    def _speak(self, message: Message, before: State) -> None:
        if isinstance(message, m.Connected | m.HelloTold):
            self.call_later(self._allowed_screen)
            was, now = before.connection.hello, message.hello
            if was is not None and (was.user, was.role) != (now.user, now.role):
                self.say(f"you are {now.user} ({now.role}) here now", severity="warning")
        if isinstance(message, m.Connected):
            if before.connection.hello is not None and before.connection.where != message.where:
                self.call_later(self._void_questions)
            self._name_versions(message.hello.server_version, before.connection.hello)
        if isinstance(message, m.Lost) and before.live and before.total is not None:
            self._cut = before
        cut = self._cut
        if isinstance(message, m.Connected) and before.connection.phase is Phase.LOST:
            if cut is None or cut.connection.where != message.where or cut.query != self.state.query:
                self._cut = None
                self.say("connected")
        elif isinstance(message, m.PageTold) and cut is not None and message.query == cut.query:
            self._cut = None
            self.say(said(changes(cut.window, message.offset, message.jobs)))

    async def _void_questions(self) -> None:
        """What was asked was about another daemon's jobs."""
        while isinstance(self.screen, ModalScreen):
            await self.screen.dismiss(None)

    def _name_versions(self, theirs: str, before: Hello | None) -> None:
        """Once for each daemon: what one of both does not know yet is missing, and nobody would know why."""
        if theirs != __version__ and (before is None or before.server_version != theirs):
            self.say(f"oddaemon {theirs} and odctl {__version__}: what the older one does not know is missing here")

    async def _allowed_screen(self) -> None:
        """The one that was asked for at the start, if it is one for admins; none that this daemon does not allow."""
        self.refresh_bindings()
        wanted, self._first_pane = self._first_pane, ""
        current = (self.pane.id or "").removeprefix("pane-")
        if wanted in dict(self.panes()):
            await self.switch(wanted)
        elif current not in dict(self.panes()):
            await self.switch("jobs")

    def draw(self) -> None:
        base = self.screen_stack[0] if self._drawable and self.screen_stack else None
        if base is None or not self._room:
            return
        try:
            top = base.query_one(TopBar)
        except NoMatches:
            return  # it is not there yet, or is being taken down
        state, now = self.state, self.clock()
        with self.batch_update():
            current = (base.query_one("#panes", ContentSwitcher).current or "").removeprefix("pane-")
            top.show(state, self.panes(), current)
            base.query_one(Banner).show(state, now)
            base.query_one(KeyBar).show(self._pace_word())
            base.query_one(f"#pane-{current}", Pane).show(state)

    def _pace_word(self) -> str:
        """How live the screen is."""
        phase = self.state.connection.phase
        if phase is not Phase.LIVE:
            return "offline" if phase is Phase.LOST else "connecting"
        return "frozen" if self.state.frozen else f"live {self.pace_ms / 1000:g} s"

    def _tick(self) -> None:
        connection = self.state.connection
        if connection.phase is Phase.CONNECTING and self.clock() - connection.since > SLOW_SECONDS:
            self.tell(m.TakesLong())
        for banner in self.screen_stack[0].query(Banner) if self._drawable and self._room and self.screen_stack else ():
            banner.show(self.state, self.clock())

    def want(self, offset: int, limit: int, fields: tuple[str, ...]) -> None:
        """The list is told for these rows from here on."""
        self.want_window(
            Wanted(query=self.state.query, offset=offset, limit=limit, interval_ms=self.pace_ms, fields=fields)
        )

    def attend(self, name: str, work: Work | None) -> None:
        """From here on `work` runs over every connection; None: nothing does."""
        self.feed.attend(name, work)

    def ask(self, query: Query) -> None:
        """Another list."""
        marked = len(self.state.marks)
        self.tell(m.Asked(query=query))
        if marked and not self.state.marks:
            self.say(f"no longer marked: {marked} job{'s' if marked != 1 else ''}, the filter is another one")

    def prefer(self, **changes: object) -> None:
        """Keeps what the person likes."""
        self.preferences = replace(self.preferences, **changes)
        if self.options.preferences is not None:
            try:
                prefs.update(self.options.preferences, changes)
            except OSError as error:
                self.say(f"this is not kept: {error.strerror or error}", severity="warning")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if (action in CHANGES and self.options.read_only) or not (self._room or action == "leave"):
            return False
        if action == "retry_connection":
            return self.state.connection.phase is Phase.LOST
        if action == "screen_key":
            return parameters[0] in range(1, len(self.panes()) + 1)
        if action == "start_daemon":
            return self.can_start
        return True

    # Keys

    async def action_screen_key(self, key: int) -> None:
        panes = self.panes()
        if key <= len(panes):
            await self.switch(panes[key - 1][0])

    async def on_top_bar_chosen(self, message: TopBar.Chosen) -> None:
        await self.switch(message.pane)

    def give_up(self) -> None:
        """Whoever is still connecting does not want to wait."""
        self.feed.give_up()

    def action_retry_connection(self) -> None:
        self.feed.retry()

    @property
    def can_start(self) -> bool:
        """No daemon runs where one was looked for, and there is nothing of it on the screen that the key is for."""
        state = self.state
        return bool(self.options.starter) and state.total is None and getattr(state.connection.error, "absent", False)

    def action_start_daemon(self) -> None:
        from odctl.dashboard.children import run

        async def start() -> None:
            ended = await run(self.options.starter)
            if ended.code:
                self.say(f"the daemon was not started\n{ended.err.strip()}", severity="error")
            self.feed.retry()

        self.say("starting the daemon")
        self.run_worker(start(), name="start the daemon", group="start", exclusive=True, exit_on_error=False)

    def action_help(self) -> None:
        from odctl.dashboard.dialogs.help import Help

        self.push_screen(Help(self.screen_stack[0]))

    def action_add(self) -> None:
        self.open_add()

    def action_probe(self) -> None:
        self.open_add(adding=False)

    def open_add(self, text: str = "", *, adding: bool = True) -> None:
        """Opens the dialog that adds, or only looks at, the sources in `text`."""
        from odctl.dashboard.dialogs.add import Add

        def added(jobs: tuple[Job, ...] | None) -> None:
            if jobs:
                ready = sum(job.state == "completed" for job in jobs)
                instant = f", {ready} ready at once" if ready else ""
                self.say(f"added {len(jobs)} download{'s' if len(jobs) != 1 else ''}{instant}")

        self.push_screen(Add(text, adding=adding), added)

    def action_command(self) -> None:
        from odctl.dashboard.dialogs.command import CommandLine
        from odctl.dashboard.history import History

        kept = self.options.preferences
        if self._history is None:
            self._history = History(None if kept is None else kept.with_name("history"))
        self.push_screen(CommandLine(self.state.connection.where, self._history))

    async def action_contexts(self) -> None:
        from odctl.dashboard.dialogs.contexts import Contexts, Server, servers

        def chosen(server: Server | None) -> None:
            if server is None or self.options.reach is None:
                return
            try:
                self.feed.switch(self.options.reach(server.address))
            except OdctlError as error:
                self.complain(server.address, error)
            else:
                self.options.context, self.options.color = server.name, server.color
                self.screen_stack[0].query_one(TopBar).name_place(server.name, server.color)

        tried = await asyncio.to_thread(servers)
        self.push_screen(Contexts(self.state.connection, tried), chosen)

    def action_leave(self) -> None:
        self.exit(0)
