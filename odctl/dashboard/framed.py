"""A frame with a title. Another title is another line: Textual draws the frame and all that is in it anew."""

from __future__ import annotations

from typing import Any, Self

from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget


class Framed(Widget):
    """A mixin for containers with a border of one line."""

    _edge: Region | None = None

    def head(self, title: Content) -> None:
        """The title at the top."""
        if self.border_title != title.markup:
            with_title = self.outer_size
            self._edge = Region(0, 0, with_title.width, 1)
            self.border_title = title
            self._edge = None

    def foot(self, title: Content) -> None:
        """The title at the bottom."""
        if self.border_subtitle != title.markup:
            with_title = self.outer_size
            self._edge = Region(0, with_title.height - 1, with_title.width, 1)
            self.border_subtitle = title
            self._edge = None

    def refresh(self, *regions: Region, **what: Any) -> Self:
        if self._edge and not regions:
            # regions are told from where the content begins
            regions = (self._edge.translate(-self.content_offset),)
        return super().refresh(*regions, **what)
