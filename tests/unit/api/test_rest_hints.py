"""Hints for callers of the REST API."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import oddaemon
from oddaemon.api.rest.app import ROUTES
from oddaemon.api.rest.hints import WAYS, rest_hint

PACKAGE = Path(oddaemon.__file__).parent
V1 = "/api/v1/downloads/7"
FOR_THE_MACHINE = re.compile(r"odctl (login|logs|doctor|daemon|resume --queue|users link|ls -a)|run odctl")
"""What only somebody at the daemon's machine can do."""


@pytest.mark.parametrize(
    ("hint", "way"),
    [
        ("odctl ls shows your jobs", "GET /api/v1/downloads shows your jobs"),
        ("odctl pause 7, set it, and odctl resume 7", f"POST {V1}/pause, set it, and POST {V1}/resume"),
        ("odctl rm 7", f"DELETE {V1}"),
        ("odctl select 7 …, then odctl retry 7", f"PUT {V1}/selection, then POST {V1}/retry"),
        ("odctl apikey create NAME --scope jobs", "POST /api/v1/auth/apikeys with the scope jobs"),
        (
            "wait for it with: odctl wait 7, or get it with: odctl get 7 --wait",
            f"ask again when GET {V1} says completed",
        ),
        ("maya has one: add --user maya", "maya has one: send it with ?user=maya"),
        ("give --ttl 2d", "give ttl_s, in seconds"),
        ("try again in a moment", "try again in a moment"),
    ],
)
def test_a_command_becomes_a_route(hint: str, way: str) -> None:
    assert rest_hint(hint) == way


def test_every_hint_of_a_service_has_a_way_over_rest() -> None:
    found: list[str] = []
    for folder in ("services", "engines", "domain"):
        for path in (PACKAGE / folder).rglob("*.py"):
            found += re.findall(r'(?:hint=|wait = |: |else )f?"([^"]*odctl [^"]*)"', path.read_text())
    assert len(found) > 30
    for text in found:
        told = rest_hint(re.sub(r"{[^}]*}", "7", text))
        assert "odctl" not in told or FOR_THE_MACHINE.search(told), told


def test_every_route_that_a_hint_names_exists() -> None:
    known = {(route.method, re.sub(r"{[^}]*}", "X", route.path)) for route in ROUTES}
    for _, way in WAYS:
        for method, path in re.findall(r"(GET|POST|PUT|PATCH|DELETE) (/\S+)", way):
            named = path.replace(r"\g<verb>", "retry").replace("aria2", "X")
            named = re.sub(r"\\g<\w+>|{[^}]*}|\bJOB\b|\bKEY\b", "X", named)
            assert (method, named) in known, (method, named)
