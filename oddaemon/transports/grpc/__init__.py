"""A controller and its workers over gRPC, on TLS connections that the workers open (ADR 0019)."""

from oddaemon.transports.grpc.plugin import PLUGIN

__all__ = ["PLUGIN"]
