"""Screens whose list is asked for now and then, and whose item under the cursor is asked about when it is there."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from odctl.client.errors import OdctlError
from odctl.dashboard.messages import Query
from odctl.dashboard.panes.listing import ListPane
from odctl.dashboard.polling import Poll
from odctl.dashboard.state import State

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

SETTLE_SECONDS = 0.15
"""After the cursor was moved; who runs through the list asks nothing of the items on the way."""


class PolledPane(ListPane):
    SECONDS: ClassVar[float] = 5.0

    def on_mount(self) -> None:
        self.poll = Poll(
            self.LIST, self.page, query=lambda: self.listed.query, window=self.window, post=self.dashboard.tell,
            seconds=self.SECONDS,
        )  # fmt: skip
        self._asked: Any = None
        self._detail: tuple[str, Any] = ("", None)

    @abstractmethod
    async def page(self, client: DaemonClient, query: Query, offset: int, limit: int) -> tuple[Sequence[Any], int]:
        """The items from `offset` on, and how many there are. Raises OdctlError."""

    async def detail(self, client: DaemonClient, item: Any) -> Any:
        """What the list does not tell of an item. Raises OdctlError."""

    def window(self) -> tuple[int, int]:
        """Offset and limit of what is wanted: everything."""
        return 0, 0

    def detail_of(self, item: Any) -> Any:
        """None while it was not told."""
        key, told = self._detail
        return told if key == self.listed.key_of(item) else None

    def entered(self) -> None:
        super().entered()
        self.dashboard.attend(self.LIST, self.poll)

    def left(self) -> None:
        self.dashboard.attend(self.LIST, None)

    def asked(self) -> None:
        self.poll.again()

    def show(self, state: State) -> None:
        super().show(state)
        current = self.current
        if current is not None and current != self._asked:
            self._asked = current
            self.set_timer(SETTLE_SECONDS, lambda: self._ask_detail(current))

    def _ask_detail(self, item: Any) -> None:
        client = self.dashboard.client
        if client is None or item != self._asked:
            return

        async def ask() -> None:
            try:
                told = await self.detail(client, item)
            except OdctlError:
                return  # it is gone, as the list will say, or the connection is
            self._detail = (self.listed.key_of(item), told)
            self.show(self.dashboard.state)

        self.run_worker(ask(), name="detail", group="detail", exclusive=True, exit_on_error=False)


def having(items: Sequence[Any], words: str, *texts: str) -> Sequence[Any]:
    """Those of which one of these texts has all the words in it, in any case."""
    wanted = words.casefold().split()
    return [
        item
        for item in items
        if all(word in " ".join(str(_of(item, text) or "") for text in texts).casefold() for word in wanted)
    ]


def _of(item: Any, name: str) -> Any:
    return item[name] if isinstance(item, dict) else getattr(item, name)
