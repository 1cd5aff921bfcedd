"""Draws of a change only the lines that changed, and on them only the widgets that can be seen there.

Textual's own renders all of every widget within the box around all changes, and cuts each of their lines wherever any
widget begins or ends: for forty rows that change four times a second that took more time than all the rest of the
dashboard. This relies on names that Textual keeps to itself; where one of them is missing, Textual's own way is taken.
See docs/adr/0020-drawing-what-changed.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from textual._compositor import Compositor, CompositorUpdate
from textual._context import visible_screen_stack
from textual.geometry import Region
from textual.reactive import Reactive
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

RELIED_ON = ("_dirty_regions", "_regions_to_spans", "visible_widgets", "size", "render_partial_update")
"""Of Textual's compositor."""


class Piece(NamedTuple):
    """A part of a line of the screen, and the widget that is seen there."""

    left: int
    right: int
    widget: Widget
    region: Region


class Drawn(CompositorUpdate):
    """Where to write what: line, column, and what stands from there on."""

    def __init__(self, parts: Iterable[tuple[int, int, Strip]]) -> None:
        self.parts = parts

    def render_segments(self, console: Console) -> str:
        return "".join(f"\x1b[{y + 1};{x + 1}H{strip.render(console)}" for y, x, strip in self.parts)


class QuickCompositor(Compositor):
    def __init__(self) -> None:
        super().__init__()
        self._laid_out: Mapping[Widget, tuple[Region, Region]] | None = None
        self._boxes: list[tuple[Region, Widget, Region]] = []
        """What is seen of each widget, the foremost first."""
        self._lines: dict[int, list[Piece]] = {}

    def clear(self) -> None:
        super().clear()
        self._laid_out, self._boxes, self._lines = None, [], {}

    def render_update(self, full: bool = False, screen_stack: Any = None, simplify: bool = False) -> Any:
        """`full` is for pictures of the screen; where everything changed, what can be seen of it is all the same."""
        if full:
            return super().render_update(full, screen_stack, simplify)
        visible_screen_stack.set([] if screen_stack is None else screen_stack)
        return self.render_partial_update()

    def render_partial_update(self) -> Any:
        """Whole pieces of lines, so that no character of two columns is cut but where a widget ends."""
        regions, screen = self._dirty_regions.copy(), self.size.region
        self._dirty_regions.clear()
        spans = self._regions_to_spans([region.intersection(screen) for region in regions])
        pieces = {
            (y, piece.left): piece
            for y, left, right in spans
            for piece in self._pieces(y)
            if piece.left < right and left < piece.right
        }
        return Drawn(self._parts(pieces)) if pieces else None

    def _pieces(self, y: int) -> Sequence[Piece]:
        """What is seen on this line, from left to right."""
        visible = self.visible_widgets
        if visible is not self._laid_out:  # every layout makes another
            self._laid_out, self._lines = visible, {}
            self._boxes = [(region.intersection(clip), widget, region) for widget, (region, clip) in visible.items()]
        found = self._lines.get(y)
        if found is None:
            found = self._lines[y] = self._seen(y)
        return found

    def _seen(self, y: int) -> list[Piece]:
        free, pieces = [(0, self.size.width)], []
        for box, widget, region in self._boxes:
            if not box.y <= y < box.bottom:
                continue
            behind = []
            for start, end in free:
                left, right = max(start, box.x), min(end, box.right)
                if left < right:
                    pieces.append(Piece(left, right, widget, region))
                    behind += [(a, b) for a, b in ((start, left), (right, end)) if a < b]
                else:
                    behind.append((start, end))
            free = behind
        return sorted(pieces, key=lambda piece: piece.left)

    @staticmethod
    def _parts(pieces: Mapping[tuple[int, int], Piece]) -> list[tuple[int, int, Strip]]:
        """Asks each widget once for lines that follow each other."""
        runs: dict[Piece, list[range]] = {}
        for (y, _), piece in sorted(pieces.items(), key=lambda item: item[0]):
            known = runs.setdefault(piece, [])
            if known and known[-1].stop == y:
                known[-1] = range(known[-1].start, y + 1)
            else:
                known.append(range(y, y + 1))
        parts = []
        for (left, right, widget, region), ranges in runs.items():
            for lines in ranges:
                crop = Region(left - region.x, lines.start - region.y, right - left, len(lines))
                parts += [(y, left, strip) for y, strip in zip(lines, widget.render_lines(crop), strict=False)]
        return parts


class QuickScreen(Screen[Any]):
    """The screen that everything is on."""

    focused: Reactive[Widget | None] = Reactive(None, repaint=False)
    """What looks otherwise with the focus draws itself; Textual would draw everything."""

    def __init__(self) -> None:
        super().__init__(id="_default")
        if all(hasattr(self._compositor, name) for name in RELIED_ON):
            self._compositor = QuickCompositor()
