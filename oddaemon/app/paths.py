"""Where the daemon keeps things: the platform's places, each of which a setting overrides. Makes nothing by itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from odproto.endpoint import SOCKET_NAME, default_runtime_dir

from oddaemon.app.settings import Settings

NAME = "opendebrid"
SYSTEM_DATA_DIR = Path("/var/lib") / NAME
SYSTEM_CONFIG_DIR = Path("/etc") / NAME
CONFIG_NAME = "oddaemon.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Every place, absolute."""

    data_dir: Path
    """Store, secrets, engines' state. Mode 0700."""
    runtime_dir: Path
    socket: Path
    download_dir: Path
    database_file: Path
    """Used when `database.url` is empty."""

    def engine_state(self, name: str) -> Path:
        """A plug-in's private directory; see ports.plugin.Parts."""
        return self.data_dir / "engines" / name

    def make(self) -> None:
        """Makes the data directory, for this user only. Raises OSError."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)


def resolve_paths(settings: Settings, environ: Mapping[str, str] | None = None, uid: int | None = None) -> Paths:
    environ = os.environ if environ is None else environ
    data = Path(settings.paths.data_dir or default_data_dir(environ, uid))
    own = settings.paths.runtime_dir
    folder = Path(own) if own else _service_dir(environ, "RUNTIME_DIRECTORY") or default_runtime_dir(environ, uid)
    downloads = settings.storage.local.base_path or settings.node.download_dir
    return Paths(
        data_dir=data,
        runtime_dir=folder,
        socket=Path(settings.control.socket_path) if settings.control.socket_path else folder / SOCKET_NAME,
        download_dir=Path(downloads) if downloads else data / "downloads",
        database_file=data / f"{NAME}.db",
    )


def store_location(settings: Settings, paths: Paths) -> str | Path:
    """What the store is opened with. May hold a password."""
    return settings.database.url.get_secret_value() or paths.database_file


def default_data_dir(environ: Mapping[str, str], uid: int | None = None) -> Path:
    """Under systemd the unit's StateDirectory=, for root the system's place, else the user's data directory (XDG Base
    Directory Specification: a relative $XDG_DATA_HOME is ignored)."""
    service = _service_dir(environ, "STATE_DIRECTORY")
    if service:
        return service
    if (os.geteuid() if uid is None else uid) == 0:
        return SYSTEM_DATA_DIR
    return _user_dir(environ, "XDG_DATA_HOME", ".local/share")


def default_config_files(environ: Mapping[str, str], uid: int | None = None) -> list[Path]:
    """Where a config file is looked for when none is named; the first that exists is read, and no other."""
    service = _service_dir(environ, "CONFIGURATION_DIRECTORY")
    if service:
        return [service / CONFIG_NAME]
    if (os.geteuid() if uid is None else uid) == 0:
        return [SYSTEM_CONFIG_DIR / CONFIG_NAME]
    return [_user_dir(environ, "XDG_CONFIG_HOME", ".config") / CONFIG_NAME]


def _user_dir(environ: Mapping[str, str], variable: str, below_home: str) -> Path:
    base = Path(environ.get(variable) or ".")
    if not base.is_absolute():
        home = environ.get("HOME")
        base = (Path(home) if home and os.path.isabs(home) else Path.home()) / below_home
    return base / NAME


def _service_dir(environ: Mapping[str, str], variable: str) -> Path | None:
    """systemd.exec(5): absolute paths separated by colons; ours is the first."""
    first = environ.get(variable, "").partition(":")[0]
    return Path(first) if first.startswith("/") else None
