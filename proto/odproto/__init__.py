"""What the client and the daemon agree on: the protocol's version, addresses, error codes, generated messages."""

API_MAJOR = 1
API_MINOR = 0
