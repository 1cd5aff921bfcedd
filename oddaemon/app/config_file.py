"""Reads the config file: each key with its value and its line, and every mistake on the way."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oddaemon.app.given import Given, Mistake, Origin
from oddaemon.app.paths import default_config_files
from oddaemon.app.toml_text import BadVariable, interpolate, key_lines

CONFIG_VARIABLE = "OD_CONFIG_PATH"
MAX_CONFIG = 2**20


@dataclass(slots=True)
class ConfigFile:
    """`given` is empty when the file cannot be read."""

    path: Path
    environ: Mapping[str, str]
    """What `${…}` in its texts stands for."""
    given: dict[str, Given] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    @classmethod
    def read(cls, chosen: Path | None, environ: Mapping[str, str]) -> ConfigFile | None:
        """The chosen one, the variable's, or the first that is there of where one may be. None: there is none."""
        named = chosen or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
        path = named or next((item for item in default_config_files(environ) if os.path.exists(item)), None)
        if path is None:
            return None
        found = cls(path, environ)
        try:
            text = _text(path)
            found._take(tomllib.loads(text), "", key_lines(text))
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"\(at line (\d+)", str(error))
            found.mistakes.append(Mistake(f"{path}:{line[1]}" if line else str(path), f"not TOML: {error}"))
        except UnicodeDecodeError:
            found.mistakes.append(Mistake(str(path), "not TOML: it is not UTF-8"))
        except OSError as error:
            found.mistakes.append(Mistake(str(path), f"cannot be read: {error.strerror}"))
        except ValueError as error:
            found.mistakes.append(Mistake(str(path), str(error)))
        return found

    def _take(self, table: Mapping[str, Any], prefix: str, lines: Mapping[str, int]) -> None:
        for name, value in table.items():
            key = f"{prefix}{name}"
            place = self._place(key, lines)
            if not isinstance(value, dict):
                try:
                    self.given[key] = Given(value=self._filled(value), origin=Origin.FILE, place=place)
                except BadVariable as error:
                    self.mistakes.append(Mistake(place, f"{key}: {error}"))
                continue
            if not value:
                self.given[key] = Given(value={}, origin=Origin.FILE, place=place)
            self._take(value, f"{key}.", lines)

    def _filled(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        return interpolate(value, self.environ) if isinstance(value, str) else value

    def _place(self, key: str, lines: Mapping[str, int]) -> str:
        while key:
            if key in lines:
                return f"{self.path}:{lines[key]}"
            key = key.rpartition(".")[0]
        return str(self.path)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(MAX_CONFIG + 1)
    if len(raw) > MAX_CONFIG:
        raise ValueError("it is larger than 1 MiB")
    return raw.decode()
