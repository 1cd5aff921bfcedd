"""Settings: each one's value, where it comes from, and what it would be without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from odctl import text as words
from odctl.client.errors import OdctlError
from odctl.dashboard.columns import Cell, Column
from odctl.dashboard.dialogs.confirm import Confirm
from odctl.dashboard.dialogs.form import Field, Form
from odctl.dashboard.glyphs import Glyphs
from odctl.dashboard.listed import Listed
from odctl.dashboard.messages import Query
from odctl.dashboard.panes.listing import Fact, facts
from odctl.dashboard.panes.polled import PolledPane, having
from odctl.dashboard.state import State

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

Setting = Mapping[str, Any]
SOURCES = {
    "default": "nobody set it", "stored": "set here, or with odctl settings set", "file": "the daemon's settings file",
    "env": "the daemon's environment", "flag": "the daemon's command line",
}  # fmt: skip


def word(setting: Setting, name: str = "value") -> str:
    return words.setting_word(setting[name], setting["type"])


def _value(setting: Setting, glyphs: Glyphs, width: int) -> Cell:
    own = setting["value"] != setting["default"]
    return word(setting) or glyphs.dash, "active" if own else "name"


def _source(setting: Setting, glyphs: Glyphs, width: int) -> Cell:
    return setting["source"], "dim" if setting["source"] == "default" else "note"


class SettingsPane(PolledPane):
    TITLE = "Settings"
    LIST = "settings"
    FILTER = "words of a name or of what it means"
    SECONDS = 10.0
    CHANGES = frozenset({"edit", "unset"})
    COLUMNS = (
        Column(id="state", title="SETTING", width=34, cell=lambda setting, g, w: (setting["key"], "name")),
        Column(id="value", title="VALUE", width=0, cell=_value),
        Column(id="source", title="FROM", width=8, cell=_source),
        Column(
            id="restart", title="RESTART", width=7,
            cell=lambda setting, g, w: ("needed" if setting["restart_required"] else "", "note"),
        ),
        Column(id="default", title="DEFAULT", width=12, cell=lambda s, g, w: (word(s, "default") or g.dash, "dim")),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "edit", "Change", id="settings.change"),
        Binding("u", "unset", "Unset", id="settings.unset"),
    ]

    async def page(self, client: DaemonClient, query: Query, offset: int, limit: int) -> tuple[Sequence[Setting], int]:
        found = having(await client.upkeep.settings(), query.filter, "key", "description")
        return found, len(found)

    def title(self, state: State, listed: Listed) -> str:
        return "Settings" if listed.total is None else f"Settings ─ {listed.total}"

    def facts(self, state: State, item: Setting) -> Text:
        return facts(_facts(item))

    # Keys

    def action_edit(self) -> None:
        setting = self.current
        if setting is None:
            return
        key = setting["key"]
        if not setting["editable"] or setting["source"] not in ("default", "stored"):
            self.dashboard.complain(f"change {key}", _fixed(setting))
            return

        async def change(client: DaemonClient, values: Mapping[str, str]) -> Sequence[Setting]:
            return await client.upkeep.set_settings({key: values["value"].strip()}, dry_run=False)

        lines = [setting["description"], "", f"{setting['type']}; by default {word(setting, 'default') or 'nothing'}"]
        field = Field(name="value", label="value", value=word(setting))
        self.dashboard.push_screen(Form(key, lines, [field], change), self._changed)

    def action_unset(self) -> None:
        setting = self.current
        if setting is None:
            return
        key = setting["key"]
        if setting["source"] != "stored":
            where = SOURCES.get(setting["source"], setting["source"])
            self.dashboard.complain(f"unset {key}", OdctlError(f"it is not set here: {where}"))
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.dashboard.carry_out(
                    f"unset {key}", lambda client: client.upkeep.unset_settings([key]), self._changed
                )

        lines = [f"{key} is {word(setting)} now.", f"By default it is {word(setting, 'default') or 'nothing'}."]
        self.dashboard.push_screen(Confirm("Forget this value?", lines, "Forget it"), answered)

    def _changed(self, found: Sequence[Setting] | None) -> None:
        """Says what holds now."""
        for setting in found or ():
            note = " – from the next start on" if setting["restart_required"] else ""
            self.dashboard.say(f"{setting['key']} is {word(setting) or 'nothing'}{note}")
        self.poll.again()


def _fixed(setting: Setting) -> OdctlError:
    """Why it cannot be changed here, and where it can."""
    source = setting["source"]
    if source in ("file", "env", "flag"):
        where = SOURCES[source]
        return OdctlError(f"it comes from {where}, which wins", hint=f"change it in {where}, then: odctl daemon reload")
    return OdctlError(
        "it is read when the daemon starts", hint="set it in the daemon's settings file, then start the daemon again"
    )


def _facts(setting: Setting) -> Iterator[Fact]:
    yield "setting", setting["key"], "bold"
    yield "", setting["description"], ""
    yield "value", word(setting) or "nothing", "bold"
    yield "default", word(setting, "default") or "nothing", ""
    yield "from", f"{setting['source']}: {SOURCES.get(setting['source'], '?')}", ""
    yield "type", setting["type"], ""
    yield "restart", "counts from the next start on" if setting["restart_required"] else "", "yellow"
    if not setting["editable"]:
        yield "fixed", "it is read when the daemon starts", "yellow"
    elif setting["source"] not in ("default", "stored"):
        yield "fixed", _fixed(setting).message, "yellow"
