"""What the client takes from its surroundings: variables of its own and the folders it may write to. Standard library
only. The daemon's configuration is never read here: everything about it comes through the API."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = "opendebrid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The client's own variables; empty or False where one is not set. `odctl help environment` explains them."""

    host: str = ""
    context: str = ""
    output: str = ""
    pager: str = ""
    no_input: bool = False
    debug: bool = False
    token: str = field(default="", repr=False)
    token_file: str = ""

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Environment:
        environ = os.environ if environ is None else environ
        return cls(
            host=environ.get("ODCTL_HOST", ""),
            context=environ.get("ODCTL_CONTEXT", ""),
            output=environ.get("ODCTL_OUTPUT", ""),
            pager=environ.get("ODCTL_PAGER", ""),
            no_input=_is_on(environ.get("ODCTL_NO_INPUT", "")),
            debug=_is_on(environ.get("ODCTL_DEBUG", "")),
            token=environ.get("ODCTL_TOKEN", ""),
            token_file=environ.get("ODCTL_TOKEN_FILE", ""),
        )


def _is_on(value: str) -> bool:
    return value.strip().lower() not in ("", "0", "false", "no", "off")


def state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where crash files go, and the log of a daemon that odctl started."""
    return _folder(environ, "XDG_STATE_HOME", ".local/state")


def log_file(environ: Mapping[str, str] | None = None) -> Path:
    return state_dir(environ) / "oddaemon.log"


def config_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where it is kept what odctl is logged in with, and which daemons it knows by name. ODCTL_CONFIG names another."""
    own = (os.environ if environ is None else environ).get("ODCTL_CONFIG")
    if own:
        return Path(own).absolute()
    return _folder(environ, "XDG_CONFIG_HOME", ".config")


def data_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where a daemon of this user's keeps what it has, unless it is told otherwise."""
    return Path("/var/lib") / FOLDER if os.geteuid() == 0 else _folder(environ, "XDG_DATA_HOME", ".local/share")


def cache_dir(environ: Mapping[str, str] | None = None) -> Path:
    """What may be lost: the job numbers that completion remembers for a few seconds."""
    return _folder(environ, "XDG_CACHE_HOME", ".cache")


def _folder(environ: Mapping[str, str] | None, variable: str, below_home: str) -> Path:
    """XDG Base Directory Specification: a relative value is ignored."""
    environ = os.environ if environ is None else environ
    base = Path(environ.get(variable) or ".")
    if not base.is_absolute():
        base = home(environ) / below_home
    return base / FOLDER


def home(environ: Mapping[str, str] | None = None) -> Path:
    """This user's. HOME is unset in services of systemd and under `env -i`: then what the machine knows of the user."""
    found = Path((os.environ if environ is None else environ).get("HOME") or ".")
    if found.is_absolute():
        return found
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path("/nonexistent")
