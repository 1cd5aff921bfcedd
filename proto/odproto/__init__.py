"""What the client and the daemon agree on: the protocol's version, addresses, error codes, generated messages."""

API_MAJOR = 1
API_MINOR = 0
NODE_MAJOR = 1
"""Of the protocol of nodes (opendebrid.node.v1, opendebrid.registry.v1). Another major version is refused."""
NODE_MINOR = 1
