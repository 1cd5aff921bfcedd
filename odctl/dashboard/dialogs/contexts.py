"""Which server: those that are known, else the sockets of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from odproto.endpoint import default_socket_paths
from rich.text import Text
from textual.widget import Widget
from textual.widgets import Input, Static

from odctl.client.endpoints import probe
from odctl.dashboard.dialogs.base import Dialog
from odctl.dashboard.state import Connection
from odctl.text import clean


def known() -> Iterator[tuple[str, str]]:
    """Addresses, and how they answer. Blocks while it tries them."""
    for path in default_socket_paths():
        try:
            probe(path)
        except OSError as error:
            yield f"unix://{path}", error.strerror or str(error)
        else:
            yield f"unix://{path}", "somebody answers"


class Contexts(Dialog[str]):
    """Its answer is an address."""

    def __init__(self, connection: Connection, known: Sequence[tuple[str, str]]) -> None:
        super().__init__("Servers", "a number chooses · enter goes to the address · esc back")
        self.connection = connection
        self.known = tuple(known)
        self.addresses = [address for address, _ in known]

    def parts(self) -> list[Widget]:
        text = Text(overflow="fold")
        where = self.connection.where
        text.append(f"now      {clean(where)}  ({clean(self.connection.phase)}")
        text.append(f", from {clean(self.connection.why)})\n\n" if self.connection.why else ")\n\n")
        for number, (address, how) in enumerate(self.known, 1):
            text.append(f" {number} ", "bold")
            text.append(f" {clean(address)}  {clean(how)}\n")
        return [
            Static(text, id="said", markup=False),
            Input(placeholder="unix:///path/to/control.sock", id="answer", compact=True),
        ]

    def on_mount(self) -> None:
        self.query_one("#answer", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        typed = event.value
        if typed.isdigit() and typed.isascii() and 1 <= int(typed) <= len(self.addresses):
            self.dismiss(self.addresses[int(typed) - 1])

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value.strip():
            self.dismiss(event.value.strip())
