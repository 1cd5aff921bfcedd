"""An event as server-sent events have it. Light: the daemon's start needs it before the API's models."""

from __future__ import annotations

import json

from oddaemon.domain.events import Event
from oddaemon.wire.messages import event_message


def encoded(event: Event, user: str) -> bytes:
    """What is no row has no id: nobody can go on after it."""
    message = event_message(event, user)
    shown = {
        "seq": message.seq, "ts": event.at.isoformat().replace("+00:00", "Z"), "type": message.type,
        "job": message.job, "node": message.node or None, "user": message.user or None, "data": dict(event.data),
    }  # fmt: skip
    number = f"id: {message.seq}\n" if message.seq else ""
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"), default=str)
    return f"{number}event: {message.type}\ndata: {text}\n\n".encode(errors="replace")
