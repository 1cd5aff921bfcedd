"""AdminService: cache clean-up, settings, reload, shutdown, diagnosis, and accounts (see users). For admins only."""

from __future__ import annotations

from collections.abc import Sequence

from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.control import v1 as pb

from oddaemon.api.control.calls import caller
from oddaemon.api.control.reloading import reloaded
from oddaemon.api.control.users import UserCalls
from oddaemon.domain.types import Bytes, Seconds
from oddaemon.services.views import CleanupResult, SettingView
from oddaemon.wire import messages as wire
from oddaemon.wire.errors import to_message
from oddaemon.wire.values import clean


class AdminService(UserCalls):
    async def remove_cache(self, message: pb.RemoveCacheRequest) -> pb.CleanupResponse:
        return _cleanup(await self._parts.cache.remove(caller(), message.keys, dry_run=message.dry_run))

    async def cleanup_cache(self, message: pb.CleanupCacheRequest) -> pb.CleanupResponse:
        result = await self._parts.cache.cleanup(
            caller(),
            older=Seconds(message.older_s) if message.older_s else None,
            until_free=Bytes(message.until_free) if message.until_free else None,
            node=message.node,
            dry_run=message.dry_run,
            verify=message.verify,
            named=None if message.only is None else [(entry.key, entry.generation) for entry in message.only.entries],
        )
        return _cleanup(result)

    async def copy_cache(self, message: pb.CopyCacheRequest) -> pb.CopyCacheResponse:
        view = await self._parts.cache.copy(caller(), message.key, message.node)
        return pb.CopyCacheResponse(entry=wire.cache_message(view))

    async def list_settings(self, message: pb.ListSettingsRequest) -> pb.ListSettingsResponse:
        return _settings(await self._parts.settings.list(caller(), message.keys))

    async def set_settings(self, message: pb.SetSettingsRequest) -> pb.ListSettingsResponse:
        return _settings(await self._parts.settings.set(caller(), dict(message.values), dry_run=message.dry_run))

    async def unset_settings(self, message: pb.UnsetSettingsRequest) -> pb.ListSettingsResponse:
        return _settings(await self._parts.settings.unset(caller(), message.keys, dry_run=message.dry_run))

    async def reload(self, message: pb.ReloadRequest) -> pb.ReloadResponse:
        return reloaded(self._parts.reload)

    async def shutdown(self, message: pb.ShutdownRequest) -> pb.ShutdownResponse:
        """Answers, then ends as on SIGTERM."""
        self._parts.shutdown()
        return pb.ShutdownResponse()

    async def diagnose(self, message: pb.DiagnoseRequest) -> pb.DiagnoseResponse:
        found = await self._parts.diagnose()
        return pb.DiagnoseResponse(
            checks=[
                pb.Check(check=one.check, status=one.status, detail=clean(one.detail), hint=one.hint, fix=one.fix)
                for one in found
            ]
        )


def _cleanup(result: CleanupResult) -> pb.CleanupResponse:
    errors: dict[int, common.Error] = {
        number: to_message(item.error) for number, item in enumerate(result.items) if item.error is not None
    }
    return wire.cleanup_message(result, errors)


def _settings(views: Sequence[SettingView]) -> pb.ListSettingsResponse:
    return pb.ListSettingsResponse(settings=[wire.setting_message(view) for view in views])
