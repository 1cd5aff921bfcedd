"""For terminals that have nothing but ASCII: the last step of all that is drawn. Widths stay as they are."""

from __future__ import annotations

from rich.cells import get_character_cell_size
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

STAND_INS = {
    **dict.fromkeys("─━┄╌═▁▔▂", "-"), **dict.fromkeys("│┃║▏▕▎▌▐", "|"), **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼╸╺", "+"),
    **dict.fromkeys("█▓▇▆▅▄▃▀", "#"), **dict.fromkeys("░▒", "."), "–": "-", "—": "-", "…": "~", "·": "-", "×": "x",
    "▸": ">", "▶": ">", "◂": "<", "▲": "^", "▼": "v", "↑": "^", "↓": "v", "→": ">", "←": "<", "●": "*", "•": "*",
    "✓": "+", "✗": "x", "“": '"', "”": '"', "‘": "'", "’": "'",
}  # fmt: skip


def ascii_only(text: str) -> str:
    """In as many cells. What has no stand-in is a question mark."""
    if text.isascii():
        return text
    return "".join(
        char if char.isascii() else STAND_INS.get(char) or "?" * get_character_cell_size(char) for char in text
    )


class AsciiOnly(LineFilter):
    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(ascii_only(text), style, control) for text, style, control in segments]
