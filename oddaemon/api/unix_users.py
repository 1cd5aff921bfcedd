"""Users of the daemon's machine: names ↔ uids. Looked up in threads: they may come over a network."""

from __future__ import annotations

import asyncio
import pwd
from collections.abc import Collection, Mapping

from oddaemon.domain.errors import InvalidArgument

MAX_UID = 2**32 - 2
"""The one above it means "no change" to the kernel: chown(2)."""


async def uid_of(text: str) -> int:
    """Of a name, or of a uid in digits, which need not have a name here. Raises InvalidArgument."""
    if text.isascii() and text.isdigit():
        if len(text) > 10 or int(text) > MAX_UID:
            raise InvalidArgument(f"{text[:20]} is no uid", field="unix_user")
        return int(text)
    try:
        return (await asyncio.to_thread(pwd.getpwnam, text)).pw_uid
    except (KeyError, ValueError) as error:
        raise InvalidArgument(
            f"there is no user {text[:64]!r} on the daemon's machine", field="unix_user", hint="give a name or a uid"
        ) from error


async def names_of(uids: Collection[int]) -> Mapping[int, str]:
    """The uid in digits for one without a name."""
    return await asyncio.to_thread(lambda: {uid: _name(uid) for uid in uids}) if uids else {}


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
