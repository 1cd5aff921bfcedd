"""Some lines to fill in, which are carried out while the form is still there: what the daemon refuses can be mended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Input, Static

from odctl.client.errors import OdctlError
from odctl.dashboard import messages as m
from odctl.dashboard.dialogs.base import Dialog
from odctl.text import clean

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    name: str
    label: str
    value: str = ""
    placeholder: str = ""
    secret: bool = False
    """Never shown, and never copied."""


class Secret(Input):
    """A password: nothing of it leaves the line."""

    def action_copy(self) -> None:
        """It is for nobody's clipboard."""

    def action_cut(self) -> None:
        """As copying."""


class Form(Dialog[Any]):
    """`work` is given the values by the names of their fields; what it gives is the answer. It raises OdctlError for
    what is wrong: that is shown, and the lines stay."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", "Next", show=False, id="dialog.next"),
        Binding("up", "app.focus_previous", "Previous", show=False, id="dialog.previous"),
    ]

    def __init__(
        self, title: str, lines: Sequence[str], fields: Sequence[Field],
        work: Callable[[DaemonClient, Mapping[str, str]], Awaitable[Any]],
    ) -> None:  # fmt: skip
        super().__init__(title, "enter goes on, and at the end does it · esc back")
        self.lines = tuple(lines)
        self.fields = tuple(fields)
        self.work = work
        self._busy = False

    def parts(self) -> list[Widget]:
        said = Text("\n".join(map(clean, self.lines)), overflow="fold")
        parts: list[Widget] = [Static(said, id="said", markup=False)]
        for field in self.fields:
            kind = Secret if field.secret else Input
            line = kind(
                clean(field.value) if field.value else "", placeholder=field.placeholder, password=field.secret,
                id=f"field-{field.name}", compact=True,
            )  # fmt: skip
            parts.append(Vertical(Static(Text(field.label, "dim"), markup=False), line, classes="field"))
        return [*parts, Static("", id="wrong", markup=False)]

    def on_mount(self) -> None:
        self.query(Input).first().focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        lines = list(self.query(Input))
        at = lines.index(event.input)
        if at + 1 < len(lines):
            lines[at + 1].focus()
        elif not self._busy:
            self.run_worker(self._carry_out(), name=self.heading, exit_on_error=False)

    def _value(self, field: Field) -> str:
        return self.query_one(f"#field-{field.name}", Input).value

    async def _carry_out(self) -> None:
        client = self.dashboard.client
        if client is None:
            self._wrong("offline, nothing was changed – again when the daemon is there")
            return
        self._busy = True
        self._wrong("…")
        values = {field.name: self._value(field) for field in self.fields}
        try:
            answer = await self.work(client, values)
        except OdctlError as error:
            self.dashboard.tell(m.Failed(what=self.heading, error=error, at=datetime.now(UTC)))
            self._wrong(error.message + (f" – {error.hint}" if error.hint else ""))
        else:
            self.dismiss(answer)
        finally:
            self._busy = False

    def _wrong(self, text: str) -> None:
        if self.is_mounted:
            self.query_one("#wrong", Static).update(Text(clean(text), overflow="fold"))
