"""The lists' colours, in every theme that can be chosen."""

from __future__ import annotations

import pytest
from textual.app import App
from textual.color import Color

from odctl.dashboard.palette import LOOKS, style_of

DARK, LIGHT = Color.parse("#121212"), Color.parse("#f0f0f0")


@pytest.mark.parametrize("theme", sorted(App[None]().available_themes))
def test_every_theme_has_every_look(theme: str) -> None:
    app = App[None]()
    app.theme = theme
    for name, (text, background, _, _) in LOOKS.items():
        style = style_of(name, app.theme_variables, DARK)
        assert (style.color is not None) == bool(text), name
        assert style.bgcolor is None or background, name


def test_what_is_dim_can_be_told_from_what_is_not_on_dark_and_on_light() -> None:
    variables = App[None]().theme_variables
    for below in (DARK, LIGHT):
        assert style_of("dim", variables, below).color != style_of("name", variables, below).color


def test_a_look_that_there_is_not_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        style_of("sparkling", App[None]().theme_variables, DARK)
