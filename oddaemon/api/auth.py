"""Credential → Principal, on the control socket: the bearer of what was sent with the call, else who has the uid."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, replace
from typing import Protocol

from oddaemon.domain.credentials import Prefix
from oddaemon.domain.errors import Unauthenticated
from oddaemon.domain.user import Principal

API_KEY_PREFIX = f"{Prefix.API_KEY}_"
_UCRED = struct.Struct("3i")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The process at the other end, as it was when it connected."""

    uid: int
    pid: int


def peer_of(connection: socket.socket) -> Peer:
    """unix(7), SO_PEERCRED."""
    pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(uid=uid, pid=pid)


class Accounts(Protocol):
    """Proof → principal. The first three raise Unauthenticated for what proves nothing, `by_uid` also NotAllowed."""

    async def by_api_key(self, secret: str) -> Principal: ...

    async def by_access_token(self, token: str) -> Principal: ...

    async def by_uid(self, uid: int) -> Principal: ...

    async def ended(self, who: Principal) -> None:
        """Returns when what was proved does not hold any more."""


async def principal(accounts: Accounts, peer: Peer, authorization: str | None) -> Principal:
    """`authorization`: as in HTTP (RFC 6750 section 2.1). Raises Unauthenticated for what proves nothing, NotAllowed
    for a uid that may not use the daemon."""
    if authorization is None:
        return await accounts.by_uid(peer.uid)
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("authorization is not of the scheme Bearer")
    if token.startswith(API_KEY_PREFIX):
        return await accounts.by_api_key(token)
    # streams here last as long as the session, which odctl refreshes beside them
    return replace(await accounts.by_access_token(token), until=None)
