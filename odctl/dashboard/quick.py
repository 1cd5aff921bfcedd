"""The dashboard as it is opened most: without any option. No Textual here, so that it costs nothing when it cannot be.

The command line's parser alone takes a fifth of the time to the first picture, and has nothing to do for it.
"""

from __future__ import annotations

from odctl.client.child import Child
from odctl.dashboard.terminal import unfit


def open_quickly() -> int | None:
    """The exit code; None: the command line has to look at this itself."""
    if unfit():
        return None
    # it imports the protocol while this process imports Textual
    child = Child()
    from odctl.client.endpoints import choose
    from odctl.client.errors import OdctlError

    try:
        choice = choose(None)
    except OdctlError:
        child.close()
        return None
    from odctl.client.bridge import Bridge
    from odctl.dashboard.launch import open_dashboard

    return open_dashboard(Bridge(child), choice, timeout=None, pane="jobs", filter="", read_only=False, mouse=True)
