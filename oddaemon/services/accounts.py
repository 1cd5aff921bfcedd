"""Who may use the daemon, and as whom: users, sessions, API keys, invitations. Every face calls this.

`who` is the calling principal. What it may not do raises NotAllowed, what is a stranger's NotFound. Whatever ends
somebody's access is complete when the call returns: credentials are gone from the store, and the file servers refuse
the links.
"""

from __future__ import annotations

from dataclasses import dataclass

from oddaemon.services.api_keys import ApiKeys
from oddaemon.services.grants import Grants
from oddaemon.services.sessions import Sessions
from oddaemon.services.users import Users


@dataclass(kw_only=True)
class Accounts(Sessions, Grants, ApiKeys, Users):
    """See the four."""
