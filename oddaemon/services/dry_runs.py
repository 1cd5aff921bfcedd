"""Work that may only say what would come of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from oddaemon.ports.store import Store, Transaction

T = TypeVar("T")


class _Undone(Exception):
    """Undoes the unit of work after the answer is known."""


async def write(store: Store, work: Callable[[Transaction], T], *, dry_run: bool) -> T:
    """What the work answers; with `dry_run` nothing of it is stored."""
    answers: list[T] = []

    def undone(tx: Transaction) -> T:
        answers[:] = [work(tx)]
        raise _Undone

    if not dry_run:
        return await store.write(work)
    try:
        return await store.write(undone)
    except _Undone:
        return answers[0]
