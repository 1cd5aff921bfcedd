"""What the calls of one connection are made with: sent with each of them, and refreshed in time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from grpclib.client import Channel
from grpclib.events import SendRequest, listen

from odctl.client.channel import failures
from odctl.client.credentials import STORED, Credential, Keyring
from odctl.client.errors import OdctlError
from odctl.client.protocol import wire

UNAUTHENTICATED = "UNAUTHENTICATED"
NEED_NONE = ("/Login", "/Register", "/Refresh")
"""Calls by which one becomes somebody."""
REFRESH_SECONDS = 20.0


class Bearer:
    """Adds the credential to what `channel` sends: that which the keyring has for the endpoint, unless there is none or
    it begins `anonymous`."""

    def __init__(self, channel: Channel, keyring: Keyring | None, endpoint: str, *, anonymous: bool = False) -> None:
        self.credential = None if keyring is None or anonymous else keyring.find(endpoint)
        self._keyring = keyring
        self._endpoint = endpoint
        self._accounts = wire.AccountServiceStub(channel)
        self._refreshing = asyncio.Lock()
        listen(channel, SendRequest, self._authorise)

    async def _authorise(self, event: SendRequest) -> None:
        if self.credential is None or event.method_name.endswith(NEED_NONE):
            return
        if self.credential.near_its_end:
            async with self._refreshing:
                await self._refresh()
        event.metadata["authorization"] = f"Bearer {self.credential.secret}"

    def keep(self, credential: Credential) -> None:
        if self._keyring is not None:
            with self._keyring.alone():
                self._keyring.keep(self._endpoint, credential)
        self.credential = credential

    async def renewed(self, error: OdctlError) -> bool:
        """Whether it is worth to ask again: the access token was refused, and a new one could be had for it. That is so
        when the daemon signs with a new key, or the clock was turned back."""
        if error.code != UNAUTHENTICATED or self.credential is None or not self.credential.refresh_token:
            return False
        async with self._refreshing:
            self.credential = replace(self.credential, refresh_at=datetime.now(UTC))
            await self._refresh()
        return True

    async def _refresh(self) -> None:
        used = self.credential
        if used is None or self._keyring is None or not used.near_its_end:
            return  # another call was here first
        lock = self._keyring.alone()
        await asyncio.to_thread(lock.__enter__)
        try:
            found = self._keyring.stored(self._endpoint)
            if found is None or found.secret != used.secret:
                # another odctl was here first
                self.credential = found or replace(used, refresh_token="")
            else:
                self.credential = await self._next(used)
                self._keyring.keep(self._endpoint, self.credential)
        finally:
            lock.__exit__(None, None, None)

    async def _next(self, used: Credential) -> Credential:
        request = wire.RefreshRequest(refresh_token=used.refresh_token)
        with failures("refresh", REFRESH_SECONDS):
            answer = await self._accounts.refresh(request, timeout=REFRESH_SECONDS)
        return Credential.of_login(used.user, answer.access_token, answer.refresh_token, answer.expires_in_s)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """A credential that the daemon does not take: what to do about it."""
        try:
            yield
        except OdctlError as error:
            if error.code == UNAUTHENTICATED and self.credential is not None:
                _explain(error, self.credential)
            raise


def _explain(error: OdctlError, credential: Credential) -> None:
    if credential.source != STORED:
        error.hint = f"that was the one of {credential.source}: put another there, or unset it"
    elif credential.is_key:
        error.hint = "use another: odctl login --token-file FILE      go on without it: odctl logout"
    else:
        error.message, error.why = f"your login as {credential.user} has ended", error.message
        error.hint = f"log in again: odctl login --user {credential.user}      go on without it: odctl logout"
