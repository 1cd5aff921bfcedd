"""What the core needs from outside, as Protocols. Every docstring is a contract clause that a shipped suite tests."""
