"""Where the stores of a test are: in files, or, for a suite that holds for both databases, on a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.postgres import Databases


@dataclass(slots=True)
class Places:
    """An installation's folder has one database for the length of a test, however often it is started."""

    databases: Databases
    _urls: dict[Path, str] = field(default_factory=dict)

    def url(self, folder: Path) -> str:
        if folder not in self._urls:
            make: Callable[[], str] = self.databases.create if self._urls else self.databases.store
            self._urls[folder] = make()
        return self._urls[folder]

    def close(self) -> None:
        for url in list(self._urls.values())[1:]:
            self.databases.drop(url)


_on_server: list[Places] = []


def use(places: Places | None) -> None:
    """From now on; None: files."""
    _on_server[:] = [] if places is None else [places]


def database_url(folder: Path) -> str:
    """Of the installation in this folder; empty: a file in it."""
    return _on_server[0].url(folder) if _on_server else ""
