"""`link --qr`: the code goes to stderr, and stdout stays the link's."""

from __future__ import annotations

import io

from odctl.cli.commands.links import _qr
from odctl.cli.context import Invocation
from odctl.cli.output import Output
from odctl.client.models import Link


def test_the_code_is_drawn_on_stderr() -> None:
    out, err = io.StringIO(), io.StringIO()
    link = Link(
        job=1, index=1, path="a", url="https://h/d/token/a", expires_at=None, size=1, content_type=None, node="nas",
        id="x", kind="file",
    )  # fmt: skip
    _qr(Invocation(output=Output(out=out, err=err)), [link])
    assert out.getvalue() == ""
    assert len(err.getvalue().splitlines()) > 10
