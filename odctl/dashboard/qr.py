"""A QR code in half blocks: two rows of modules a line of text."""

from __future__ import annotations

from collections.abc import Sequence

QUIET = 2
"""Light modules around it; the standard wants four, phones are content with fewer, and screens are small."""


def drawn(text: str) -> list[str]:
    """Light on dark terminals: a block is a light module. Raises ValueError for a text that is too long."""
    import segno

    code = segno.make(text, error="l", micro=False)
    return halves([[not dark for dark in row] for row in code.matrix_iter(border=QUIET)])


def halves(light: Sequence[Sequence[bool]]) -> list[str]:
    lines = []
    for at in range(0, len(light), 2):
        upper = light[at]
        lower = light[at + 1] if at + 1 < len(light) else [True] * len(upper)
        lines.append("".join(" ▄▀█"[2 * up + low] for up, low in zip(upper, lower, strict=True)))
    return lines
