"""`-w` of lists that no stream tells of: they are asked for again and again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.following import connector, tellers
from odctl.cli.output import CLEAR, dumps
from odctl.client.daemon import DaemonClient
from odctl.client.models import jsonable
from odctl.client.watching import lasting

SECONDS = 0.5
"""Between two looks, where nobody said."""

Record = Mapping[str, Any]


def look_often(
    run: Invocation, ask: Callable[[DaemonClient], Awaitable[Sequence[Record]]],
    draw: Callable[[Sequence[Record]], None], *, what: str, seconds: float = 0, restless: Sequence[str] = (),
) -> int:  # fmt: skip
    """Draws what `ask` brings whenever it changes, until Ctrl-C; with --json a line for each record that changed or
    went, which is called `what`. A change of `restless` fields alone is none. Raises what `ask` raises."""
    output = run.output
    output.pager = ""  # it would wait for its user before the list could change

    def still(record: Record) -> Record:
        return {name: value for name, value in record.items() if name not in restless}

    def tell(before: Mapping[str, Record] | None, now: Mapping[str, Record]) -> None:
        known = before or {}
        if output.is_json:
            for gone in [key for key in known if key not in now]:
                output.line(dumps({"op": "del", what: {"id": gone}}))
            for key, record in now.items():
                if key not in known or still(known[key]) != still(record):
                    output.line(dumps({"op": "set", what: output.narrowed(jsonable(record))}))
        elif before is None or list(map(still, known.values())) != list(map(still, now.values())):
            if output.out.isatty():
                output.out.write(CLEAR)
            draw(list(now.values()))
        output.out.flush()

    async def looks(client: DaemonClient) -> AsyncGenerator[Sequence[Record], None]:
        while True:
            yield await ask(client)
            await asyncio.sleep(seconds or SECONDS)

    async def work() -> None:
        before: Mapping[str, Record] | None = None
        async with contextlib.aclosing(lasting(connector(run), looks, tellers(run)[0])) as answers:
            async for answer in answers:
                now = {record["id"]: record for record in answer}
                tell(before, now)
                before = now

    try:
        asyncio.run(work())
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return ExitCode.OK
