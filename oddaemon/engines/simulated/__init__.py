"""The scripted engine: downloads that go as the job's options say. Exposes PLUGIN."""

from __future__ import annotations

from oddaemon.engines.simulated.plugin import PLUGIN

__all__ = ["PLUGIN"]
