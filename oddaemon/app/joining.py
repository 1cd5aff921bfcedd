"""How a worker comes to have a membership: kept from an earlier run, or won with a join token."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from oddaemon.app.exit_codes import ExitCode, StartFailed
from oddaemon.app.membership import Membership, read_membership, write_membership
from oddaemon.app.settings import DEFAULT_NODES_PORT, Settings
from oddaemon.domain.address import parse_address
from oddaemon.domain.backoff import RestartBackoff
from oddaemon.domain.errors import (
    AlreadyExists,
    InvalidArgument,
    NotAllowed,
    OpenDebridError,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from oddaemon.domain.join_token import PastedToken, parse_token
from oddaemon.domain.types import NodeId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_registry import Joined
from oddaemon.ports.node_transport import ControllerAddress

log = logging.getLogger(__name__)

_NEEDED = (
    "on the controller, odctl nodes token create prints what to type here: CONTROLLER_URL=… CONTROLLER_TOKEN=… "
    "oddaemon worker"
)

Join = Callable[[ControllerAddress, PastedToken, NodeId], Awaitable[Joined]]
"""Raises Unauthenticated, AlreadyExists, Unsupported, NotAllowed, InvalidArgument; Unavailable for what may pass."""


@dataclass(slots=True)
class Joining:
    """`member` is None until this worker has joined. `problem`: why it has not yet."""

    data_dir: Path
    endpoint: str
    token: PastedToken | None
    wanted: NodeId
    """What this node is to be called, if nothing is known yet."""
    join: Join
    member: Membership | None = None
    problem: str = ""
    hint: str = ""
    _tried: set[str] = field(default_factory=set)
    """Tokens that this run has shown for joining once more."""

    @property
    def address(self) -> ControllerAddress:
        """Of the controller that is joined, or is to be."""
        host, port = parse_address(self.endpoint, DEFAULT_NODES_PORT)
        print_ = self.member.fingerprint if self.member is not None else self._token.fingerprint
        return ControllerAddress(host=host, port=port, fingerprint=print_)

    @property
    def node_id(self) -> NodeId:
        return self.member.node_id if self.member is not None else self.wanted

    @property
    def _token(self) -> PastedToken:
        assert self.token is not None
        return self.token

    async def first(self) -> None:
        """One try, unless it has joined already. Raises StartFailed for what another try would not change."""
        if self.member is not None:
            return
        try:
            await self._join()
        except Unavailable as error:
            if error.message != self.problem:
                log.warning(
                    "not joined yet",
                    extra={"action": "join_failed", "error": error.message, "hint": error.hint},
                )
            self.problem, self.hint = error.message, error.hint
        except OpenDebridError as error:
            raise refused(error, self.node_id) from error

    async def until_joined(self, clock: Clock) -> Membership:
        """As `first`, for as long as it takes."""
        backoff = RestartBackoff()
        while self.member is None:
            await clock.sleep(Seconds(backoff.next_wait(ran_for=Seconds(0)) * random.uniform(0.5, 1)))  # noqa: S311
            await self.first()
        return self.member

    async def again(self) -> Membership | None:
        """The controller does not know this node any more. Another token than the one it joined with is the wish to
        join anew, under the same name; None without one, or when that is not good either."""
        token = self.token
        if self.member is None or token is None or token.id == self.member.token_id or token.id in self._tried:
            return None
        try:
            await self._join()
        except Unavailable:
            return None
        except OpenDebridError as error:
            log.error("not let in again", extra={"action": "join_refused", "error": error.message, "hint": error.hint})
            self._tried.add(token.id)
            return None
        return self.member

    async def _join(self) -> None:
        address, token = self.address, self._token
        joined = await self.join(address, token, self.node_id)
        member = Membership(
            node_id=joined.node_id, credential=joined.credential, fingerprint=token.fingerprint,
            endpoint=str(address), token_id=token.id,
        )  # fmt: skip
        # before anything is done with it: a credential that is lost is a node that nobody can be any more
        await asyncio.to_thread(write_membership, self.data_dir, member)
        self.member, self.problem, self.hint = member, "", ""
        log.info(
            "joined", extra={"action": "joined", "node": joined.node_id, "controller": str(address)}
        )


def prepare_joining(settings: Settings, data_dir: Path, join: Join) -> Joining:
    """From what is kept and what the settings say. Raises StartFailed. Blocks on the disk."""
    member = read_membership(data_dir)
    chosen = settings.controller
    text = chosen.auth_token.get_secret_value()
    token = _parsed(text) if text else None
    wanted = NodeId(settings.node.id or (member.node_id if member is not None else settings.node_id))
    if member is not None and token is not None and token.fingerprint != member.fingerprint:
        log.warning(
            "the join token is of another controller: joining that one",
            extra={"action": "controller_changed", "before": member.endpoint},
        )
        member = None
    missing = [] if member is not None else [
        name for name, value in (("CONTROLLER_URL", chosen.grpc_endpoint), ("CONTROLLER_TOKEN", text)) if not value
    ]  # fmt: skip
    if missing:
        raise StartFailed(
            f"this worker has joined no controller yet, and {' and '.join(missing)} {_are(missing)} not set",
            code=ExitCode.CONFIG, hint=_NEEDED,
        )  # fmt: skip
    if member is not None and settings.node.id and settings.node.id != member.node_id:
        log.warning(
            "node.id is not used: a node keeps the id that it joined with",
            extra={"action": "node_id_kept", "id": member.node_id, "setting": settings.node.id},
        )
    endpoint = chosen.grpc_endpoint or (member.endpoint if member is not None else "")
    joining = Joining(
        data_dir=data_dir, endpoint=endpoint, token=token, wanted=wanted, join=join, member=member
    )
    if member is not None and str(joining.address) != member.endpoint:
        write_membership(data_dir, replace(member, endpoint=str(joining.address)))
    return joining


def _parsed(text: str) -> PastedToken:
    try:
        return parse_token(text)
    except InvalidArgument as error:
        raise StartFailed(f"CONTROLLER_TOKEN: {error.message}", code=ExitCode.CONFIG, hint=error.hint) from error


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def refused(error: OpenDebridError, node_id: NodeId) -> StartFailed:
    """Why a first join cannot succeed, and what to do."""
    if isinstance(error, AlreadyExists):
        return StartFailed(
            f"the controller has a node {node_id} already", code=ExitCode.CONFIG,
            hint="give this one another id with node.id (OD_NODE_ID); or, if that one is gone for good, remove it on "
            "the controller: odctl nodes rm",
        )  # fmt: skip
    if isinstance(error, Unauthenticated | NotAllowed):
        hint = error.hint or "make a new one on the controller: odctl nodes token create"
        return StartFailed(error.message, code=ExitCode.PERMISSION, hint=hint)
    if isinstance(error, Unsupported):
        return StartFailed(error.message, code=ExitCode.CONFIG, hint=error.hint)
    return StartFailed(error.message, code=ExitCode.FAILURE, hint=error.hint)
