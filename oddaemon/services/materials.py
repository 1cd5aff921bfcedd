"""What a download needs beside its URL: read back into the form that engines take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from oddaemon.domain.source import Source
from oddaemon.ports.store import Material

URL_USER, URL_PASSWORD = "url-username", "url-password"
"""Where the credentials of a URL's userinfo are kept among the secrets: engines take them with the source."""


def with_credentials(source: Source, material: Material | None) -> Source:
    """The source with the user and password that its URL was given with."""
    secrets = (material.secrets or {}) if material is not None else {}
    if URL_USER not in secrets:
        return source
    return replace(source, username=secrets[URL_USER], password=secrets.get(URL_PASSWORD))


def engine_options(options: Mapping[str, str], material: Material | None) -> dict[str, str]:
    """Public and secret options together, without what belongs to the source."""
    secrets = (material.secrets or {}) if material is not None else {}
    return {**options, **{key: value for key, value in secrets.items() if key not in (URL_USER, URL_PASSWORD)}}
