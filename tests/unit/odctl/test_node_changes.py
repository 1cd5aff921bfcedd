"""`nodes set`: what is written on the line, as what the daemon is asked for."""

from __future__ import annotations

import pytest

from odctl.cli.commands.node_changes import _changes
from odctl.client.errors import UsageError


def test_labels_and_limits() -> None:
    found = _changes(["label.room=the=attic", "label.old=", "running=0", "reserve=2G", "weight=0.5"])
    assert found == {
        "set_labels": {"room": "the=attic"}, "unset_labels": ["old"], "unset_limits": [], "running": 0,
        "min_disk_free": 2 * 2**30, "weight": 0.5,
    }  # fmt: skip
    assert _changes(["running=", "reserve=", "weight="])["unset_limits"] == ["running", "min_disk_free", "weight"]


@pytest.mark.parametrize(
    "word",
    ["room", "room=attic", "label.=x", "running=-1", "running=many", "running=1.5", "weight=0", "reserve=5 elephants"],
)
def test_what_is_no_change_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        _changes([word])
