"""Adds as requests describe them: JSON, or a form with `.torrent` files."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Annotated, Protocol

from pydantic import Field

from oddaemon.api.rest.jobs import download, planned
from oddaemon.api.rest.models import File, Form, Model, Upload
from oddaemon.api.rest.parts import RestParts
from oddaemon.domain.files import display_path
from oddaemon.domain.types import JobId
from oddaemon.domain.user import Principal
from oddaemon.services.batches import MAX_ITEMS
from oddaemon.services.keyed_adds import Answered
from oddaemon.services.views import AddOrder

MAX_ADD = 16 << 20
"""Bytes of a request that may hold torrents."""
MAX_SOURCE = 65_536
MOST = 2**63 - 1

EXAMPLES = ["https://example.org/film.mkv", "magnet:?xt=urn:btih:c12fe1c06bba254a9dc9f519b335aa7c1367a88a"]

Text = Annotated[str, Field(max_length=1000)]
Options = Annotated[dict[str, Annotated[str, Field(max_length=MAX_SOURCE)]], Field(max_length=100)]


class _Wishes(Model):
    """What can be said of an add beside its source."""

    engine: Text = Field(default="", description="Empty or `auto`: the one that suits the source.")
    node: Text = Field(default="", description="Where it has to run.")
    node_labels: dict[str, Text] = Field(default_factory=dict, max_length=100, description="A node that has them all.")
    files: str = Field(default="", max_length=10_000, description="A selection, as in 1-3,*.mkv; empty: every file.")
    options: Options = Field(default_factory=dict, description="Of the engine; `GET /api/v1/engines` lists them.")
    name: Text = ""
    tags: list[Text] = Field(default_factory=list, max_length=100)
    priority: int = Field(default=0, ge=-1000, le=1000)
    paused: bool = Field(default=False, description="It is found out what it is; it starts when it is resumed.")
    force: bool = Field(default=False, description="Fetch it anew, whatever is there.")
    checksum: Text = Field(default="", description="algorithm=hex, which the file has to have.")
    max_rate_down: int | None = Field(default=None, ge=0, le=MOST)
    max_rate_up: int | None = Field(default=None, ge=0, le=MOST)


class AddItem(_Wishes):
    source: str = Field(
        min_length=1,
        max_length=MAX_SOURCE,
        description="A magnet, an info-hash, or an http, https or ftp URL.",
        examples=EXAMPLES,
    )


class AddRequest(AddItem):
    dry_run: bool = Field(default=False, description="Only say what would come of it.")


class AddManyRequest(Model):
    items: list[AddItem] = Field(min_length=1, max_length=MAX_ITEMS)
    dry_run: bool = False


class _FormWishes(Form):
    """As text: a form has no other values. `options` and `node_labels` are left to JSON."""

    engine: Text = ""
    node: Text = ""
    files: str = Field(default="", max_length=10_000, description="A selection; empty: every file.")
    tags: list[Text] = Field(default_factory=list, max_length=100)
    priority: int = Field(default=0, ge=-1000, le=1000)
    paused: bool = False
    force: bool = False
    max_rate_down: int = Field(default=0, ge=0, le=MOST, description="0: no limit.")
    max_rate_up: int = Field(default=0, ge=0, le=MOST, description="0: no limit.")
    dry_run: bool = False


class TorrentForm(_FormWishes):
    torrent: File = Field(description="A .torrent file.")
    name: Text = ""
    checksum: Text = ""


class TorrentsForm(_FormWishes):
    torrent: list[File] = Field(min_length=1, max_length=MAX_ITEMS, description=".torrent files.")


class KeyHeader(Model):
    key: str | None = Field(
        default=None, alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[!-~]+$",
        description="Any text of your own: the same request with the same key is carried out once in a day, and "
        "answered the same.",
    )  # fmt: skip


class Keyed(Protocol):
    """What the rest of a call needs to be carried out once."""

    @property
    def parts(self) -> RestParts: ...
    @property
    def who(self) -> Principal: ...
    @property
    def headers(self) -> Model: ...


async def once(
    call: Keyed, what: str, orders: Sequence[AddOrder], carry_out: Callable[[Sequence[JobId]], Awaitable[Answered]],
    *, dry_run: bool,
) -> bytes:  # fmt: skip
    """What `carry_out` answers, as JSON; with an Idempotency-Key that was used for the same, what it answered then.
    `what` tells the routes apart."""
    assert isinstance(call.headers, KeyHeader)
    key = call.headers.key
    if key is None or dry_run:
        return (await carry_out(())).text.encode()
    digest = hashlib.sha256(what.encode())
    for order in orders:
        # a torrent by its bytes alone: written out they would be four times as long
        digest.update(repr(replace(order, torrent=None)).encode(errors="backslashreplace"))
        digest.update(order.torrent or b"")
    answer = await call.parts.keyed_adds.once(
        call.who, key, digest=digest.hexdigest(), count=len(orders), carry_out=carry_out
    )
    return answer.encode()


async def one_added(call: Keyed, order: AddOrder, *, dry_run: bool) -> bytes:
    """The download, added and shown, as JSON."""

    async def carry_out(ids: Sequence[JobId]) -> Answered:
        view = await call.parts.downloads.add(call.who, order, dry_run=dry_run, id=ids[0] if ids else None)
        return Answered((planned if dry_run else download)(view).model_dump_json())

    return await once(call, "add", [order], carry_out, dry_run=dry_run)


def order_of(item: AddItem, engine: str | None = None) -> AddOrder:
    """`engine`: the route's, which the item cannot change."""
    return AddOrder(
        source=item.source, engine=item.engine if engine is None else engine, node=item.node,
        node_labels=item.node_labels, files=item.files, options=item.options, name=item.name, tags=tuple(item.tags),
        priority=item.priority, paused=item.paused, force=item.force, checksum=item.checksum,
        max_rate_down=item.max_rate_down, max_rate_up=item.max_rate_up,
    )  # fmt: skip


def torrent_order(form: TorrentForm | TorrentsForm, file: Upload, engine: str | None = None) -> AddOrder:
    name, checksum = (form.name, form.checksum) if isinstance(form, TorrentForm) else ("", "")
    return AddOrder(
        torrent=file.data, torrent_name=display_path(file.name) if file.name else "",
        engine=form.engine if engine is None else engine, node=form.node, files=form.files,
        name=name, tags=tuple(form.tags), priority=form.priority, paused=form.paused,
        force=form.force, checksum=checksum, max_rate_down=form.max_rate_down,
        max_rate_up=form.max_rate_up,
    )  # fmt: skip
