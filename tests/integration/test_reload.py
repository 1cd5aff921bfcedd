"""What a reload brings about at once, and what it says of the rest."""

from __future__ import annotations

from pathlib import Path

from tests.support.controller import composed

FILE = "[limits]\nretries = {retries}\n[engines.simulated]\nmax_concurrent = {engine}\n"
LIVE, FIXED = "limits.retries", "engines.simulated.max_concurrent"


async def test_a_setting_that_needs_a_restart_shows_what_is_in_force(tmp_path: Path) -> None:
    config = tmp_path / "oddaemon.toml"
    config.write_text(FILE.format(retries=3, engine=7))
    async with composed(tmp_path, config_path=str(config)) as home:
        config.write_text(FILE.format(retries=4, engine=9))
        assert home.controller.reload() == ([FIXED, LIVE], [FIXED])
        live, fixed = await home.controller.runtime.list(home.admin, [LIVE, FIXED])
        assert (live.value, live.restart_required) == (4, False)
        assert (fixed.value, fixed.restart_required) == (7, True)
        assert home.controller.current.limits.retries == 4
        (engine,) = (await home.agent.snapshot()).engines
        assert engine.max_concurrent == 7
        # still waiting for the restart, whatever else is reloaded meanwhile
        config.write_text(FILE.format(retries=5, engine=9))
        assert home.controller.reload() == ([LIVE], [FIXED])
        config.write_text(FILE.format(retries=5, engine=7))
        assert home.controller.reload() == ([FIXED], [])
