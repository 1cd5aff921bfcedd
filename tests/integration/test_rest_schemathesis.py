"""schemathesis, with all of its checks, makes requests of what the OpenAPI document says, right ones and wrong ones."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.support.rest_house import rest_house

CONFIG = """
[checks]
# no schema says which text is a source, a filter or a job's name: 422 is what a right form may get, too
positive_data_acceptance.expected-statuses = ["2xx", "307", "400", "401", "403", "404", "409", "422", "429"]
"""
ENDLESS = "stream_events"
ENDS_THE_CALLER = "revoke_user|revoke_key|rotate_key|change_password|regenerate_key"
"""Handlers after which the run's own key may be dead."""
SECONDS = 50


async def test_the_api_does_what_its_description_says(tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    async with rest_house(tmp_path) as house:
        program = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("st")), "--config-file", str(config),
            "run", f"{house.url}/api/v1/openapi.json", "--header", f"Authorization: Bearer {house.admin.key}",
            "--checks", "all", "--phases", "fuzzing", "--max-examples", "2", "--workers", "2", "--seed", "1",
            "--exclude-operation-id-regex", f"{ENDLESS}|{ENDS_THE_CALLER}", "--no-color",
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
