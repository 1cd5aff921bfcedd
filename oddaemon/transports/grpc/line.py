"""One node's connection, as it is at the moment."""

from __future__ import annotations

from dataclasses import dataclass

from odproto.gen.opendebrid.node import v1 as pb

from oddaemon.domain.errors import NodeUnavailable
from oddaemon.domain.types import NodeId
from oddaemon.ports.node_registry import Announcement
from oddaemon.rpc.channel import GivenChannel


@dataclass(slots=True)
class Line:
    """Stays while connections come and go."""

    node_id: NodeId
    channel: GivenChannel | None = None
    instance: str = ""
    """Of the node's program that holds the connection."""
    announced: Announcement | None = None
    """What the node said it has, last; kept while it is away."""

    @property
    def connected(self) -> bool:
        return self.channel is not None and self.channel.alive

    def stub(self) -> pb.NodeServiceStub:
        """Raises NodeUnavailable without a connection."""
        if self.channel is None or not self.channel.alive:
            raise NodeUnavailable(f"node {self.node_id} is not connected")
        return pb.NodeServiceStub(self.channel)

    def take(self, channel: GivenChannel, instance: str) -> None:
        """The newest connection wins: calls on an earlier one end with NodeUnavailable."""
        earlier, self.channel, self.instance = self.channel, channel, instance
        if earlier is not None:
            earlier.close()

    def lost(self, channel: GivenChannel) -> bool:
        """Whether that was the connection in use; then there is none."""
        if self.channel is not channel:
            return False
        self.channel = None
        return True

    def close(self) -> None:
        if self.channel is not None:
            self.channel.close()
