"""What odctl is logged in with: a file of this user's alone, by the daemon's address. Standard library only."""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from odctl.client.errors import NOT_ALLOWED, OdctlError, UsageError
from odctl.config import Environment, config_dir

FILE = "credentials.toml"
STORED = "odctl login"
"""The source of a credential from the file."""
NEAR_END_SECONDS = 300.0
"""An access token that lives no longer is refreshed before it is used; of a short-lived one a quarter of its life."""
LONGEST_SECONDS = 1e9
API_KEY = "odk_"
INVITATION = "odi_"
_SECRET = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An access token or an API key, and for the former what the next one is had with."""

    secret: str = field(repr=False)
    source: str = STORED
    """Where it comes from: the name of a variable, or STORED."""
    user: str = ""
    refresh_token: str = field(default="", repr=False)
    refresh_at: datetime | None = None

    @classmethod
    def of_login(cls, user: str, access_token: str, refresh_token: str, expires_in_s: float) -> Credential:
        lives = expires_in_s if 0 < expires_in_s < LONGEST_SECONDS else 0.0  # what is no number, too
        left = max(0.0, lives - min(NEAR_END_SECONDS, lives / 4))
        at = datetime.fromtimestamp(time.time() + left, UTC)
        return cls(secret=access_token, user=user, refresh_token=refresh_token, refresh_at=at)

    @property
    def is_key(self) -> bool:
        return self.secret.startswith(API_KEY)

    @property
    def near_its_end(self) -> bool:
        return bool(self.refresh_token) and self.refresh_at is not None and self.refresh_at <= datetime.now(UTC)


class Keyring:
    """The credentials of this user, one for each daemon. Every method may raise OdctlError."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self.path: Path = config_dir(self._environ) / FILE

    def find(self, endpoint: str) -> Credential | None:
        """What calls to this daemon are made with: a variable's, else the stored one. None: the uid has to do."""
        own = Environment.read(self._environ)
        if own.token and own.token_file:
            raise UsageError("ODCTL_TOKEN and ODCTL_TOKEN_FILE are both set", hint="unset one of them")
        if own.token:
            return Credential(secret=checked(own.token.strip(), "ODCTL_TOKEN"), source="ODCTL_TOKEN")
        if own.token_file:
            return Credential(secret=read_token(Path(own.token_file), "ODCTL_TOKEN_FILE"), source="ODCTL_TOKEN_FILE")
        return self.stored(endpoint)

    def stored(self, endpoint: str) -> Credential | None:
        found = self._read().get(_key(endpoint))
        if not isinstance(found, dict):
            return None
        secret = found.get("token")
        if not isinstance(secret, str) or not _SECRET.fullmatch(secret):
            return None
        at = found.get("refresh_at")
        return Credential(
            secret=secret,
            user=str(found.get("user", "")),
            refresh_token=str(found.get("refresh_token", "")),
            refresh_at=at if isinstance(at, datetime) and at.tzinfo is not None else None,
        )

    def keep(self, endpoint: str, credential: Credential) -> None:
        """Replaces what was kept for this daemon. Call it inside `alone`."""
        values: dict[str, Any] = {"user": credential.user, "token": credential.secret}
        if credential.refresh_token:
            values["refresh_token"] = credential.refresh_token
        if credential.refresh_at is not None:
            values["refresh_at"] = credential.refresh_at
        self._write({**self._read(), _key(endpoint): values})

    def forget(self, endpoint: str) -> None:
        """Call it inside `alone`."""
        rest = {name: values for name, values in self._read().items() if name != _key(endpoint)}
        if rest:
            self._write(rest)
        else:
            self.path.unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other odctl changes the file meanwhile. A refresh token is good once: whoever used it twice, because two
        runs read it at the same time, would be taken for a thief and logged out. Blocks."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(self.path, error.strerror or str(error), "look at who may write there") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> dict[str, Any]:
        try:
            # whatever stands in its place must not be waited for, as a pipe is
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return {}  # with /dev/null for a home, neither
        except OSError as error:
            raise _unusable(self.path, error.strerror or str(error), "look at who may read it") from error
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise _unusable(self.path, "it is no file", "move it away and log in again: odctl login")
        with os.fdopen(descriptor, "rb") as stream:
            if found.st_uid != os.geteuid():
                raise _unusable(
                    self.path, f"it belongs to uid {found.st_uid}, and you are uid {os.geteuid()}",
                    "run odctl with a HOME of your own",
                )  # fmt: skip
            if found.st_mode & 0o077:
                raise _unusable(self.path, "others may read it", f"chmod 600 {self.path}")
            text = stream.read()
        # only those who are logged in pay for the import
        import tomllib

        try:
            return tomllib.loads(text.decode())
        except (ValueError, RecursionError) as error:
            raise _unusable(self.path, f"it is not TOML: {error}", "remove it and log in again: odctl login") from error

    def _write(self, found: Mapping[str, Any]) -> None:
        """All or nothing, and on disk when it returns: a refresh token that was used up must not come back."""
        temporary = self.path.with_suffix(f".{os.getpid()}")
        try:
            temporary.unlink(missing_ok=True)  # of a run that was killed, whose number comes again
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(_toml(found))
                stream.flush()
                os.fsync(descriptor)
            temporary.replace(self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise _unusable(self.path, error.strerror or str(error), "look at who may write there") from error


def read_token(path: Path, what: str) -> str:
    """The access token or API key in a file. Raises UsageError naming `what`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{what}: {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return checked(text.strip(), f"{what}: {path}")


def checked(secret: str, what: str) -> str:
    """Raises UsageError for what could not be sent, without telling it."""
    if not _SECRET.fullmatch(secret):
        raise UsageError(f"{what} holds no access token or API key", hint="make a key: odctl apikey create NAME")
    return secret


def _unusable(path: Path, why: str, hint: str) -> OdctlError:
    return OdctlError(f"{path} is not used: {why}", code="BAD_CREDENTIALS", exit_code=NOT_ALLOWED, hint=hint)


def _key(endpoint: str) -> str:
    return endpoint.encode(errors="backslashreplace").decode()


def _toml(found: Mapping[str, Any]) -> str:
    lines: list[str] = []
    for endpoint, values in found.items():
        if isinstance(values, dict):
            lines.append(f"[{_quoted(endpoint)}]")
            known = [(name, value) for name, value in values.items() if isinstance(value, str | datetime)]
            lines += [f"{name} = {_value(value)}" for name, value in known]
    return "\n".join(lines) + "\n"


def _value(value: str | datetime) -> str:
    return _quoted(value) if isinstance(value, str) else value.isoformat()


def _quoted(text: str) -> str:
    # a basic string of TOML is one of JSON, but for DEL
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
