"""Vocabulary and rules. Standard library only; no asyncio, no files, no clock."""
