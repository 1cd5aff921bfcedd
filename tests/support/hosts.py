"""Hosts of their own on one machine: network namespaces on a bridge, whose lines can be cut, half cut, or made bad.

Needs root and iproute2; where a machine cannot, the same hosts are addresses of the loopback behind relays (`lan` says
which it is). What is lost is dropped by nftables: not every kernel has netem.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from tests.support.forked import ROOT
from tests.support.tcp_relay import TcpRelay, tcp_relay

_counted = itertools.count()


class Host(Protocol):
    """One machine with one daemon. All but `address` is how the others see it."""

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> str:
        """At which the others and the test reach it; what its daemons bind."""

    async def way_to(self, other: Host, port: int) -> str:
        """host:port by which this one reaches a port of the other."""

    async def start(
        self, *arguments: str, environment: Mapping[str, str], output: IO[bytes]
    ) -> asyncio.subprocess.Process:
        """`python arguments` on this host."""

    async def cut(self) -> None:
        """Nothing passes in either direction, and nobody is told."""

    async def deafen(self) -> None:
        """It hears nothing; what it says arrives."""

    async def silence(self) -> None:
        """What it says arrives nowhere; it hears."""

    async def spoil(self, lost: int = 5) -> None:
        """Of a hundred packets so many are lost, and it is slow: 8 Mbit/s with queues."""

    async def mend(self) -> None:
        """As new."""


class Lan(Protocol):
    @property
    def what(self) -> str:
        """What the hosts are made of, for whoever reads what a test printed."""

    async def host(self, name: str) -> Host: ...

    @property
    def here(self) -> str:
        """The address at which the hosts reach the test itself."""


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )  # fmt: skip
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {said.decode(errors='replace').strip()}")


async def _python(
    before: Sequence[str], arguments: Sequence[str], environment: Mapping[str, str], output: IO[bytes]
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *before, sys.executable, "-P", *arguments, env=dict(environment), cwd=ROOT, stdin=asyncio.subprocess.DEVNULL,
        stdout=output, stderr=output,
    )  # fmt: skip


@dataclass(slots=True)
class NamespaceHost:
    """Meets Host."""

    name: str
    address: str
    namespace: str
    line: str
    """The other end of its line, on the bridge's side."""

    async def way_to(self, other: Host, port: int) -> str:
        return f"{other.address}:{port}"

    async def start(
        self, *arguments: str, environment: Mapping[str, str], output: IO[bytes]
    ) -> asyncio.subprocess.Process:
        # it becomes the program: its process is the program's own
        return await _python(("ip", "netns", "exec", self.namespace), arguments, environment, output)

    async def _inside(self, *command: str) -> None:
        await _run("ip", "netns", "exec", self.namespace, *command)

    async def _drop(self, *rules: str) -> None:
        await self.mend()
        await self._inside("nft", "add table inet faults")
        for hook in ("input", "output"):
            await self._inside(
                "nft", f"add chain inet faults {hook} {{ type filter hook {hook} priority 0; policy accept; }}"
            )
        for rule in rules:
            await self._inside("nft", f"add rule inet faults {rule}")

    async def cut(self) -> None:
        await self._drop("input iif != lo drop", "output oif != lo drop")

    async def deafen(self) -> None:
        await self._drop("input iif != lo drop")

    async def silence(self) -> None:
        await self._drop("output oif != lo drop")

    async def spoil(self, lost: int = 5) -> None:
        some = f"numgen random mod 100 < {lost} drop"
        await self._drop(f"input iif != lo {some}", f"output oif != lo {some}")
        await _run(
            "tc", "qdisc", "add", "dev", self.line, "root", "tbf", "rate", "8mbit", "burst", "32kbit", "latency",
            "300ms",
        )  # fmt: skip

    async def mend(self) -> None:
        with contextlib.suppress(RuntimeError):
            await self._inside("nft", "delete table inet faults")
        with contextlib.suppress(RuntimeError):
            await _run("tc", "qdisc", "del", "dev", self.line, "root")


@dataclass(slots=True)
class NamespaceLan:
    """Meets Lan."""

    bridge: str
    network: str
    """The first three numbers of its addresses."""
    hosts: list[NamespaceHost] = field(default_factory=list)
    what: str = "network namespaces"

    @property
    def here(self) -> str:
        return f"{self.network}.1"

    async def begin(self) -> None:
        await _run("ip", "link", "add", self.bridge, "type", "bridge")
        await _run("ip", "address", "add", f"{self.here}/24", "dev", self.bridge)
        await _run("ip", "link", "set", self.bridge, "up")

    async def host(self, name: str) -> NamespaceHost:
        number = len(self.hosts) + 2
        found = NamespaceHost(
            name, f"{self.network}.{number}", f"{self.bridge}-{number}", f"{self.bridge}v{number}"
        )  # fmt: skip
        self.hosts.append(found)
        inside = ("ip", "-n", found.namespace)
        await _run("ip", "netns", "add", found.namespace)
        await _run("ip", "link", "add", found.line, "type", "veth", "peer", "name", "eth0", "netns", found.namespace)
        await _run("ip", "link", "set", found.line, "master", self.bridge, "up")
        await _run(*inside, "link", "set", "lo", "up")
        await _run(*inside, "address", "add", f"{found.address}/24", "dev", "eth0")
        await _run(*inside, "link", "set", "eth0", "up")
        return found

    async def end(self) -> None:
        """Nothing of it stays."""
        for host in self.hosts:
            for command in (("link", "del", host.line), ("netns", "del", host.namespace)):
                with contextlib.suppress(RuntimeError):
                    await _run("ip", *command)
        with contextlib.suppress(RuntimeError):
            await _run("ip", "link", "del", self.bridge)


@dataclass(slots=True)
class LoopbackHost:
    """Meets Host. Only what it dials through `way_to` can be cut."""

    name: str
    address: str
    stack: contextlib.AsyncExitStack
    relays: list[TcpRelay] = field(default_factory=list)

    async def way_to(self, other: Host, port: int) -> str:
        relay = await self.stack.enter_async_context(tcp_relay(port, host=other.address))
        self.relays.append(relay)
        return f"127.0.0.1:{relay.port}"

    async def start(
        self, *arguments: str, environment: Mapping[str, str], output: IO[bytes]
    ) -> asyncio.subprocess.Process:
        return await _python((), arguments, environment, output)

    async def cut(self) -> None:
        for relay in self.relays:
            relay.freeze()

    async def deafen(self) -> None:
        for relay in self.relays:
            relay.freeze("down")

    async def silence(self) -> None:
        for relay in self.relays:
            relay.freeze("up")

    async def spoil(self, lost: int = 5) -> None:
        # a stream loses nothing: what a lost packet costs is time
        for relay in self.relays:
            relay.slow = 0.02 * lost

    async def mend(self) -> None:
        for relay in self.relays:
            relay.slow = 0.0
            relay.thaw()


@dataclass(slots=True)
class LoopbackLan:
    """Meets Lan."""

    stack: contextlib.AsyncExitStack
    count: int = 0
    here: str = "127.0.0.1"
    what: str = "addresses of the loopback behind relays (no network namespaces here)"

    async def host(self, name: str) -> LoopbackHost:
        self.count += 1
        return LoopbackHost(name, f"127.0.0.{10 + self.count}", self.stack)


def can_have_namespaces() -> bool:
    """Whether this machine lets us make hosts: it is tried, not guessed."""
    if os.geteuid() != 0 or not all(shutil.which(program) for program in ("ip", "nft", "tc")):
        return False
    name = f"odtry{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if tried.returncode:
        return False
    checks = (
        ["ip", "netns", "exec", name, "nft", "add table inet faults"],
        ["ip", "-n", name, "link", "add", "od0", "type", "veth", "peer", "name", "od1"],
        ["ip", "-n", name, "link", "add", "odb", "type", "bridge"],
    )
    able = all(subprocess.run(check, capture_output=True, check=False).returncode == 0 for check in checks)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return able


@contextlib.asynccontextmanager
async def lan(folder: Path) -> AsyncIterator[Lan]:
    """Hosts for one test. What they are made of is written to `folder/lan.txt` and printed."""
    if await asyncio.to_thread(can_have_namespaces):
        number = os.getpid() * 8 + next(_counted) % 8
        made = NamespaceLan(f"od{number % 1_000_000}", f"10.{200 + number % 50}.{number // 50 % 250}")
        _say(folder, made.what)
        try:
            await made.begin()
            yield made
        finally:
            await made.end()
        return
    async with contextlib.AsyncExitStack() as stack:
        plain = LoopbackLan(stack)
        _say(folder, plain.what)
        yield plain


def _say(folder: Path, what: str) -> None:
    (folder / "lan.txt").write_text(what)
    print(f"hosts: {what}")
