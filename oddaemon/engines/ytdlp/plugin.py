"""What the entry point names: settings, self-check, construction."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from oddaemon.engines.ytdlp.engine import YtdlpEngine
from oddaemon.engines.ytdlp.options import read_format
from oddaemon.engines.ytdlp.settings import YtdlpSettings
from oddaemon.ports.plugin import Parts, Plugin, Problem


def check(settings: YtdlpSettings) -> Sequence[Problem]:
    problems: list[Problem] = []
    try:
        version("yt-dlp")
    except PackageNotFoundError:
        problems.append(Problem(message="the package yt-dlp is not installed", hint="pip install yt-dlp"))
    if settings.max_concurrent < 1:
        problems.append(Problem(message="max_concurrent has to be at least 1"))
    try:
        read_format(settings.default_format)
    except ValueError as error:
        problems.append(Problem(message="default_format is not a format selector", hint=f"it takes {error}"))
    return problems


def build(settings: YtdlpSettings, parts: Parts) -> YtdlpEngine:
    return YtdlpEngine(settings, parts)


PLUGIN: Plugin[YtdlpEngine] = Plugin(name="ytdlp", settings_type=YtdlpSettings, check=check, build=build)
