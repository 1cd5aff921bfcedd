"""What everybody on this machine may look into, and should not: by the modes of files and folders alone."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from oddaemon.app.loaded import Loaded


def open_to_all(path: Path) -> bool:
    """Whether any user may read this file, or enter this folder. Not when a folder above is closed."""
    try:
        found = path.resolve(strict=True)
        mode = found.stat().st_mode
        wanted = stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
        return bool(mode & wanted) and all(folder.stat().st_mode & stat.S_IXOTH for folder in found.parents)
    except OSError:
        return False


def secrets_in_view(loaded: Loaded) -> Mapping[str, Path]:
    """Settings whose secret stands in a config file that is open to all, each with that file. A database's URL is one
    only with a password in it."""
    path = loaded.config_file
    if path is None or not open_to_all(path):
        return {}
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return {}
    secret = {key: _secret(key, loaded.value(key)) for key, known in loaded.keys.items() if known.secret}
    return {key: path for key, value in secret.items() if value and value in text}


def _secret(key: str, value: object) -> str:
    written = value.get_secret_value() if isinstance(value, SecretStr) else ""
    return urlsplit(written).password or "" if key == "database.url" else written
