"""The names of grpclib, and of TLS, on which the transport of nodes stands and that nobody promised (ADR 0007, 0019):
a version that lacks one fails here. Those that the control API uses too are held in test_control_socket."""

from __future__ import annotations

import inspect
import ssl
from importlib.metadata import version

from grpclib import client, protocol, server
from grpclib.const import Handler as Route

from oddaemon.transports.grpc.secure import controller_context, worker_context
from tests.support.nodes import TLS


def test_the_names_that_are_used_exist() -> None:
    assert version("grpclib") == "0.4.9"
    made = inspect.getsource(client.Channel)
    for name in ("_protocol", "_create_connection", "_config", "_h2_config", "_connected"):
        assert name in made
    # who gives a channel its connection relies on these
    assert "self._protocol = await self._create_connection()" in made
    assert "not self._protocol.handler.connection_lost" in made
    assert "protocol.processor" in inspect.getsource(client.Stream.send_request)
    assert "create_stream(" in inspect.getsource(client.Stream.send_request)
    assert "get_peer()" in inspect.getsource(server.Stream.__init__)
    assert "mapping.get(method_name)" in inspect.getsource(server.request_handler)
    assert list(inspect.signature(protocol.H2Protocol).parameters) == ["handler", "config", "h2_config"]
    assert Route._fields == ("func", "cardinality", "request_type", "reply_type")


def test_a_connection_s_binding_is_its_own_and_both_ends_see_it() -> None:
    """Python tells the client's Finished of TLS 1.3, too, under its old name."""
    seen = {_bindings() for _ in range(3)}
    assert all(theirs == ours and len(ours) >= 32 for theirs, ours in seen)
    assert len(seen) == 3


def _bindings() -> tuple[bytes, bytes]:
    """Of one connection: the server's, the client's."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    controller = controller_context(str(TLS / "one.pem"), str(TLS / "one.key"))
    there = controller.wrap_bio(to_server, to_client, server_side=True)
    here = worker_context("h2").wrap_bio(to_client, to_server)
    waiting = [here, there]
    for _ in range(10):
        for end in tuple(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
    assert not waiting
    assert here.version() == "TLSv1.3"
    found = there.get_channel_binding("tls-unique"), here.get_channel_binding("tls-unique")
    assert found[0]
    assert found[1]
    return found[0], found[1]
