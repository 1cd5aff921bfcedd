"""What a crash file does not say."""

from __future__ import annotations

import pytest

from odctl.crash import masked


@pytest.mark.parametrize(("secret", "text"), [
    ("s3cr3t", "ftp://maya:s3cr3t@h/x"),
    ("s3cr3t", "https://maya:s3cr3t@x@h/x"),
    ("pa/ss", "https://maya:pa/ss@h/x"),
    ("hunter two", "https://maya:hunter two@h/"),
    ("hunter2", "password=hunter2"),
    ("hunter2", "--password hunter2"),
    ("AQASg_hCkj2z", "http://h/d/AQASg_hCkj2z/plain.mp4"),
    ("abcdef0123456789abcdef0123456789", "http://tracker/abcdef0123456789abcdef0123456789/announce"),
    ("tok_SECRET", "http://127.0.0.1:1/enter?token=tok_SECRET"),
    ("SECRET", "Cookie: odctl-web-1=SECRET"),
    ("k3y", "header=Authorization: Basic k3y=="),
    ("k3y", "Authorization: Bearer k3y"),
    ("PASSKEY", "magnet:?xt=urn:btih:aa&tr=http%3A%2F%2Ft%2FPASSKEY"),
])  # fmt: skip
def test_nothing_that_lets_somebody_in(secret: str, text: str) -> None:
    assert secret not in masked(f"before {text} after")


def test_where_it_came_from_is_said() -> None:
    line = '  File "/usr/lib/python3.11/asyncio/runners.py", line 190, in run'
    assert masked(line) == line
