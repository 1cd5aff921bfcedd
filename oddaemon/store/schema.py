"""Which revision of the schema a store has, and how it gets another one."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

import oddaemon
from oddaemon.domain.errors import StoreDamaged, StoreError, StoreNewer, StoreUnavailable
from oddaemon.store.database import store_error
from oddaemon.store.tables import HEAD

VERSION_TABLE = "alembic_version"
_HEADER = b"SQLite format 3\0"
"""sqlite.org/fileformat.html section 1.3."""
_REVISION_FILE = re.compile(r"([0-9a-z]+)_\w+\.py")


def migrations_dir() -> Path:
    """The folder of revisions: in a wheel inside the package, in a checkout beside it."""
    package = Path(oddaemon.__file__).resolve().parent
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise StoreError("the database migrations are missing from this installation", hint="install it again")


def known_revisions() -> frozenset[str]:
    """The revisions that this program knows, from their files' names: importing Alembic would cost every start."""
    matches = (_REVISION_FILE.fullmatch(path.name) for path in (migrations_dir() / "versions").iterdir())
    return frozenset(match.group(1) for match in matches if match)


def read_revision(path: Path) -> str | None:
    """The revision of a SQLite store, without changing the file; None when it is empty.

    Raises StoreNewer for one that this program does not know, StoreDamaged for what is no store.
    """
    try:
        if not path.exists():
            raise StoreDamaged(f"there is no file {path}")
        if not path.is_file():
            raise StoreDamaged(f"{path} is not a file")
        with path.open("rb") as file:
            header = file.read(len(_HEADER))
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    if not header:
        return None
    if header != _HEADER:
        raise StoreDamaged(f"{path} is not a SQLite database", hint="restore a backup, or name another file")
    with translated(), looking_at(path).connect() as connection:
        return revision_of(connection, str(path))


def revision_of(connection: sa.Connection, shown: str) -> str | None:
    """The revision of the store in a database, which messages call `shown`; None when there is no store in it."""
    tables = set(sa.inspect(connection).get_table_names())
    if VERSION_TABLE not in tables:
        # other programs may live in the same PostgreSQL database, never in the same file
        if tables and connection.dialect.name == "sqlite":
            raise StoreDamaged(f"{shown} is a database of another program", hint="name another file")
        return None
    found = [str(row[0]) for row in connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}")]  # noqa: S608
    if len(found) > 1:
        raise StoreDamaged(f"{shown} says that it has several revisions: {', '.join(sorted(found))}")
    if found and found[0] not in known_revisions():
        raise StoreNewer(f"{shown} was written by a newer program (revision {found[0]}, this one knows {HEAD})")
    return found[0] if found else None


def change_schema(connection: sa.Connection, direction: str, revision: str) -> None:
    """`upgrade` or `downgrade` to a revision, as part of the connection's transaction."""
    from alembic import command  # costs 0.6 s, and only a new or an older store needs it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    (command.upgrade if direction == "upgrade" else command.downgrade)(config, revision)


def looking_at(path: Path) -> sa.Engine:
    """Connections to a SQLite file that never change it."""
    return sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True),
        poolclass=sa.NullPool,
    )


@contextmanager
def translated() -> Iterator[None]:
    """A driver's errors as ours. Whoever starts a daemon or runs a command is told why a server is not there."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        told = store_error(error)
        if isinstance(told, StoreUnavailable) and isinstance(error, sa.exc.DBAPIError):
            reason = str(error.orig).strip().partition("\n")[0]
            told = StoreUnavailable(f"{told.message.rstrip('.')}: {reason}", hint="see database.url (DATABASE_URL)")
        raise told from error
