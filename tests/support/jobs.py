"""Jobs as the daemon's client has them, and a client that never gets to a daemon."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from odctl.client.models import Job

WHERE = "unix:///run/opendebrid/control.sock"
NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


class Never:
    """A client that is still connecting."""

    endpoint, source = WHERE, "auto"

    async def __aenter__(self) -> Never:
        await asyncio.Event().wait()
        raise AssertionError

    async def __aexit__(self, *exc: object) -> None:
        pass


def job(number: int, name: str, state: str, **given: Any) -> Job:
    known: dict[str, Any] = dict.fromkeys(Job.__struct_fields__)
    known |= {
        "id": number, "uuid": f"0198c0de-0000-7000-8000-{number:012d}", "name": name, "kind": "url", "hold": "none",
        "source": f"https://origin.test/{number}", "state": state, "engine": "aria2", "node": "nas", "user": "maya",
        "progress": 0.0, "size": 13_500_000_000, "done": 0, "rate_down": 0, "rate_up": 0, "files_total": 1,
        "files_selected": 1, "priority": 0, "tags": (), "created_at": NOW, "rev": 1, "cache_hit": False,
    }  # fmt: skip
    return Job(**(known | given))
