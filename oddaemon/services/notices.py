"""What of a node needs the operator's eye, whoever looks: its controller, or it itself."""

from __future__ import annotations

from collections.abc import Sequence

from oddaemon.domain.node import NodeSnapshot
from oddaemon.services.views import Notice


def node_notices(node: NodeSnapshot) -> Sequence[Notice]:
    missing = Notice(
        code="storage_missing",
        message=f"node {node.name}: the download disk is not mounted (no sentinel file)",
        hint="mount it; nothing is written, evicted or forgotten until then",
    )
    down = [
        Notice(
            code="engine_down",
            message=f"node {node.name}: {health.name} is down: {health.message}",
            hint="odctl doctor",
        )
        for health in node.engines
        if not health.ok
    ]
    return [*([] if node.disk.present else [missing]), *down]
