"""Cache: what is there already, who needs it, and what may go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from odctl import text as words
from odctl.dashboard import cleaning
from odctl.dashboard.cleaning import entries, name_of
from odctl.dashboard.columns import Cell, Column
from odctl.dashboard.dialogs.ask import Ask
from odctl.dashboard.dialogs.confirm import Confirm
from odctl.dashboard.glyphs import Glyphs
from odctl.dashboard.listed import Listed
from odctl.dashboard.messages import Query
from odctl.dashboard.panes.listing import Fact, facts, failed
from odctl.dashboard.panes.polled import PolledPane
from odctl.dashboard.state import State

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

LEAST, MOST = 100, 200
"""Entries of one page."""
Entry = Mapping[str, Any]


def _where(entry: Entry, glyphs: Glyphs, width: int) -> Cell:
    told = ", ".join(f"{replica['node']}:{replica['state']}" for replica in entry["replicas"])
    ready = any(replica["state"] == "ready" for replica in entry["replicas"])
    return told or "nowhere", "dim" if ready else "note"


def _jobs(entry: Entry, glyphs: Glyphs, width: int) -> Cell:
    return (str(len(entry["jobs"])), "name") if entry["jobs"] else (glyphs.dash, "dim")


class CachePane(PolledPane):
    TITLE = "Cache"
    LIST = "cache"
    FILTER = "pinned=true name~linux engine=aria2"
    CHANGES = frozenset({"pin", "remove_entry", "clean_up"})
    COLUMNS = (
        Column(id="name", title="NAME", width=0, sort="name", cell=lambda e, g, w: (name_of(e), "name")),
        Column(id="pin", title="PIN", width=4, sort="pinned", cell=lambda e, g, w: (g.mark * e["pinned"], "mark")),
        Column(
            id="size", title="SIZE", width=9, right=True, sort="size",
            cell=lambda e, g, w: (words.size(e["size"]), "dim"),
        ),
        Column(id="jobs", title="JOBS", width=4, right=True, cell=_jobs),
        Column(
            id="used", title="USED", width=16, sort="last_used",
            cell=lambda e, g, w: (words.moment(e["last_used_at"])[:16], "dim"),
        ),
        Column(id="hits", title="HITS", width=5, right=True, sort="hits", cell=lambda e, g, w: (str(e["hits"]), "dim")),
        Column(id="where", title="WHERE", width=16, cell=_where),
        Column(
            id="engine", title="ENGINE", width=9, sort="engine", cell=lambda e, g, w: (e["engine"] or g.dash, "dim")
        ),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pin", "Pin", id="cache.pin"),
        Binding("d", "remove_entry", "Remove", id="cache.remove"),
        Binding("c", "clean_up", "Clean up", id="cache.clean-up"),
    ]

    async def page(self, client: DaemonClient, query: Query, offset: int, limit: int) -> tuple[Sequence[Entry], int]:
        return await client.cache.page(where=query.filter, sort=query.sort, offset=offset, limit=limit)

    # The window

    def window(self) -> tuple[int, int]:
        """The rows that are shown and those around them."""
        rows = self.table.rows
        start = max(0, rows.start - len(rows))
        return start, max(LEAST, min(MOST, rows.stop + len(rows) - start))

    def on_line_list_scrolled(self) -> None:
        listed, rows = self.table.listed, self.table.rows
        known = range(listed.offset, listed.offset + len(listed.items))
        near, total = len(rows) // 2, listed.total or 0
        if rows.start - near < known.start > 0 or rows.stop + near > known.stop < total:
            self.poll.again()

    # What is known

    def title(self, state: State, listed: Listed) -> str:
        return "Cache" if listed.total is None else f"Cache ─ {entries(listed.total)}"

    def nothing(self, state: State, listed: Listed) -> str:
        if listed.query.filter:
            return super().nothing(state, listed)
        return "The cache is empty.\nWhat is downloaded stays in it as long as somebody needs it, or it is pinned."

    async def detail(self, client: DaemonClient, item: Entry) -> Any:
        """Where the bytes are, which only one entry's own answer tells."""
        found = await client.cache.entries(key=item["key"])
        return next((one["replicas"] for one in found if one["generation"] == item["generation"]), None)

    def facts(self, state: State, item: Entry) -> Text:
        return facts(_facts(item, self.detail_of(item) or item["replicas"]))

    # Keys

    def action_pin(self) -> None:
        entry = self.current
        if entry is None:
            return
        word = "unpin" if entry["pinned"] else "pin"

        def done(found: Sequence[Entry]) -> None:
            self.dashboard.say(f"{word}ned {words.clean(name_of(entry))}")
            self.poll.again()

        self.dashboard.carry_out(word, lambda client: client.cache.pin([entry["key"]], unpin=entry["pinned"]), done)

    def action_remove_entry(self) -> None:
        entry = self.current
        if entry is None:
            return
        lines = [name_of(entry), entry["key"], f"{words.size(entry['size'])} on {_nodes(entry) or 'no node'}"]
        if entry["jobs"]:
            users = ", ".join(entry["users"])
            lines += ["", f"{len(entry['jobs'])} downloads need it ({users}): it stays until they are gone"]
        if entry["pinned"]:
            lines += ["", "it is pinned, and stays until it is not"]

        def answered(yes: bool | None) -> None:
            if yes:
                work = self.dashboard.carry_out
                work("remove", lambda client: client.cache.remove([entry["key"]], dry_run=False), self._removed)

        self.dashboard.push_screen(Confirm("Remove this from the cache?", lines, "Remove"), answered)

    def _removed(self, result: Mapping[str, Any]) -> None:
        """Says what went and why the rest did not."""
        gone = [item for item in result["items"] if item["failure"] is None]
        if gone:
            self.dashboard.say(f"removed {entries(len(gone))}, {words.size(result['freed_bytes'])} freed")
        for item in result["items"]:
            if item["failure"] is not None:
                self.dashboard.complain(f"remove {name_of(item['entry'])}", failed(item["failure"]))
        self.poll.again()

    def action_clean_up(self) -> None:
        lines = (
            "Removes what no download needs and nobody pinned, the least recently used",
            "first: unused for so long, or until so much is free. verify looks for lost",
            "files first. What would go is shown before anything does.",
        )

        def answered(line: str | None) -> None:
            if line:
                self._plan(cleaning.wish(line))

        dialog = Ask("Clean up the cache", lines, placeholder=cleaning.HINT, check=cleaning.wish)
        self.dashboard.push_screen(dialog, answered)

    def _plan(self, wish: cleaning.Wish) -> None:
        def planned(found: Mapping[str, Any]) -> None:
            lines = list(cleaning.plan(found))
            going = sum(item["failure"] is None for item in found["items"])
            if not going:
                self.dashboard.say("\n".join(["there is nothing to clean up by that", *lines[:5]]))
                return
            size = words.size(found["freed_bytes"])
            question = f"Remove {entries(going)} of the cache ({size})?"
            self.dashboard.push_screen(Confirm(question, lines, "Remove them"), lambda yes: self._clean(wish, yes))

        self.dashboard.carry_out("clean up", lambda client: _clean(client, wish, dry_run=True), planned, opens=True)

    def _clean(self, wish: cleaning.Wish, yes: bool | None) -> None:
        if yes:
            self.dashboard.carry_out("clean up", lambda client: _clean(client, wish, dry_run=False), self._removed)


async def _clean(client: DaemonClient, wish: cleaning.Wish, *, dry_run: bool) -> dict[str, Any]:
    return await client.cache.cleanup(
        older_s=wish.older_s, until_free=wish.until_free, node=wish.node, dry_run=dry_run, verify=wish.verify
    )


def _nodes(entry: Entry) -> str:
    return ", ".join(dict.fromkeys(replica["node"] for replica in entry["replicas"]))


def _facts(entry: Entry, replicas: Sequence[Mapping[str, Any]]) -> Iterator[Fact]:
    yield "name", entry["name"], "bold"
    yield "size", words.size(entry["size"]) + (f" in {entry['files']} files" if entry["files"] > 1 else ""), ""
    wished = "" if entry["wished"] == 1 else f", and is to lie on {entry['wished']} nodes"
    yield "pinned", f"yes: clean-up leaves it{wished}" if entry["pinned"] else "", ""
    jobs = ", ".join(map(str, entry["jobs"]))
    yield "jobs", jobs or "none: it may go" + (" when it is unpinned" if entry["pinned"] else ""), ""
    yield "users", ", ".join(entry["users"]), ""
    for replica in replicas:
        size = f"  {words.size(replica['size'])}" if "size" in replica else ""
        if replica["state"] == "copying" and replica.get("wanted"):
            size += f" of {words.size(replica['wanted'])}"
        yield "on", f"{replica['node']}  {replica['state']}{size}", ""
        yield "", replica.get("reason"), "dim"
        yield "", replica.get("uri"), "dim"
    yield "used", f"{words.moment(entry['last_used_at'])}, {entry['hits']} hits", ""
    yield "made", words.moment(entry["created_at"]), ""
    yield "engine", entry["engine"], ""
    yield "private", "yes: no other user gets it" if entry["private"] else "", ""
    yield "version", "" if entry["current"] else f"generation {entry['generation']}, superseded", ""
    yield "key", entry["key"], "dim"
