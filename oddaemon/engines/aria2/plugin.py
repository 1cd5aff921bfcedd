"""What the entry point names: settings, self-check, construction."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from oddaemon.engines.aria2.daemon import PROGRAM
from oddaemon.engines.aria2.engine import Aria2Engine
from oddaemon.engines.aria2.settings import Aria2Settings
from oddaemon.ports.plugin import Parts, Plugin, Problem

_PORTS = re.compile(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*")


def check(settings: Aria2Settings) -> Sequence[Problem]:
    problems: list[Problem] = []
    if shutil.which(PROGRAM) is None:
        problems.append(Problem(message="aria2c is not on PATH", hint="install aria2 (Debian: apt install aria2)"))
    ports = settings.listen_ports
    if not _PORTS.fullmatch(ports) or not all(0 < int(p) < 65536 for p in re.split("[-,]", ports)):
        problems.append(Problem(message="listen_ports is not a list of ports", hint="for example 6881-6999"))
    if not 1 <= settings.connections_per_server <= 16:
        problems.append(Problem(message="connections_per_server is not between 1 and 16"))
    if settings.max_rate_down < 0 or settings.max_rate_up < 0:
        problems.append(Problem(message="a rate limit is negative", hint="0 means no limit"))
    if settings.stall_timeout < 1:
        problems.append(Problem(message="stall_timeout is shorter than a second"))
    if settings.ca_certificate and not (
        settings.ca_certificate.isprintable() and Path(settings.ca_certificate).is_file()
    ):
        problems.append(Problem(message="ca_certificate names no file"))
    return problems


def build(settings: Aria2Settings, parts: Parts) -> Aria2Engine:
    return Aria2Engine(settings, parts)


PLUGIN: Plugin[Aria2Engine] = Plugin(name="aria2", settings_type=Aria2Settings, check=check, build=build)
