"""What the dashboard knows, and how it becomes what it knows next. Pure: no Textual, no clock, no I/O.

Of a list of any length a window is known: what is around the rows on the screen. The cursor is on a job, not on a row:
when its job moves within the window it goes with it, and when its job leaves, nothing is under the cursor until it is
moved, so that no key ever meets another job than the one that was aimed at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from odctl.client.errors import OdctlError
from odctl.client.models import Hello, Job
from odctl.dashboard import listed
from odctl.dashboard import messages as m
from odctl.dashboard.listed import Listed, every_list
from odctl.dashboard.messages import Message, Query

HISTORY = 120
"""Rates that the sparklines remember: one of each status."""


class Phase(StrEnum):
    CONNECTING = "connecting"
    LIVE = "live"
    LOST = "lost"


class Connection(Struct, frozen=True, kw_only=True):
    phase: Phase = Phase.CONNECTING
    where: str = ""
    why: str = ""
    since: float = 0.0
    """In this phase."""
    heard_at: float = 0.0
    """When the daemon last said something; 0: never."""
    retry_at: float = 0.0
    error: OdctlError | None = None
    slow: bool = False
    """It takes long to be made."""
    hello: Hello | None = None
    """Stays when the connection is lost."""


class Window(Struct, frozen=True, kw_only=True):
    """The jobs from row `offset` on."""

    offset: int = 0
    jobs: tuple[Job, ...] = ()
    places: Mapping[int, int] = field(default_factory=dict)
    """The row of each job number."""

    @classmethod
    def of(cls, offset: int, jobs: tuple[Job, ...]) -> Window:
        return cls(offset=offset, jobs=jobs, places={job.id: offset + at for at, job in enumerate(jobs)})

    def at(self, row: int) -> Job | None:
        index = row - self.offset
        return self.jobs[index] if 0 <= index < len(self.jobs) else None

    def job(self, number: int | None) -> Job | None:
        row = self.places.get(number) if number is not None else None
        return None if row is None else self.at(row)

    def patched(self, fresh: Mapping[int, Job]) -> Window:
        """The window with these jobs in the place of those of their numbers, unless it knows newer ones."""

        def newest(job: Job) -> Job:
            other = fresh.get(job.id)
            return job if other is None or other.rev < job.rev else other

        return Window(offset=self.offset, jobs=tuple(newest(job) for job in self.jobs), places=self.places)


class State(Struct, frozen=True, kw_only=True):
    connection: Connection = field(default_factory=Connection)
    query: Query = field(default_factory=Query)
    refused: OdctlError | None = None
    """Why the daemon does not take the query; what is shown is of an earlier one."""
    window: Window = field(default_factory=Window)
    total: int | None = None
    """None: nothing was told yet."""
    row: int = 0
    number: int | None = None
    """The job under the cursor."""
    aiming: bool = True
    """Nobody knew yet which job stands in the cursor's row when it was moved there: it is the one that is told next."""
    marks: Mapping[int, int | None] = field(default_factory=dict)
    """Sizes of the marked jobs by number."""
    anchor: int | None = None
    """The row of the last mark."""
    follow: bool = False
    frozen: bool = False
    held_back: m.PageTold | None = None
    """What was told while the list was frozen."""
    status: Mapping[str, Any] | None = None
    down: tuple[int, ...] = ()
    up: tuple[int, ...] = ()
    lists: Mapping[str, Listed] = field(default_factory=every_list)
    """Those of the other screens, by name."""

    @property
    def live(self) -> bool:
        return self.connection.phase is Phase.LIVE

    @property
    def job(self) -> Job | None:
        """The one under the cursor."""
        return self.window.job(self.number)

    @property
    def admin(self) -> bool:
        hello = self.connection.hello
        return hello is not None and hello.role == "admin"

    @property
    def chosen(self) -> tuple[int, ...]:
        """What an action is about: the marked jobs, else the one under the cursor, which is lit in the list."""
        if self.marks:
            return tuple(self.marks)
        job = self.job
        return () if job is None else (job.id,)


def reduce(state: State, message: Message) -> State:
    """The state after a message. Every message of `Message` is understood."""
    return _REDUCERS[type(message)](state, message)


def _connecting(state: State, message: m.Connecting) -> State:
    connection = state.connection
    if connection.phase is Phase.LOST:
        # the panel that says what is wrong stays until something better is known
        return replace(state, connection=replace(connection, where=message.where, retry_at=0.0))
    return replace(state, connection=replace(connection, where=message.where, since=message.at))


def _connected(state: State, message: m.Connected) -> State:
    connection = Connection(
        phase=Phase.LIVE, where=message.where, why=message.why, since=message.at, heard_at=message.at,
        hello=message.hello,
    )  # fmt: skip
    before = state.connection.where if state.connection.hello is not None else message.where
    # what another daemon told is none of this one's; what failed stays
    if message.where == before:
        return replace(state, connection=connection)
    lists = {**every_list(), "failures": state.lists["failures"]}
    return replace(
        state, connection=connection, lists=lists, window=Window(), total=None, marks={}, anchor=None, row=0,
        number=None, aiming=True, held_back=None,
    )  # fmt: skip


def _hello(state: State, message: m.HelloTold) -> State:
    told = replace(state, connection=replace(state.connection, hello=message.hello))
    if told.admin:
        return told
    # what only admins are told is not kept for who is none any more
    fresh = every_list()
    return replace(told, lists={**state.lists, **{name: fresh[name] for name in ("users", "settings", "log")}})


def _takes_long(state: State, _: m.TakesLong) -> State:
    connection = state.connection
    if connection.slow or connection.phase is not Phase.CONNECTING:
        return state
    return replace(state, connection=replace(connection, slow=True))


def _lost(state: State, message: m.Lost) -> State:
    old = state.connection
    since = old.since if old.phase is Phase.LOST else message.at
    connection = replace(old, phase=Phase.LOST, since=since, retry_at=message.retry_at, error=message.error, slow=False)
    return replace(state, connection=connection)


def _heard(state: State, message: m.Heard) -> State:
    return replace(state, connection=replace(state.connection, heard_at=message.at))


def _page(state: State, message: m.PageTold) -> State:
    state = _heard(state, m.Heard(at=message.at))
    if message.query != state.query:
        return state  # of a question that is not asked any more
    if state.frozen:
        return replace(state, held_back=message)
    window = Window.of(message.offset, message.jobs)
    row, number = state.row, state.number
    if number is not None:
        place = window.places.get(number)
        if place is not None:
            row = place
        elif _shows(window, row, message.total) or (
            state.window.job(number) is not None and window.offset == state.window.offset
        ):
            number = None  # it left: what stands in its row now was not aimed at
    row = max(0, min(row, message.total - 1))
    aimed = state.number is None and (state.aiming or not state.window.jobs)
    found = window.at(row) if aimed else None
    if number is None and found is not None:
        number = found.id
    sizes = {job.id: job.size for job in window.jobs if job.id in state.marks}
    return replace(
        state, window=window, total=message.total, row=row, number=number, refused=None,
        aiming=state.aiming and number is None,
        marks={**state.marks, **sizes} if sizes else state.marks,
    )  # fmt: skip


def _shows(window: Window, row: int, total: int) -> bool:
    """A job in this row would be known."""
    return row >= total or window.offset <= row < window.offset + len(window.jobs)


def _refused(state: State, message: m.QueryRefused) -> State:
    return replace(state, refused=message.error) if message.query == state.query else state


def _jobs(state: State, message: m.JobsTold) -> State:
    return replace(state, window=state.window.patched({job.id: job for job in message.jobs}))


def _removed(state: State, message: m.JobsRemoved) -> State:
    marks = {number: size for number, size in state.marks.items() if number not in message.numbers}
    jobs = tuple(job for job in state.window.jobs if job.id not in message.numbers)
    gone = len(state.window.jobs) - len(jobs)
    window = Window.of(state.window.offset, jobs)
    total = None if state.total is None else state.total - gone
    row, number = state.row, state.number
    if number is not None and number in message.numbers:
        row = max(0, min(row, (total or 1) - 1))
        found = window.at(row)
        number = None if found is None else found.id
    elif number is not None and number in window.places:
        row = window.places[number]
    return replace(state, window=window, total=total, marks=marks, row=row, number=number)


def _status(state: State, message: m.StatusTold) -> State:
    rates = message.status.get("rates") or {}
    return replace(
        _heard(state, m.Heard(at=message.at)),
        status=message.status,
        down=(*state.down, int(rates.get("down") or 0))[-HISTORY:],
        up=(*state.up, int(rates.get("up") or 0))[-HISTORY:],
        lists={**state.lists, "nodes": listed.nodes(state.lists["nodes"], message.status.get("nodes") or ())},
    )


def _list(state: State, name: str, after: Listed) -> State:
    return replace(state, lists={**state.lists, name: after})


def _list_told(state: State, message: m.ListTold) -> State:
    before = state.lists[message.list]
    if message.query != before.query:
        return state  # of a question that is not asked any more
    return _list(state, message.list, listed.told(before, message.items, message.offset, message.total))


def _list_refused(state: State, message: m.ListRefused) -> State:
    before = state.lists[message.list]
    if message.query != before.query:
        return state
    return _list(state, message.list, replace(before, refused=message.error))


def _lines(state: State, message: m.LinesTold) -> State:
    after = listed.grown(state.lists[message.list], message.lines, anew=message.anew)
    return _list(state, message.list, replace(after, refused=None))


def _failed(state: State, message: m.Failed) -> State:
    return _list(state, "failures", listed.grown(state.lists["failures"], (message,), anew=False))


def _list_asked(state: State, message: m.ListAsked) -> State:
    return _list(state, message.list, listed.asked(state.lists[message.list], message.query))


def _list_moved(state: State, message: m.ListMoved) -> State:
    before = state.lists[message.list]
    after = listed.moved(before, message.row)
    if message.list in listed.GROWING:
        after = replace(after, tail=after.row >= (after.total or 0) - 1)
    return _list(state, message.list, after)


def _asked(state: State, message: m.Asked) -> State:
    if message.query == state.query:
        return state
    # a key is about nothing that is out of sight: what another filter does not show stays marked nowhere
    marks = state.marks if message.query.filter == state.query.filter else {}
    return replace(
        state, query=message.query, refused=None, row=0, number=None, aiming=True, marks=marks, anchor=None,
        held_back=None,
    )  # fmt: skip


def _moved(state: State, message: m.MovedTo) -> State:
    row = max(0, min(message.row, (state.total or 1) - 1))
    found = state.window.at(row)
    return replace(state, row=row, number=None if found is None else found.id, aiming=found is None)


def _mark(state: State, _: m.MarkToggled) -> State:
    job = state.job
    if job is None:
        return state
    marks = dict(state.marks)
    if job.id in marks:
        del marks[job.id]
    else:
        marks[job.id] = job.size
    return _moved(replace(state, marks=marks, anchor=state.row), m.MovedTo(row=state.row + 1))


def _mark_range(state: State, _: m.RangeMarked) -> State:
    start = state.row if state.anchor is None else state.anchor
    rows = range(min(start, state.row), max(start, state.row) + 1)
    found = _sized(job for row in rows if (job := state.window.at(row)) is not None)
    return replace(state, marks={**state.marks, **found}, anchor=state.row)


def _mark_all(state: State, message: m.AllMarked) -> State:
    return replace(state, marks={**state.marks, **message.sizes})


def _clear_marks(state: State, _: m.MarksCleared) -> State:
    return replace(state, marks={}, anchor=None)


def _freeze(state: State, _: m.FreezeToggled) -> State:
    if not state.frozen:
        return replace(state, frozen=True)
    thawed = replace(state, frozen=False, held_back=None)
    return thawed if state.held_back is None else _page(thawed, state.held_back)


def _follow(state: State, _: m.FollowToggled) -> State:
    return replace(state, follow=not state.follow)


def _sized(jobs: Iterable[Job]) -> dict[int, int | None]:
    return {job.id: job.size for job in jobs}


_REDUCERS: Mapping[type, Callable[[State, Any], State]] = {
    m.Connecting: _connecting,
    m.Connected: _connected,
    m.TakesLong: _takes_long,
    m.HelloTold: _hello,
    m.Lost: _lost,
    m.Heard: _heard,
    m.PageTold: _page,
    m.QueryRefused: _refused,
    m.JobsTold: _jobs,
    m.JobsRemoved: _removed,
    m.StatusTold: _status,
    m.Asked: _asked,
    m.MovedTo: _moved,
    m.MarkToggled: _mark,
    m.RangeMarked: _mark_range,
    m.AllMarked: _mark_all,
    m.MarksCleared: _clear_marks,
    m.FreezeToggled: _freeze,
    m.FollowToggled: _follow,
    m.ListTold: _list_told,
    m.ListRefused: _list_refused,
    m.LinesTold: _lines,
    m.Failed: _failed,
    m.ListAsked: _list_asked,
    m.ListMoved: _list_moved,
}
