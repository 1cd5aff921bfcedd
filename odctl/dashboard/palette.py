"""How the lists look: the theme's own colours, mixed once for each theme.

Not component classes of the stylesheet: Textual matches every rule against each of them, anew whenever the focus moves,
which took a tenth of the time to the first picture.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from textual.color import Color

# name: colour of the text, background, bold, underlined; the colours are the theme's variables, empty: that below
LOOKS: Mapping[str, tuple[str, str, bool, bool]] = {
    "active": ("success", "", False, False),
    "queued": ("text-muted", "", False, False),
    "paused": ("warning", "", False, False),
    "completed": ("primary", "", False, False),
    "failed": ("error", "", False, False),
    "cancelled": ("text-muted", "", False, False),
    "dim": ("text-muted", "", False, False),
    "name": ("text", "", False, False),
    "bar": ("success", "", False, False),
    "rest": ("panel", "", False, False),
    "mark": ("accent", "", True, False),
    "note": ("warning", "", False, False),
    "match": ("accent", "", False, True),
    "cursor": ("", "surface-lighten-2", True, False),
    "cursor-blurred": ("", "panel", False, False),
    "header": ("text-muted", "", True, False),
    "sorted": ("accent", "", True, False),
}


def style_of(name: str, variables: Mapping[str, str], below: Color) -> Style:
    """`variables` are the theme's, `below` is the colour that it is drawn on. Raises KeyError for another name."""
    text, background, bold, underline = LOOKS[name]
    style = Style(bold=bold or None, underline=underline or None)
    if background:
        drawn = Color.parse(variables[background])
        if drawn.a:
            style += Style.from_color(None, (below + drawn).rich_color)
    if text:
        # as the stylesheet has it: a colour, or the one that can be read there, and how much of it
        given, _, percent = variables[text].partition(" ")
        share = float(percent.removesuffix("%") or 100) / 100
        colour = below.get_contrast_text() if given == "auto" else Color.parse(given)
        if colour.ansi is not None:
            style += Style(color=colour.rich_color, dim=share < 1 or None)
        elif colour.a:
            style += Style.from_color((below + colour.with_alpha(share)).rich_color)
    return style
