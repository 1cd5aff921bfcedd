"""Talks to aria2c: aria2p's blocking client, on one thread of its own, with a deadline on every question.

aria2p opens a connection for each call; a session that keeps it open halves the cost (ADR 0006).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import requests
from aria2p import Client, ClientException

from oddaemon.domain.errors import EngineUnavailable
from oddaemon.domain.types import Seconds

DEADLINE = Seconds(10)
"""For one call. A torrent of the largest size takes half a second."""
_CONNECT = Seconds(2)
_ANSWER_LIMIT = 100_000
"""How many downloads one list may hold."""

STATUS_KEYS = [
    "gid", "status", "totalLength", "completedLength", "downloadSpeed", "uploadSpeed", "numSeeders", "connections",
    "seeder", "errorCode", "errorMessage", "verifiedLength", "verifyIntegrityPending",
]  # fmt: skip

Row = Mapping[str, Any]
"""One download as aria2 describes it: every value is text."""


class RpcRefused(Exception):
    """aria2 answered that it will not do this; the text is aria2's."""


class _SessionClient(Client):
    """aria2p's client over one kept connection. Neither proxies nor netrc of the environment apply to the loopback."""

    def __init__(self, port: int, secret: str) -> None:
        super().__init__(host="http://127.0.0.1", port=port, secret=secret, timeout=DEADLINE)
        self._session = requests.Session()
        self._session.trust_env = False

    def post(self, payload: str) -> dict[str, Any]:
        response = self._session.post(
            self.server, data=payload.encode(), timeout=(_CONNECT, self.timeout), allow_redirects=False
        )
        answer = json.loads(response.content)
        if not isinstance(answer, dict):
            raise TypeError("aria2 answered something that is no object")
        return answer

    def close(self) -> None:
        self._session.close()


class Rpc:
    """The calls that the engine makes. Each raises EngineUnavailable when aria2 does not answer in time, RpcRefused
    when it answers with an error. Cancelling a call abandons the answer, not the call."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._client: _SessionClient | None = None

    def connect(self, port: int, secret: str) -> None:
        """From now on, talks to the aria2c at this port."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aria2-rpc")
        old, self._client = self._client, _SessionClient(port, secret)
        if old is not None:
            self._thread.submit(old.close)

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        client, self._client = self._client, None
        if thread is not None:
            if client is not None:
                thread.submit(client.close)
            # a call that hangs is bounded by DEADLINE; nobody waits for it here
            thread.shutdown(wait=False)

    async def version(self, *, timeout: Seconds = DEADLINE) -> str:
        answer = await self._call(Client.GET_VERSION, timeout=timeout)
        return str(answer["version"])

    async def add_uri(self, uri: str, options: Mapping[str, object]) -> None:
        await self._call(Client.ADD_URI, [uri], dict(options))

    async def add_torrent(self, torrent: str, options: Mapping[str, object]) -> None:
        """`torrent` in base64."""
        await self._call(Client.ADD_TORRENT, torrent, [], dict(options))

    async def unpause(self, gid: str) -> None:
        await self._call(Client.UNPAUSE, gid)

    async def change_option(self, gid: str, options: Mapping[str, object]) -> None:
        await self._call(Client.CHANGE_OPTION, gid, dict(options))

    async def status(self, gid: str) -> Row | None:
        """None: aria2 does not know it."""
        try:
            answer = await self._call(Client.TELL_STATUS, gid, STATUS_KEYS)
        except RpcRefused:
            return None
        return dict(answer)

    async def files(self, gid: str) -> Sequence[Row]:
        return list(await self._call(Client.GET_FILES, gid))

    async def peers(self, gid: str) -> Sequence[Row]:
        return list(await self._call(Client.GET_PEERS, gid))

    async def force_remove(self, gid: str) -> None:
        await self._call(Client.FORCE_REMOVE, gid)

    async def remove_result(self, gid: str) -> None:
        await self._call(Client.REMOVE_DOWNLOAD_RESULT, gid)

    async def snapshot(self, files_of: Sequence[str]) -> tuple[dict[str, Row], dict[str, Sequence[Row]]]:
        """Every download that aria2 knows, by gid, and the files of those in `files_of`: one question."""
        calls: list[tuple[str, list[Any]]] = [
            (Client.TELL_ACTIVE, [STATUS_KEYS]),
            (Client.TELL_WAITING, [0, _ANSWER_LIMIT, STATUS_KEYS]),
            (Client.TELL_STOPPED, [0, _ANSWER_LIMIT, STATUS_KEYS]),
            *((Client.GET_FILES, [gid]) for gid in files_of),
        ]
        answers = await self._run(lambda client: client.multicall2(calls), DEADLINE)
        # each answer is a list of one, or an error object where that call failed
        lists = [answer[0] if isinstance(answer, list) else [] for answer in answers]
        rows = {row["gid"]: row for some in lists[:3] for row in some}
        return rows, {gid: files for gid, files in zip(files_of, lists[3:], strict=True) if files}

    async def _call(self, method: str, *params: Any, timeout: Seconds = DEADLINE) -> Any:
        return await self._run(lambda client: client.call(method, list(params)), timeout)

    async def _run(self, ask: Callable[[_SessionClient], Any], timeout: Seconds) -> Any:
        thread, client = self._thread, self._client
        if thread is None or client is None:
            raise EngineUnavailable("aria2 is not running")
        loop = asyncio.get_running_loop()
        try:
            # not wait_for, which before Python 3.12 may swallow a cancellation that comes with the answer
            async with asyncio.timeout(timeout):
                return await loop.run_in_executor(thread, partial(ask, client))
        except ClientException as error:
            raise RpcRefused(str(error).removeprefix("Internal JSON-RPC error.").strip()) from error
        except TimeoutError as error:
            raise EngineUnavailable(f"aria2 did not answer within {timeout:g} s") from error
        except (requests.RequestException, ValueError, TypeError, KeyError, IndexError, RuntimeError) as error:
            # RuntimeError: the thread was shut down meanwhile
            raise EngineUnavailable("aria2 does not answer") from error

