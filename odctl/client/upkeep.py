"""Calls about what runs a daemon: its engines, its settings, itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from odctl.client import convert
from odctl.client.channel import Calls
from odctl.client.protocol import wire


class Upkeep:
    """Part of a DaemonClient. Every method raises OdctlError."""

    def __init__(self, calls: Calls) -> None:
        self._ask = calls.ask
        self._control = calls.control
        self._admin = calls.admin

    async def engines(self) -> list[dict[str, Any]]:
        answer: wire.ListEnginesResponse = await self._ask(self._control, "list_engines", wire.ListEnginesRequest())
        return [convert.engine(item) for item in answer.engines]

    async def test_engine(self, name: str) -> dict[str, Any]:
        request = wire.TestEngineRequest(name=name)
        answer: wire.TestEngineResponse = await self._ask(self._control, "test_engine", request, 60.0)
        return convert.engine(answer.engine) if answer.engine is not None else {"name": name, "ok": False}

    async def settings(self, keys: Sequence[str] = ()) -> list[dict[str, Any]]:
        answer: wire.ListSettingsResponse = await self._ask(
            self._admin, "list_settings", wire.ListSettingsRequest(keys=list(keys))
        )
        return [convert.setting(item) for item in answer.settings]

    async def set_settings(self, values: Mapping[str, str], *, dry_run: bool) -> list[dict[str, Any]]:
        request = wire.SetSettingsRequest(values=dict(values), dry_run=dry_run)
        answer: wire.ListSettingsResponse = await self._ask(self._admin, "set_settings", request)
        return [convert.setting(item) for item in answer.settings]

    async def unset_settings(self, keys: Sequence[str], *, dry_run: bool = False) -> list[dict[str, Any]]:
        request = wire.UnsetSettingsRequest(keys=list(keys), dry_run=dry_run)
        answer: wire.ListSettingsResponse = await self._ask(self._admin, "unset_settings", request)
        return [convert.setting(item) for item in answer.settings]

    async def reload(self) -> dict[str, Any]:
        answer: wire.ReloadResponse = await self._ask(self._admin, "reload", wire.ReloadRequest())
        return {"changed": list(answer.changed), "needs_restart": list(answer.needs_restart)}

    async def shutdown(self) -> None:
        await self._ask(self._admin, "shutdown", wire.ShutdownRequest())

    async def diagnose(self) -> list[dict[str, Any]]:
        answer: wire.DiagnoseResponse = await self._ask(self._admin, "diagnose", wire.DiagnoseRequest(), 60.0)
        return [
            {
                "check": item.check,
                "status": item.status,
                "detail": item.detail,
                "hint": item.hint or None,
                "fix": item.fix or None,
            }
            for item in answer.checks
        ]
