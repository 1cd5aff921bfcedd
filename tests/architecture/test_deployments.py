"""The files for containers name what there is: settings, secrets, paths, commands; nobody is root, nothing is open."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from oddaemon.app.cli import _parse
from oddaemon.app.setting_keys import core_keys
from tests.support.forked import ROOT

FOLDER = ROOT / "deployments"
COMPOSE = sorted(FOLDER.glob("compose*.yaml"))
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
VARIABLES = {key.variable for key in core_keys().values()} | {"ODCTL_HOST"}
OURS = re.compile(r"\b(?:OD_[A-Z_]+|ODCTL_HOST|DATABASE_URL(?:_FILE)?|CONTROLLER_(?:URL|TOKEN)(?:_FILE)?)\b")


def services(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["services"]
    return found


def of_ours(path: Path) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in services(path).items() if service["image"] == "opendebrid"}


@pytest.mark.parametrize("path", [FOLDER / "Dockerfile", *COMPOSE], ids=lambda path: path.name)
def test_every_variable_is_a_setting(path: Path) -> None:
    named = set(OURS.findall(path.read_text()))
    assert named
    assert {name.removesuffix("_FILE") for name in named} <= VARIABLES


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_services_are_confined_and_run_what_there_is(path: Path) -> None:
    assert of_ours(path)
    for name, service in of_ours(path).items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True
        assert "no-new-privileges:true" in service["security_opt"]
        assert _parse(service["command"]).command == service["command"][0]
        assert (path.parent / service["build"]["context"]).resolve() == ROOT
        assert (ROOT / service["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_only_what_workers_come_to_is_open_to_others(path: Path) -> None:
    for service in services(path).values():
        for port in service.get("ports", []):
            outside, _, inside = port.rpartition(":")
            assert "127.0.0.1" in outside or inside == "9090", port


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_volumes_and_secrets_are_declared_and_each_is_one_services_own(path: Path) -> None:
    whole = yaml.safe_load(path.read_text())
    volumes = [volume.partition(":")[0] for service in services(path).values() for volume in service["volumes"]]
    assert sorted(volumes) == sorted(whole["volumes"])
    used = {secret for service in services(path).values() for secret in service.get("secrets", [])}
    assert used == set(whole.get("secrets", {}))
    for service in services(path).values():
        for value in service.get("environment", {}).values():
            if str(value).startswith("/run/secrets/"):
                assert Path(value).name in service["secrets"]


def test_the_image_has_what_the_package_is_built_from_and_is_nobodys_root() -> None:
    copied = {word for line in re.findall(r"^COPY (?!--)(.*)$", DOCKERFILE, re.M) for word in line.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    allowed = {line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert copied == allowed
    wheel = (ROOT / "pyproject.toml").read_text()
    packages = re.search(r"\[tool\.hatch\.build\.targets\.wheel\]\npackages = \[(.*?)\]", wheel, re.S)
    assert packages is not None
    assert {name.partition("/")[0] for name in re.findall(r'"([^"]+)"', packages[1])} <= copied
    users = re.findall(r"^USER (.*)$", DOCKERFILE, re.M)
    assert users == ["10001:10001"]
    assert "HEALTHCHECK" in DOCKERFILE


def test_the_secrets_are_made_once_and_are_for_their_owner(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets.sh"
    script.write_bytes((FOLDER / "make-secrets.sh").read_bytes())
    contents = []
    for _ in range(2):
        subprocess.run(["sh", script], check=True, capture_output=True, env={"PATH": os.environ["PATH"]})
        contents.append({file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()})
    first, second = contents
    assert first == second
    assert len(first["postgresql_password"]) == 48
    assert first["database_url"] == f"postgresql://opendebrid:{first['postgresql_password']}@postgresql:5432/opendebrid"
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    declared = yaml.safe_load((FOLDER / "compose.postgresql.yaml").read_text())["secrets"]
    assert set(first) == set(declared)
