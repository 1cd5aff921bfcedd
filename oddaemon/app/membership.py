"""What a worker keeps of having joined: who it is, what it shows its controller, and by what it knows that one.

From then on the join token is not needed. A file that is there and cannot be understood is an error: joining anew in
silence would make another node of this one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from oddaemon.app.exit_codes import ExitCode, StartFailed
from oddaemon.app.kept import keep, kept
from oddaemon.domain.node_proof import CREDENTIAL_BYTES
from oddaemon.domain.types import NodeId

NAME = "node.json"
_HEX = re.compile(r"[0-9a-f]{64}")
_TEXTS = ("node_id", "credential", "fingerprint", "endpoint", "token_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    node_id: NodeId
    credential: bytes = field(repr=False)
    fingerprint: str
    """SHA-256 of the controller's certificate, in hex."""
    endpoint: str
    """host:port where the controller was last joined."""
    token_id: str
    """Of the token that was used: one that is shown again, as from an environment that nobody changes, is no wish to
    join once more."""


def read_membership(data_dir: Path) -> Membership | None:
    """None for a worker that never joined. Raises StartFailed for a damaged file, and OSError. Blocks."""
    path = data_dir / NAME
    data = kept(path)
    if data is None:
        return None
    try:
        found = json.loads(data)
        values = {name: found[name] for name in _TEXTS}
        if not all(isinstance(value, str) and value for value in values.values()):
            raise ValueError("something is missing")
        credential = bytes.fromhex(values["credential"])
        if len(credential) != CREDENTIAL_BYTES or not _HEX.fullmatch(values["fingerprint"]):
            raise ValueError("it was cut off")
    except (ValueError, TypeError, KeyError) as error:
        raise StartFailed(
            f"{path} is damaged: this worker does not know any more who it is",
            code=ExitCode.CONFIG,
            hint="bring it back from a backup; else move it away, remove the node on the controller (odctl nodes rm), "
            "and start this worker with a new token",
        ) from error
    return Membership(
        node_id=NodeId(values["node_id"]), credential=credential, fingerprint=values["fingerprint"],
        endpoint=values["endpoint"], token_id=values["token_id"],
    )  # fmt: skip


def write_membership(data_dir: Path, member: Membership) -> None:
    """Durable when it returns. Blocks."""
    values = {
        "node_id": member.node_id, "credential": member.credential.hex(), "fingerprint": member.fingerprint,
        "endpoint": member.endpoint, "token_id": member.token_id,
    }  # fmt: skip
    keep(data_dir / NAME, json.dumps(values, indent=1).encode() + b"\n")
