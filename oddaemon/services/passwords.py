"""Passwords: which are good enough, and bcrypt, which is slow on purpose, in threads of its own.

bcrypt reads 72 bytes. A longer password is refused, not cut: two that differ behind them would be one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import bcrypt

from oddaemon.domain.errors import InvalidArgument, LoginThrottled

T = TypeVar("T")

COST = 12
MIN_CHARACTERS = 8
MAX_BYTES = 72
THREADS = 2
MAX_WAITING = 32
"""Of passwords at once. Each takes a quarter of a second of a processor."""


class Passwords:
    def __init__(self, *, cost: int = COST) -> None:
        """`cost`: the base-2 logarithm of bcrypt's rounds."""
        self._cost = cost
        # a salt like any other, for passwords that are compared with nothing
        self._nobody = bcrypt.gensalt(cost)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="password")
        self._waiting = 0

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str, username: str) -> str:
        """Raises InvalidArgument for a password that is too short, too long, or the user's name."""
        encoded = checked(password, username)
        return (await self._beside(bcrypt.hashpw, encoded, bcrypt.gensalt(self._cost))).decode("ascii")

    async def matches(self, password: str, hashed: str | None) -> bool:
        """Takes as long whether there is a hash to compare with or not."""
        encoded = password.encode("utf-8", "surrogatepass")
        if hashed is None or len(encoded) > MAX_BYTES:
            await self._beside(bcrypt.hashpw, encoded[:MAX_BYTES], self._nobody)
            return False
        return await self._beside(bcrypt.checkpw, encoded, hashed.encode("ascii"))

    async def _beside(self, work: Callable[[bytes, bytes], T], password: bytes, salt: bytes) -> T:
        if self._waiting >= MAX_WAITING:
            raise LoginThrottled("too many passwords are being checked at the moment", retry_after=2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, password, salt)
        finally:
            self._waiting -= 1


def checked(password: str, username: str) -> bytes:
    """As bytes. Raises InvalidArgument."""
    try:
        encoded = password.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidArgument("the password is not valid text", field="password") from error
    if len(password) < MIN_CHARACTERS:
        raise InvalidArgument(f"a password has at least {MIN_CHARACTERS} characters", field="password")
    if len(encoded) > MAX_BYTES:
        raise InvalidArgument(
            f"a password has at most {MAX_BYTES} bytes, this one has {len(encoded)}", field="password",
            hint="letters with accents take two bytes, others up to four",
        )  # fmt: skip
    if password.lower() == username.lower():
        raise InvalidArgument("the password is the user's name", field="password")
    return encoded
