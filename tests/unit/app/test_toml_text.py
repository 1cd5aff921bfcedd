from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.app.toml_text import BadVariable, interpolate, key_lines

ENVIRON = {"NAME": "value", "EMPTY": "", "TRICKY": "${NAME}\n[limits]\nretries = 1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${NAME}", "value"),
        ("a${NAME}b${NAME}", "avaluebvalue"),
        ("${MISSING:-default}", "default"),
        ("${MISSING:-}", ""),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY}", ""),
        ("$$", "$"),
        ("$${NAME}", "${NAME}"),
        ("$NAME costs $5", "$NAME costs $5"),
        ("${TRICKY}", ENVIRON["TRICKY"]),
    ],
)
def test_variables_in_strings(text: str, expected: str) -> None:
    assert interpolate(text, ENVIRON) == expected


@pytest.mark.parametrize("text", ["${MISSING}", "${", "${}", "${1A}", "${NAME", "${NA ME}"])
def test_what_cannot_be_filled_in_is_an_error(text: str) -> None:
    with pytest.raises(BadVariable):
        interpolate(text, ENVIRON)


@given(st.text(alphabet=st.characters(exclude_characters="$")))
def test_text_without_dollars_stays(text: str) -> None:
    assert interpolate(text, {}) == text


def test_lines_of_keys() -> None:
    text = """
# comment
[server]
port = 1        # c
"host" = "x"
[engines.aria2]  # c
max_concurrent=3
limits.retries = 4
"""
    lines = key_lines(text)
    assert lines["server"] == 3
    assert lines["server.port"] == 4
    assert lines["server.host"] == 5
    assert lines["engines.aria2.max_concurrent"] == 7
    assert lines["engines.aria2.limits.retries"] == 8
