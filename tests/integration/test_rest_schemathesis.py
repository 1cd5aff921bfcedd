"""schemathesis, with all of its checks and phases, makes requests of what the OpenAPI document says: right ones, and
wrong ones."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.integration.test_rest_downloads import add, ended
from tests.support.rest_house import RestHouse, rest_house

CONFIG = """
[checks]
# no schema says which text is a source, a filter or a job's name: 422 is what a right form may get, too
positive_data_acceptance.expected-statuses = [
  "2xx", "307", "400", "401", "403", "404", "409", "412", "422", "429",
]
# 413: more than a request may hold
negative_data_rejection.expected-statuses = [
  "400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "429",
]
"""
ENDLESS = "stream_events"
OF_THE_CALLER = "revoke_user|revoke_key|rotate_key|change_password|regenerate_key|end_session|change_user|remove_user"
"""Handlers after which the run's own key may be dead, or allowed one request a minute."""
SECONDS = 120


async def test_the_api_does_what_its_description_says(tmp_path: Path) -> None:
    async with rest_house(tmp_path, limits_requests_per_minute="0") as house:
        # what the examples of the document name
        await ended(house.admin, await add(house.admin))
        await house.user("maya")
        await _run(tmp_path, house, "--exclude-operation-id-regex", f"{ENDLESS}|{OF_THE_CALLER}")
        await _run(tmp_path, house, "--include-operation-id-regex", OF_THE_CALLER)


async def _run(tmp_path: Path, house: RestHouse, *which: str) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    program = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("st")), "--config-file", str(config),
        "run", f"{house.url}/api/v1/openapi.json", "--header", f"Authorization: Bearer {house.admin.key}",
        "--checks", "all", "--max-examples", "2", "--workers", "1", "--seed", "1", *which, "--no-color",
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS):
            output, _ = await program.communicate()
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    told = output.decode()
    assert program.returncode == 0, "\n".join(line[:500] for line in told.splitlines())
    assert "Tested: " in told
