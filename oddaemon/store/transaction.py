"""A transaction as works see it: the repositories over one scope."""

from __future__ import annotations

from oddaemon.store import quarantine
from oddaemon.store.repositories.cache import SqlCache
from oddaemon.store.repositories.credentials import SqlApiKeys, SqlInvitations, SqlSessions
from oddaemon.store.repositories.events import SqlEvents
from oddaemon.store.repositories.jobs import SqlJobs
from oddaemon.store.repositories.join_tokens import SqlJoinTokens
from oddaemon.store.repositories.keyed_adds import SqlKeyedAdds
from oddaemon.store.repositories.links import SqlLinks
from oddaemon.store.repositories.materials import SqlMaterials
from oddaemon.store.repositories.nodes import SqlNodes
from oddaemon.store.repositories.served import SqlServed
from oddaemon.store.repositories.settings import SqlSecrets, SqlSettings
from oddaemon.store.repositories.users import SqlUsers
from oddaemon.store.scope import Scope


class SqlTransaction:
    """Meets ports.store.Transaction."""

    __slots__ = (
        "api_keys", "cache", "events", "invitations", "jobs", "join_tokens", "keyed_adds", "links", "materials",
        "nodes", "scope", "secrets", "served", "sessions", "settings", "users",
    )  # fmt: skip

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.jobs = SqlJobs(scope)
        self.cache = SqlCache(scope)
        self.materials = SqlMaterials(scope)
        self.users = SqlUsers(scope)
        self.api_keys = SqlApiKeys(scope)
        self.sessions = SqlSessions(scope)
        self.invitations = SqlInvitations(scope)
        self.links = SqlLinks(scope)
        self.served = SqlServed(scope)
        self.settings = SqlSettings(scope)
        self.secrets = SqlSecrets(scope)
        self.events = SqlEvents(scope)
        self.nodes = SqlNodes(scope)
        self.join_tokens = SqlJoinTokens(scope)
        self.keyed_adds = SqlKeyedAdds(scope)

    def quarantined(self) -> int:
        return quarantine.count(self.scope)
