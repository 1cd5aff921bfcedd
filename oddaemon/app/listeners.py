"""Binds the ports of listeners, early: a port that is taken ends the start before anything else has begun."""

from __future__ import annotations

import socket

from oddaemon.app.exit_codes import ExitCode, StartFailed, cannot_listen

BACKLOG = 1024


def listen(host: str, port: int, *, setting: str, variable: str) -> socket.socket:
    """A socket that listens; what connects before it is served waits in its queue. May ask the resolver: call it in a
    thread. Raises StartFailed."""
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        place = setting.rpartition(".")[0] + ".host"
        raise StartFailed(
            f"{host!r} is no address of this machine", code=ExitCode.CONFIG, hint=f"change {place}"
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise cannot_listen(error, host=host, port=port, setting=setting, variable=variable) from error
    return listener


def url_of(listener: socket.socket, *, tls: bool = False) -> str:
    """Where it is reached from this machine."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{port}"
