"""Which daemon to talk to, and what to say when nobody answers there. Standard library only."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from odproto.endpoint import SYSTEM_RUNTIME_DIR, BadEndpoint, Endpoint, default_socket_paths

from odctl.client import contexts
from odctl.client.errors import NOT_ALLOWED, Unreachable, UsageError
from odctl.config import Environment, log_file

CONNECT_SECONDS = 5.0
BOOTED_WITH_SYSTEMD = Path("/run/systemd/system")
"""There when systemd manages this machine: sd_booted(3)."""
LATER = ("ssh", "tls", "tcp", "http", "https")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Sockets to try in this order, and where the choice comes from: `flag`, `env`, `file` or `auto`."""

    paths: tuple[Path, ...]
    source: str
    context: str = ""
    """Its name in contexts.toml; empty for an address that was given by itself."""

    @property
    def configured(self) -> bool:
        return self.source != "auto"

    @property
    def why(self) -> str:
        """What named it, as people know it; empty where nothing did."""
        if self.source == "file":
            return f"current in {contexts.FILE}"
        named = {"flag": ("--host", "--context"), "env": ("ODCTL_HOST", "ODCTL_CONTEXT")}
        return named[self.source][bool(self.context)] if self.source in named else ""


def choose(
    host: str | None, environ: Mapping[str, str] | None = None, *, context: str | None = None
) -> Choice:
    """`host` is -H's value, `context` -c's. A flag wins over a variable, a variable over the file of contexts; two of
    one level that disagree are an error: none wins unseen. Raises OdctlError also for an address that cannot be
    used."""
    environ = os.environ if environ is None else environ
    own = Environment.read(environ)
    if host is not None and context is not None:
        raise UsageError("--context and --host exclude each other", hint="give one of them")
    if host is not None:
        return Choice(paths=(checked_address(host, "--host"),), source="flag")
    if context is not None:
        return _of_context(context, "flag", environ)
    if own.context:
        found = _of_context(own.context, "env", environ)
        if own.host and (checked_address(own.host, "ODCTL_HOST"),) != found.paths:
            raise UsageError(
                f"ODCTL_HOST and ODCTL_CONTEXT are both set and disagree ({own.host} vs {own.context})",
                hint="unset one of them",
            )
        return found
    if own.host:
        return Choice(paths=(checked_address(own.host, "ODCTL_HOST"),), source="env")
    return _of_context(contexts.load(environ).current or contexts.AUTO, "file", environ)


def _of_context(name: str, source: str, environ: Mapping[str, str]) -> Choice:
    if name == contexts.AUTO:
        return Choice(paths=tuple(default_socket_paths(environ)), source="auto")
    endpoint = contexts.load(environ).endpoint(name)
    return Choice(paths=(checked_address(endpoint, f"context {name}"),), source=source, context=name)


def checked_address(text: str, where: str) -> Path:
    """The socket that an address names. `where` it stands is said in the UsageError for one that cannot be used."""
    scheme = text.partition("://")[0].lower()
    if text.startswith("cmd:"):
        raise UsageError(f"{where}: this version reaches a daemon only through a Unix socket, not through a command")
    if "://" in text and scheme in LATER:
        raise UsageError(
            f"{where}: this version reaches a daemon only through a Unix socket, not over {scheme}://",
            hint="give unix:///path/to/control.sock",
        )
    try:
        return Endpoint.parse(text).path
    except BadEndpoint as error:
        raise UsageError(f"{where}: {error}", hint="give unix:///path/to/control.sock") from error


def find_socket(choice: Choice) -> Path:
    """The first socket where somebody listens. Raises Unreachable, with the most telling of the reasons."""
    failures: list[tuple[Path, OSError]] = []
    for path in choice.paths:
        try:
            probe(path)
        except OSError as error:
            failures.append((path, error))
        else:
            return path
    for path, failure in failures:
        if failure.errno in (errno.EACCES, errno.EPERM):
            raise denied(path)
    for path, failure in failures:
        if failure.errno == errno.ECONNREFUSED:
            raise stale(path)
    for path, failure in failures:
        if failure.errno not in (errno.ENOENT, errno.ENOTDIR):
            why = failure.strerror or str(failure)
            raise Unreachable(f"cannot use {path}: {why}", hint="look for the cause: odctl doctor")
    raise absent(choice)


def probe(path: Path) -> None:
    """Connects and hangs up. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(CONNECT_SECONDS)
        sock.connect(str(path))


def absent(choice: Choice) -> Unreachable:
    where = " or ".join(str(path) for path in choice.paths)
    named = f" (from {choice.why})" if choice.why else ""
    return Unreachable(
        "the OpenDebrid daemon is not running on this machine",
        why=f"no socket at {where}{named}",
        hint="start it: odctl daemon start      use another server: odctl -H unix:///path/to/control.sock",
        absent=True,
    )


def stale(path: Path) -> Unreachable:
    if path.parent == SYSTEM_RUNTIME_DIR and BOOTED_WITH_SYSTEMD.is_dir():
        hint = "look: journalctl -u oddaemon -n 50      start: sudo systemctl restart oddaemon"
    else:
        log = log_file()
        # a daemon that ran in a terminal has told it there
        look = f"look: tail {log}      " if log.exists() else ""
        hint = f"{look}start: odctl daemon start"
    return Unreachable(f"{path} exists but nobody is listening (daemon crashed?)", hint=hint, absent=True)


def denied(path: Path) -> Unreachable:
    """Why this user may not use the socket: not in its group, in the group but not in this session, or otherwise."""
    me = user_name()
    try:
        found = path.stat()
    except OSError:
        return Unreachable(
            f"not allowed to use {path} (you are {me}, uid {os.getuid()})",
            why="one of the folders above it is closed to you",
            hint="use your own daemon: odctl daemon start",
            exit_code=NOT_ALLOWED,
        )
    group = _group_name(found.st_gid)
    if not found.st_mode & stat.S_IWGRP:
        return Unreachable(
            f"not allowed to use {path} (you are {me}, uid {os.getuid()})",
            why="the socket is for its owner only",
            hint="ask who runs it to let you in: control.socket_group      use your own daemon: odctl daemon start",
            exit_code=NOT_ALLOWED,
        )
    if found.st_gid in _groups_on_file(me) and found.st_gid not in {*os.getgroups(), os.getegid()}:
        return Unreachable(
            f"not allowed to use {path}",
            why=f'you ARE in group "{group}", but this login session started before you were added',
            hint=f"fix: run 'newgrp {group}', or log out and in again",
            exit_code=NOT_ALLOWED,
        )
    return Unreachable(
        f"not allowed to use {path} (you are {me}, uid {os.getuid()})",
        why=f'the socket belongs to group "{group}" and you are not a member',
        hint=f"fix: sudo usermod -aG {group} {me}",
        exit_code=NOT_ALLOWED,
    )


def groups_to_come() -> list[str]:
    """Groups that this user is a member of, and that this login session is too old to have."""
    return sorted(map(_group_name, _groups_on_file(user_name()) - {*os.getgroups(), os.getegid()}))


def _groups_on_file(user: str) -> set[int]:
    try:
        return set(os.getgrouplist(user, os.getgid()))
    except OSError:
        return set()


def user_name() -> str:
    """What this user is called on this machine; the uid where it has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
