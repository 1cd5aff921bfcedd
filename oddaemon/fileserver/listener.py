"""The socket that all file processes accept from."""

from __future__ import annotations

import errno
import os
import socket

from oddaemon.domain.errors import InvalidArgument

_BACKLOG = 1024


def bound(host: str, port: int) -> socket.socket:
    """A listening socket. Raises InvalidArgument."""
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise InvalidArgument(f"{host!r} is not an address of this machine", field="node.file_server_host") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # inherited by accepted sockets on Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise InvalidArgument(
                f"port {port} on {host} is taken by another program", field="node.file_server_port",
                hint="set node.file_server_port to a free port (0: any)",
            ) from error  # fmt: skip
        raise InvalidArgument(
            f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}", field="node.file_server_port"
        ) from error
    return listener
