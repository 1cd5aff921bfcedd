"""What a worker answers on its control socket: how it is, and it is ended and reloaded there. Everything else is its
controller's."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from grpclib._typing import IServable
from grpclib.const import Handler as Route
from odproto import API_MAJOR, API_MINOR
from odproto.gen.opendebrid.control import v1 as pb

from oddaemon.api.auth import Accounts
from oddaemon.api.control.calls import Gate, caller
from oddaemon.api.control.reloading import reloaded
from oddaemon.api.control.server import ControlServer
from oddaemon.domain.errors import Unauthenticated, Unsupported
from oddaemon.domain.types import NodeId, UserId
from oddaemon.domain.user import Principal, Proof, Role, Scope
from oddaemon.ports.clock import Clock
from oddaemon.services.views import StatusView
from oddaemon.wire import messages as wire

SERVED = frozenset({"Hello", "GetStatus", "Shutdown", "Reload"})
_NOBODY = UserId(UUID(int=0))
"""A worker knows no users."""


class WhoeverReachesIt(Accounts):
    """The socket's permissions are all that keeps others out; they may look, and who runs it may end it."""

    async def by_uid(self, uid: int) -> Principal:
        role = Role.ADMIN if uid in (0, os.geteuid()) else Role.USER
        scopes = frozenset(Scope) if role is Role.ADMIN else frozenset({Scope.READ})
        return Principal(
            user_id=_NOBODY, username="operator", role=role, proof=Proof.PEER_UID, uid=uid, scopes=scopes
        )  # fmt: skip

    async def by_api_key(self, secret: str) -> Principal:
        raise Unauthenticated("a worker knows no API keys", hint="they are its controller's")

    async def by_access_token(self, token: str) -> Principal:
        raise Unauthenticated("a worker knows no sessions", hint="they are its controller's")

    async def ended(self, who: Principal) -> None:
        raise Unauthenticated("a worker has no streams")


@dataclass(slots=True)
class _Gate(Gate):
    elsewhere: str = ""

    def guard(self, path: str, route: Route) -> Route:
        if path.rpartition("/")[2] not in SERVED:
            route = route._replace(func=self._refuse)
        return Gate.guard(self, path, route)

    async def _refuse(self, stream: Any) -> None:
        raise Unsupported(
            "this daemon is a worker: downloads, settings and users are its controller's", hint=self.elsewhere
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    status: Callable[[], Awaitable[StatusView]]
    clock: Clock
    version: str
    node_id: Callable[[], NodeId]
    epoch: str
    download_dir: str
    reload: Callable[[], tuple[Collection[str], Collection[str]]]
    shutdown: Callable[[], None]


class _Status(pb.ControlServiceBase):
    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts

    async def hello(self, message: pb.HelloRequest) -> pb.HelloResponse:
        who, parts = caller(), self._parts
        return pb.HelloResponse(
            server_version=parts.version, api_major=API_MAJOR, api_minor=API_MINOR, user=who.username,
            role=str(who.role), auth=str(who.proof), node=parts.node_id(), epoch=parts.epoch, now=parts.clock.now(),
        )  # fmt: skip

    async def get_status(self, message: pb.GetStatusRequest) -> pb.GetStatusResponse:
        answer = wire.status_message(await self._parts.status())
        answer.version, answer.role, answer.pid = self._parts.version, "worker", os.getpid()
        answer.download_dir = self._parts.download_dir if caller().is_admin else ""
        return answer


class _Admin(pb.AdminServiceBase):
    """For its own user and root, as the rules have it."""

    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts

    async def reload(self, message: pb.ReloadRequest) -> pb.ReloadResponse:
        return reloaded(self._parts.reload)

    async def shutdown(self, message: pb.ShutdownRequest) -> pb.ShutdownResponse:
        """Answers, then ends as on SIGTERM."""
        self._parts.shutdown()
        return pb.ShutdownResponse()


def worker_server(parts: WorkerParts, controller: str) -> ControlServer:
    """`controller`: where the rest is to be asked for."""
    gate = _Gate(WhoeverReachesIt(), elsewhere=f"ask the controller at {controller}")
    services: list[IServable] = [_Status(parts), pb.AccountServiceBase(), _Admin(parts)]
    return ControlServer(services, gate)
