"""What the daemon and its file processes say to each other over a socket pair: JSON objects, each after its
length.

daemon → process   {"op": "config", …} first; "revoke", "keys" and "serve" (acknowledged), "day", "forget", "stop";
                   "content", "use" and "open" (answers)
process → daemon   "ready", "ack", "content", "use" and "open" (questions), "usage", "gone" (a recorded file was not
                   found)

Descriptors that "open" asked for come over a second pair, each with the number of its question.

The other end is a part of the same program: what does not parse is a defect and ends the process.
"""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

from oddaemon.domain.day_left import DayLeft
from oddaemon.domain.link import LinkContent, LinkFile
from oddaemon.domain.types import Bytes

MAX_FRAME_BYTES = 64 * 1024 * 1024
_LENGTH = struct.Struct("!I")


class PipeLost(Exception):
    """The other end is gone."""


async def receive(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next message. Raises PipeLost."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MAX_FRAME_BYTES:
            raise PipeLost
        message = json.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, OSError) as error:
        raise PipeLost from error
    if not isinstance(message, dict):
        raise PipeLost
    return message


def send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    """Queues a message. A lost pipe is noticed by the reader."""
    data = json.dumps(message, separators=(",", ":")).encode()
    writer.write(_LENGTH.pack(len(data)) + data)


def content_to_json(content: LinkContent) -> dict[str, Any]:
    return {
        "name": content.name,
        "files": [
            [file.path, file.disk_path, file.size, file.content_type, file.modified_ns] for file in content.files
        ],
        "text": content.text,
        "elsewhere": content.is_elsewhere,
    }


def day_to_json(day: DayLeft) -> dict[str, Any]:
    return {
        "until": day.until.timestamp(), "others": day.others,
        "users": {user.hex: one and [one.left, one.day] for user, one in day.users.items()},
    }  # fmt: skip


def content_from_json(value: dict[str, Any]) -> LinkContent:
    return LinkContent(
        name=value["name"],
        files=tuple(
            LinkFile(path=path, disk_path=disk_path, size=Bytes(size), content_type=content_type, modified_ns=modified)
            for path, disk_path, size, content_type, modified in value["files"]
        ),
        text=value["text"],
        is_elsewhere=value["elsewhere"],
    )
