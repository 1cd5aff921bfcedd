"""The aria2 engine: magnets, torrents, http(s) and ftp, through one aria2c child."""

from oddaemon.engines.aria2.plugin import PLUGIN

__all__ = ["PLUGIN"]
