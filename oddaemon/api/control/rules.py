"""Who may make which call: a line for each. A call without one keeps the daemon from starting, and a test from passing.

Here it is said what a credential has to allow. Whose job or key it is, is the services' to check.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oddaemon.domain.user import Principal, Scope, require, require_admin


@dataclass(frozen=True, slots=True)
class Rule:
    scope: Scope | None
    """None: whoever reaches the socket may; the call itself says who it is."""
    admin: bool = False

    def check(self, who: Principal) -> None:
        """Raises NotAllowed."""
        if self.admin:
            require_admin(who)
        elif self.scope is not None:
            require(who, self.scope)


OPEN = Rule(None)
LOOK = Rule(Scope.READ)
CHANGE = Rule(Scope.JOBS)
OWN = Rule(Scope.ADMIN)
"""One's own account: a key that may do only a part must not make one that may do more."""
ADMIN = Rule(Scope.ADMIN, admin=True)

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("Login", "Register", "Refresh"), OPEN),
    **dict.fromkeys(
        (
            "Hello", "GetStatus", "ListJobs", "GetJobs", "Watch", "ListFiles", "ListLinks", "Events", "Logs",
            "ListEngines", "TestEngine", "ListCache", "WhoAmI", "GetUsage", "Logout", "ListApiKeys",
            "ListSessions", "GetUser",
        ),
        LOOK,
    ),
    # a probe has the daemon fetch what the caller names
    **dict.fromkeys(
        (
            "AddJobs", "Probe", "PauseJobs", "ResumeJobs", "CancelJobs", "RetryJobs", "RemoveJobs", "SetJobs",
            "SelectFiles", "CreateLinks", "RevokeLinks",
        ),
        CHANGE,
    ),
    **dict.fromkeys(
        ("SetOwnPassword", "RevokeEverything", "CreateApiKey", "RotateApiKey", "RevokeApiKey", "EndSession"), OWN
    ),
    **dict.fromkeys(
        (
            "PinCache", "RemoveCache", "CleanupCache", "CopyCache", "ListSettings", "SetSettings",
            "UnsetSettings", "Reload",
            "Shutdown", "Diagnose", "ListUsers", "AddUser", "SetUserPassword", "SetUserRole", "SetUserActive",
            "RemoveUser", "LinkUser", "SetUserLimits", "InviteUser", "ListInvitations", "RevokeInvitation",
            "RotateSecret", "SetNode", "RemoveNode", "CreateNodeToken", "ListNodeTokens", "RevokeNodeToken",
        ),
        ADMIN,
    ),
}  # fmt: skip
