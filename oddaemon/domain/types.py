"""Identifiers and quantities. Each is made once, where data enters, so that units and ids cannot be mixed up."""

from __future__ import annotations

from typing import NewType
from uuid import UUID

JobId = NewType("JobId", UUID)
EntryId = NewType("EntryId", UUID)
ReplicaId = NewType("ReplicaId", UUID)
UserId = NewType("UserId", UUID)
LinkId = NewType("LinkId", UUID)

NodeId = NewType("NodeId", str)
EngineName = NewType("EngineName", str)
JobNumber = NewType("JobNumber", int)
"""The small integer that people type. Unique per installation and never used again."""

Handle = NewType("Handle", str)
"""What an engine needs to find a replica again after a restart: opaque to everyone else, versioned by the engine."""

Bytes = NewType("Bytes", int)
BytesPerSecond = NewType("BytesPerSecond", int)
Seconds = NewType("Seconds", float)
Fraction = NewType("Fraction", float)
"""0.0 to 1.0."""
