"""What one run is told by its global options."""

from __future__ import annotations

import pytest

from odctl.cli.context import build
from odctl.client.errors import UsageError


def test_a_refused_question_names_its_flag_once() -> None:
    with pytest.raises(UsageError) as told:
        build(no_input=True).confirm("remove 3 jobs")
    assert told.value.exit_code == 2
    assert told.value.message.startswith("remove 3 jobs: ")
    assert told.value.hint == "add -y (--yes) to go on without a question"


def test_yes_asks_nothing() -> None:
    build(no_input=True, yes=True).confirm("remove 3 jobs")
