"""Tells systemd how the daemon is (sd_notify(3)). Without systemd every call does nothing."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress


class Notifier:
    """Takes the variables out of the environment, so that no child speaks in our name."""

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._address = environ.pop("NOTIFY_SOCKET", "")
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        ours = not pid or pid == str(os.getpid())
        self.watchdog_interval = int(usec) / 2_000_000 if usec.isdecimal() and ours else None
        """Seconds between two calls of `alive` that systemd counts on; None when it does not watch."""

    def ready(self) -> None:
        self._send("READY=1")

    def reloading(self) -> None:
        """One datagram with the monotonic time; `ready` has to follow (systemd.service(5), Type=notify-reload)."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        self._send("STATUS=" + " ".join(text.split()))

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto(message.encode(), address)
