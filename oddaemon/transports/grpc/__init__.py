"""A controller and its workers over gRPC, on TLS connections that the workers open (ADR 0019)."""
