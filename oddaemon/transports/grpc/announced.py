"""How a controller judges options and torrents for a node's engines without asking the node."""

from __future__ import annotations

import re
from collections.abc import Mapping

from oddaemon.domain.errors import EngineUnavailable, NodeUnavailable, Unsupported
from oddaemon.domain.option_reading import Reader, read_options
from oddaemon.domain.torrent import TorrentInfo
from oddaemon.domain.types import EngineName
from oddaemon.ports.engine import OptionSpec
from oddaemon.ports.node_registry import AnnouncedEngine
from oddaemon.ports.node_transport import Judges
from oddaemon.transports.grpc.line import Line

MAX_VALUE = 2000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_TORRENTS = "magnet"


def judged_options(
    line: Line, name: EngineName, options: Mapping[str, str], judges: Judges
) -> Mapping[str, str]:  # fmt: skip
    """The options in normal form. What the node does not know is refused whoever else knows it. Without a judge of its
    own, what can be told from the announced list is told, and the node says the rest when it gets them. Raises
    InvalidOption, EngineUnavailable, Unsupported, NodeUnavailable."""
    engine = _engine(line, name)
    readers = {spec.name: _reader(spec) for spec in engine.options}
    normal = read_options(options, readers, name)
    judge = judges.options.get(name)
    return normal if judge is None else judge(options)


def judged_torrent(line: Line, name: EngineName, torrent: TorrentInfo, judges: Judges) -> str | None:
    """As NodeClient.refuses_torrent. Raises as `judged_options`."""
    engine = _engine(line, name)
    judge = judges.torrents.get(name)
    if judge is not None:
        return judge(torrent, engine.health.version or "")
    if _TORRENTS in engine.health.schemes and torrent.version == "v2":
        return f"a torrent of BitTorrent v2 only, which {name} cannot download"
    return None


def _engine(line: Line, name: EngineName) -> AnnouncedEngine:
    if line.announced is None:
        raise NodeUnavailable(f"node {line.node_id} has not said what it has")
    engines = {engine.name: engine for engine in line.announced.engines}
    engine = engines.get(name)
    if engine is None:
        raise Unsupported(
            f"node {line.node_id} has no engine {name!r}", hint=f"it has: {', '.join(sorted(engines)) or 'none'}"
        )
    if engine.problem:
        raise EngineUnavailable(f"the engine {name} is not available on {line.node_id}: {engine.problem}")
    return engine


def _reader(spec: OptionSpec) -> Reader:
    def read(value: str) -> str:
        if spec.kind == "enum" and value not in spec.choices:
            raise ValueError(f"one of: {', '.join(spec.choices)}")
        if not value or len(value) > MAX_VALUE or _CONTROL.search(value):
            raise ValueError(f"one line of 1 to {MAX_VALUE} characters without control characters")
        return value

    return read
