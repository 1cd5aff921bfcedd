"""What has nothing of its own to draw. Textual would make, filter and cut fifty empty lines of it for every change of
what is in front of it."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget


class Blank(Widget):
    """A mixin for containers without border, padding and text: one line, as often as it is asked for."""

    def render_lines(self, crop: Region) -> list[Strip]:
        below, background = self.background_colors
        strip = Strip([Segment(" " * crop.width, Style.from_color(None, (below + background).rich_color))], crop.width)
        for each in self.get_line_filters():
            strip = strip.apply_filter(each, background)
        return [strip] * crop.height
