"""One scripted download: how far it is at a moment, and its files. Figures are computed when asked for, from a time
that is handed in; nothing runs in between."""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from pathlib import Path

from oddaemon.domain.failure import Failure, FailureCode
from oddaemon.domain.types import Bytes, BytesPerSecond, Seconds
from oddaemon.engines.simulated.script import HEADER, Script, header
from oddaemon.ports.engine import FillFile, FillRequest, FillState, FillStatus

_NO_FOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC


class Fill:
    """Not safe for threads: `write` and `scan` are the only methods that may run in one, one at a time."""

    def __init__(self, request: FillRequest, script: Script, name: str, now: float, *, troubled: bool) -> None:
        self.request = request
        self.script = script
        self.name = name
        self.troubled = troubled
        """Whether this attempt does what the script's options of failure say."""
        self.sizes = script.sizes
        self.failure: Failure | None = None
        self.failed_files: dict[int, str] = {}
        self._have = [0] * len(self.sizes)
        """Bytes of each file at `_since`."""
        self._written = [0] * len(self.sizes)
        """Bytes of each file on disk."""
        self._rate = script.rate
        self._limit = request.max_rate_down
        self._since = now + script.delay_metadata
        self._paused = False
        self._selects = 0
        self._complete = False
        self._wanted = self._indices(request.selection)

    # ── what is asked ────────────────────────────────────────────────────────────────────────────────────────

    def status(self, now: float) -> FillStatus:
        known = now >= self._since or self._paused
        have = self._now_have(now)
        done, total = self._sum(have), self._total
        state = self._state(done, known)
        rate = self._speed if state is FillState.ACTIVE and known and not self._blocked(done) else 0.0
        sized = known and (not self.script.no_length or state is FillState.COMPLETE)
        return FillStatus(
            replica_id=self.request.replica_id,
            state=state,
            engine_state=None if state is not FillState.ACTIVE else "downloading" if known else "metadata",
            name=self.name if known else None,
            total=Bytes(total) if sized else None,
            done=Bytes(done),
            rate_down=BytesPerSecond(int(rate)),
            eta=Seconds((total - done) / rate) if rate and sized else None,
            seeders=0 if self.script.stall else self.script.seeders,
            peers=None,
            files_rev=1 + self._selects + self._finished(have) if known else 0,
            failure=self.failure,
            private=self.script.private and known,
        )

    def files(self, now: float) -> list[FillFile]:
        if now < self._since and not self._paused:
            return []
        have = self._now_have(now)
        sized = not self.script.no_length or self._complete
        return [
            FillFile(
                index=index,
                path=self.name if len(self.sizes) == 1 else f"{self.name}/{index:04}.bin",
                disk_path=self.disk_path(index),
                size=Bytes(size) if sized else None,
                done=Bytes(have[index - 1]),
                finished=have[index - 1] == size and (size > 0 or self._complete) and not self.failure,
                selected=index - 1 in self._wanted,
            )
            for index, size in enumerate(self.sizes, 1)
        ]

    def happens(self, now: float) -> bool:
        """Whether the moment is reached at which the script wants it to fail, crash or hang."""
        return (
            self.troubled
            and not self._complete
            and self.failure is None
            and now >= self._since
            and self._sum(self._now_have(now)) >= self.script.barrier(self._total)
        )

    def arrived(self, now: float) -> bool:
        """Whether every wanted byte has come and completion has not been written down."""
        return (
            not self._complete
            and self.failure is None
            and not self._paused
            and now >= self._since
            and not self.troubled
            and self._sum(self._now_have(now)) == self._total
        )

    def worth_writing(self, now: float) -> bool:
        """Whether a sixteenth more has come than is on disk: a crash then costs no more than that."""
        if self._paused or self._complete or self.failure is not None:
            return False
        missing = self._sum(self._now_have(now)) - self._sum(self._written)
        return missing * 16 >= max(self._total, 1)

    # ── what is changed ──────────────────────────────────────────────────────────────────────────────────────

    def fail(self, now: float) -> None:
        self._stand_still(now)
        code = self.script.fail_code or FailureCode.ENGINE
        self.failure = Failure(
            code=code,
            message=f"the script says so: {code}",
            retry=self.script.fail_retry,
            retry_after=None if self.script.retry_after is None else Seconds(self.script.retry_after),
        )

    def complete(self) -> None:
        self._have = [size if i in self._wanted else self._have[i] for i, size in enumerate(self.sizes)]
        self._complete = True

    def pause(self, now: float) -> None:
        if not self._paused and not self._complete and self.failure is None:
            self._stand_still(now)
            self._paused = True

    def resume(self, now: float) -> None:
        if self._paused:
            self._paused, self._since = False, now

    def limit(self, down: BytesPerSecond | None, now: float) -> None:
        self._stand_still(now)
        self._limit = down

    def select(self, selection: Set[int] | None, now: float) -> None:
        wanted = self._indices(selection)
        if wanted != self._wanted:
            self._stand_still(now)
            self._wanted, self._complete = wanted, False
            self._selects += 1

    # ── the disk (in a thread) ───────────────────────────────────────────────────────────────────────────────

    def disk_path(self, index: int) -> str:
        return f"{index:04}.bin"

    def scan(self) -> None:
        """Takes over what an earlier attempt left, file by file, unless it is of another version."""
        for i, size in enumerate(self.sizes):
            path = self._path(i)
            try:
                descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW)
            except OSError:
                continue
            try:
                expected = header(self.request.source.uri, self.script.version, i + 1)
                found = os.fstat(descriptor).st_size
                if os.read(descriptor, HEADER) == expected[: min(found, size)]:
                    self._have[i] = self._written[i] = min(found, size)
            finally:
                os.close(descriptor)

    def write(self, have: list[int]) -> None:
        """Brings the files on disk to these lengths."""
        for i, length in enumerate(have):
            if length != self._written[i] or (self._complete and i in self._wanted):
                self._write_file(i, length)
                self._written[i] = length

    def lengths(self, now: float) -> list[int]:
        """What `write` has to be given."""
        return self._now_have(now)

    def _write_file(self, i: int, length: int) -> None:
        if self._complete and i == max(self._wanted):
            length = max(0, length - self.script.short) + self.script.long
        descriptor = os.open(self._path(i), os.O_WRONLY | os.O_CREAT | _NO_FOLLOW, 0o600)
        try:
            os.pwrite(descriptor, header(self.request.source.uri, self.script.version, i + 1)[:length], 0)
            os.ftruncate(descriptor, length)
        finally:
            os.close(descriptor)

    def _path(self, i: int) -> Path:
        return self.request.directory / self.disk_path(i + 1)

    # ── arithmetic ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _total(self) -> int:
        return sum(self.sizes[i] for i in self._wanted)

    @property
    def _speed(self) -> float:
        """Bytes per second; 0: everything at once."""
        rates = [rate for rate in (self._rate, self._limit) if rate]
        return float(min(rates)) if rates else 0.0

    def _indices(self, selection: Set[int] | None) -> frozenset[int]:
        everything = frozenset(range(len(self.sizes)))
        return everything if selection is None else everything & {index - 1 for index in selection}

    def _sum(self, have: list[int]) -> int:
        return sum(have[i] for i in self._wanted)

    def _blocked(self, done: int) -> bool:
        return self.troubled and done >= self.script.barrier(self._total)

    def _state(self, done: int, known: bool) -> FillState:
        if self.failure is not None:
            return FillState.FAILED
        if self._complete:
            return FillState.COMPLETE
        return FillState.PAUSED if self._paused else FillState.ACTIVE

    def _finished(self, have: list[int]) -> int:
        return sum(length == size for length, size in zip(have, self.sizes, strict=True)) + self._complete

    def _now_have(self, now: float) -> list[int]:
        """Bytes of each file now: the wanted ones fill in index order."""
        if self._paused or self._complete or self.failure is not None or now < self._since:
            return self._have
        ceiling = self._total if not self.troubled else self.script.barrier(self._total)
        room = max(0, ceiling - self._sum(self._have))
        more = min(room, int((now - self._since) * self._speed)) if self._speed else room
        return self._poured(more) if more else self._have

    def _poured(self, more: int) -> list[int]:
        have = list(self._have)
        for i, missing in self._missing():
            taken = min(more, missing)
            have[i] += taken
            more -= taken
            if not more:
                break
        return have

    def _missing(self) -> Iterator[tuple[int, int]]:
        return ((i, self.sizes[i] - self._have[i]) for i in sorted(self._wanted) if self.sizes[i] > self._have[i])

    def _stand_still(self, now: float) -> None:
        self._have = list(self._now_have(now))
        self._since = max(self._since, now)
