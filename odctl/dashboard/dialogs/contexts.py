"""Which server: those that are known, else the sockets of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from odproto.endpoint import default_socket_paths
from rich.text import Text
from textual.widget import Widget
from textual.widgets import Input, Static

from odctl.client import contexts
from odctl.client.endpoints import checked_address, probe
from odctl.client.errors import OdctlError
from odctl.dashboard.dialogs.base import Dialog
from odctl.dashboard.state import Connection
from odctl.text import clean


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    address: str
    how: str
    """It answers."""
    name: str = ""
    """In contexts.toml."""
    color: str = ""


def servers() -> list[Server]:
    """Blocks while it tries them. A file of contexts that is wrong is told as one that does not answer."""
    found: list[Server] = []
    known = contexts.Contexts()
    try:
        known = contexts.load()
    except OdctlError as error:
        found.append(Server(address="", how=error.message, name=contexts.FILE))
    named = {name: known.endpoint(name) for name in known.known}
    found += [
        Server(address=address, how=_answer(address), name=name, color=known.color(name))
        for name, address in named.items()
    ]
    sockets = [f"unix://{path}" for path in default_socket_paths()]
    return [*found, *(Server(address=one, how=_answer(one)) for one in sockets if one not in named.values())]


def _answer(address: str) -> str:
    try:
        probe(checked_address(address, "address"))
    except OdctlError as error:
        return error.message
    except OSError as error:
        return error.strerror or str(error)
    return "somebody answers"


class Contexts(Dialog[Server]):
    """Its answer is the server that was chosen."""

    def __init__(self, connection: Connection, known: Sequence[Server]) -> None:
        super().__init__("Servers", "a number chooses · enter goes to the name or address · esc back")
        self.connection = connection
        self.known = tuple(known)

    def parts(self) -> list[Widget]:
        text = Text(overflow="fold")
        where = self.connection.where
        text.append(f"now      {clean(where)}  ({clean(self.connection.phase)}")
        text.append(f", from {clean(self.connection.why)})\n\n" if self.connection.why else ")\n\n")
        for number, server in enumerate(self.known, 1):
            text.append(f" {number} ", "bold")
            text.append("  ".join(clean(part) for part in (server.name, server.address, server.how) if part) + "\n")
        return [
            Static(text, id="said", markup=False),
            Input(placeholder="unix:///path/to/control.sock", id="answer", compact=True),
        ]

    def on_mount(self) -> None:
        self.query_one("#answer", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        typed = event.value
        if typed.isdigit() and typed.isascii() and 1 <= int(typed) <= len(self.known):
            server = self.known[int(typed) - 1]
            if server.address:
                self.dismiss(server)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value.strip():
            typed = event.value.strip()
            known = [server for server in self.known if typed in (server.name, server.address)]
            self.dismiss(known[0] if known else Server(address=typed, how=""))
