"""Where a daemon's control socket is: the default places, and the grammar of an address. Standard library only.

Used by the daemon (to bind) and by odctl (to connect), so that both find the same file without any setting.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

SOCKET_NAME = "control.sock"
FOLDER = "opendebrid"
SYSTEM_RUNTIME_DIR = Path("/run") / FOLDER
MAX_SOCKET_PATH = 100
"""Bytes. `sun_path` holds 108 on Linux and 104 elsewhere, its ending NUL included (unix(7)); the error that the kernel
gives for a longer one names neither path nor limit."""


class BadEndpoint(ValueError):
    """Not an address of a daemon, or one that cannot be used. The message is one sentence."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address: `unix:///absolute/path`, or the absolute path alone."""

    path: Path

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Raises BadEndpoint, saying what is wrong."""
        if any(ord(character) < 32 or ord(character) == 127 for character in text):
            raise BadEndpoint("an address holds no control characters")
        if text.startswith("/"):
            return cls(checked(Path(text)))
        scheme, separator, _ = text.partition("://")
        if not separator:
            raise BadEndpoint(f"{text!r} is not an address: give unix:///path/to/{SOCKET_NAME}")
        if scheme.lower() != "unix":
            raise BadEndpoint(f"addresses of the form {scheme}:// are not supported: give unix:///path")
        parts = urlsplit(text)
        if parts.netloc:
            raise BadEndpoint(f"the path of {text!r} is not absolute: write three slashes, unix:///{parts.netloc}…")
        if parts.query or parts.fragment or not parts.path.startswith("/"):
            raise BadEndpoint(f"{text!r} is not of the form unix:///path")
        return cls(checked(Path(unquote(parts.path))))

    def __str__(self) -> str:
        return f"unix://{self.path}"


def checked(path: Path) -> Path:
    """`path`, if a socket can be bound there. Raises BadEndpoint."""
    if not path.is_absolute():
        raise BadEndpoint(f"the path of a socket has to be absolute: {path}")
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH:
        raise BadEndpoint(f"the path of a socket may have {MAX_SOCKET_PATH} bytes, this one has {length}: {path}")
    return path


def default_runtime_dir(
    environ: Mapping[str, str] | None = None, uid: int | None = None, *, login_dirs: Path = Path("/run/user")
) -> Path:
    """The folder of the socket of a daemon that this user starts: the system's for root, else below
    $XDG_RUNTIME_DIR. That variable is unset under su, cron and some ssh set-ups: then /run/user/<uid> if it is ours,
    then a folder in /tmp that only we may use (`private_dir` makes and checks it)."""
    environ = os.environ if environ is None else environ
    uid = os.getuid() if uid is None else uid
    if uid == 0:
        return SYSTEM_RUNTIME_DIR
    candidates = [Path(environ.get("XDG_RUNTIME_DIR") or "."), login_dirs / str(uid)]
    for base in candidates:
        if base.is_absolute() and _is_own_folder(base, uid):
            folder = base / FOLDER
            if len(os.fsencode(folder / SOCKET_NAME)) <= MAX_SOCKET_PATH:
                return folder
    return fallback_dir(uid)


def fallback_dir(uid: int) -> Path:
    return Path("/tmp") / f"{FOLDER}-{uid}"  # noqa: S108 - checked by `private_dir` before it is used


def default_socket_paths(environ: Mapping[str, str] | None = None, uid: int | None = None) -> list[Path]:
    """Where to look for a daemon, in this order: the user's own, then the system's."""
    own = default_runtime_dir(environ, uid) / SOCKET_NAME
    system = SYSTEM_RUNTIME_DIR / SOCKET_NAME
    return [own] if own == system else [own, system]


def private_dir(path: Path) -> Path:
    """Makes `path` with mode 0700 unless it exists, and returns it. Raises BadEndpoint unless it is then a real
    folder of this user's that nobody else may write to: in /tmp anybody could have made it before us."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise BadEndpoint(f"{path} is not a folder") from error
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise BadEndpoint(f"{path} is a link or not a folder: remove it")
    if found.st_uid != os.getuid():
        raise BadEndpoint(f"{path} belongs to uid {found.st_uid}, not to us (uid {os.getuid()})")
    if found.st_mode & 0o022:
        raise BadEndpoint(f"others may write to {path}: run chmod go-w {path}")
    return path


def _is_own_folder(path: Path, uid: int) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid
