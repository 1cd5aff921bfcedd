"""The screens, which are imported when they are first shown."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from odctl.dashboard.panes.base import Pane
from msgspec import Struct


class Screen(Struct, frozen=True, kw_only=True):
    id: str
    title: str
    where: str
    """Module and class, below `odctl.dashboard.panes`."""
    admins: bool = False
    """Others do not have it."""

    def pane(self) -> Pane:
        module, _, kind = self.where.partition(":")
        made: Pane = getattr(import_module(f"odctl.dashboard.panes.{module}"), kind)(id=f"pane-{self.id}")
        return made


SCREENS = (
    Screen(id="jobs", title="Downloads", where="jobs:JobsPane"),
    Screen(id="nodes", title="Nodes", where="nodes:NodesPane"),
    Screen(id="cache", title="Cache", where="cache:CachePane"),
    Screen(id="activity", title="Activity", where="activity:ActivityPane"),
    Screen(id="users", title="Users", where="users:UsersPane", admins=True),
    Screen(id="settings", title="Settings", where="settings:SettingsPane", admins=True),
)
"""Their keys are 1 and up."""
