"""Reads an add as a face received it into a job to store: every mistake is found here, before anything is stored."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from oddaemon.domain.admission import NodeWish
from oddaemon.domain.cache import CacheKey, EntryFile, hash_key, url_key
from oddaemon.domain.errors import (
    InvalidArgument,
    InvalidOption,
    InvalidSelection,
    InvalidSource,
    NodeUnavailable,
    OpenDebridError,
    Unsupported,
)
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.files import content_type_of, display_name, display_path
from oddaemon.domain.job import Hold, Job
from oddaemon.domain.node import NodeSnapshot
from oddaemon.domain.selection import NONE, normalise, select
from oddaemon.domain.source import Source, SourceKind, parse_source, source_of_torrent
from oddaemon.domain.torrent import TorrentInfo, parse_torrent
from oddaemon.domain.types import Bytes, BytesPerSecond, EngineName, JobNumber, NodeId
from oddaemon.domain.user import Principal
from oddaemon.domain.words import choices
from oddaemon.ports.engine import OptionSpec
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Material
from oddaemon.services import ids
from oddaemon.services.entry_files import distinct_paths
from oddaemon.services.materials import URL_PASSWORD, URL_USER
from oddaemon.services.views import AddOrder

T = TypeVar("T")
ARIA2 = EngineName("aria2")
YTDLP = EngineName("ytdlp")
MAX_TAGS = 50
MAX_LABELS, MAX_LABEL = 100, 500
LARGE_TORRENT = 1 << 15
"""Bytes from which a torrent is read in a thread."""
MAX_PRIORITY = 1000
CHECKSUM_LENGTHS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
_TAG = re.compile(r"[^\s,=\x00-\x1f\x7f]{1,64}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An add that was understood. `job` still lacks its number and times. `key` is set where it follows from the source
    alone."""

    job: Job
    source: Source
    material: Material | None
    key: CacheKey | None
    name: str | None
    size: Bytes | None
    files: Sequence[EntryFile]
    force: bool


def entry_files(info: TorrentInfo) -> list[EntryFile]:
    """What a torrent says of its files, for people; where they lie on disk is the engine's to say."""
    files = [
        EntryFile(
            index=file.index,
            path=display_path(file.path),
            disk_path="",
            size=file.size,
            content_type=content_type_of(display_path(file.path)),
        )
        for file in info.files
    ]
    return distinct_paths(files)


async def opened(torrent: bytes) -> tuple[TorrentInfo, list[EntryFile]]:
    """What a torrent holds, and its files. A large one may have a hundred thousand, and is read beside the loop. Raises
    InvalidSource."""

    def look() -> tuple[TorrentInfo, list[EntryFile]]:
        info = parse_torrent(torrent)
        return info, entry_files(info)

    return look() if len(torrent) <= LARGE_TORRENT else await asyncio.to_thread(look)


@dataclass(slots=True)
class OrderReader:
    """`option_specs` are those of every engine that is configured, by engine; `nodes` what is known of each node."""

    node: Callable[[NodeId | None], NodeClient]
    nodes: Callable[[], Collection[NodeSnapshot]]
    option_specs: Callable[[], Mapping[EngineName, Sequence[OptionSpec]]]

    async def read(self, who: Principal, order: AddOrder) -> Order:
        source, info, files = await self.source(order)
        wish = self.engine_wish(order.engine)
        node_wish = NodeId(order.node) if order.node else None
        labels = _labels(order.node_labels)
        where = NodeWish(node_wish, frozenset(labels.items()))
        self.named_node(node_wish, to_admin=who.is_admin)
        engine = wish or certain_engine(source)
        if info is not None or engine == ARIA2:
            self._check_torrent(where, engine or ARIA2, source, info)
        public, secrets = self._options(where, engine, order.options)
        if source.username is not None:
            secrets[URL_USER] = source.username
            secrets[URL_PASSWORD] = source.password or ""
        selection, checksum = _selection(order.files, files), _checksum(order.checksum)
        if checksum is not None and files:
            _of_one_file(len(select(selection, files)))
        private = bool(secrets) or (info is not None and info.private)
        key = key_of(source, engine)
        job = replace(
            _new_job(who, order, source),
            engine=engine,
            engine_wish=wish,
            node_wish=node_wish,
            node_labels=labels,
            selection=selection,
            options=public,
            checksum=checksum,
        )
        material = Material(torrent=order.torrent, secrets=secrets or None) if order.torrent or secrets else None
        return Order(
            job=job,
            source=source,
            material=material,
            key=key.private_to(who.user_id) if key is not None and private else key,
            name=display_name(info.name) if info is not None else None,
            size=info.total if info is not None else None,
            files=files,
            force=order.force,
        )

    def reread(
        self, job: Job, options: Mapping[str, str], node: str, material: Material | None, *, to_admin: bool = False
    ) -> tuple[Job, Material | None]:
        """A retry with other wishes: new options replace those of the same name; secrets among them are kept with the
        job."""
        if node:
            self.named_node(NodeId(node), to_admin=to_admin)
            job = replace(job, node_wish=NodeId(node), node_labels={})
        where = NodeWish(job.node_wish, frozenset(job.node_labels.items()))
        public, secrets = self._options(where, job.engine_wish or job.engine, options)
        job = replace(job, options={**job.options, **public})
        if not secrets:
            return job, None
        return job, Material(torrent=material.torrent if material else None, secrets=secrets)

    async def source(self, order: AddOrder) -> tuple[Source, TorrentInfo | None, Sequence[EntryFile]]:
        """With what its torrent holds, and of which files."""
        if order.torrent is None:
            return parse_source(order.source), None, ()
        info, files = await opened(order.torrent)
        if info.version == "v2":
            raise InvalidSource(
                "this torrent is v2-only, which aria2 does not support",
                hint="use a v1 or hybrid torrent of the same content",
            )
        return source_of_torrent(info), info, files

    def engine_wish(self, name: str) -> EngineName | None:
        if name in ("", "auto"):
            return None
        known = {
            *self.option_specs(), *(found.name for node in self.nodes() for found in node.engines if found.ok),
        }  # fmt: skip
        if name not in known:
            with suppress(Unsupported):
                # one that is configured and could not be built says why
                self.node(None).validate_options(EngineName(name), {})
            hint = choices(name, [*sorted(known), "auto"], "engines here")
            raise InvalidArgument(f"there is no engine {name!r}", field="engine", hint=hint)
        return EngineName(name)

    def named_node(self, wish: NodeId | None, *, to_admin: bool = False) -> NodeClient:
        """Raises InvalidArgument for a node that there is not. Which ones there are is told to admins."""
        try:
            return self.node(wish)
        except NodeUnavailable as error:
            raise InvalidArgument(error.message, field="node", hint=error.hint if to_admin else "") from error

    def _judges(self, where: NodeWish, engine: EngineName) -> list[NodeClient]:
        """The nodes that have the engine, of those that are asked for if there are any; the controller's own last,
        which says what is wrong when nobody has it."""
        have = [node for node in self.nodes() if any(found.name == engine for found in node.engines)]
        have = [node for node in have if where.allows(node)] or ([] if where.node is not None else have)
        judges: list[NodeClient] = []
        for node in sorted(have, key=lambda node: not node.is_controller):
            with suppress(NodeUnavailable):  # one that is just being removed
                judges.append(self.node(node.id))
        return judges or [self.node(where.node if where.node in {node.id for node in self.nodes()} else None)]

    def _judged(self, where: NodeWish, engine: EngineName, judge: Callable[[NodeClient], T]) -> T:
        """What the first node says that takes it. Raises what the first said that was asked."""
        refused: OpenDebridError | None = None
        for node in self._judges(where, engine):
            try:
                return judge(node)
            except OpenDebridError as error:
                # a wrong option says more than a node that is away
                if refused is None or (isinstance(error, InvalidOption) and not isinstance(refused, InvalidOption)):
                    refused = error
        assert refused is not None
        raise refused

    def _check_torrent(self, where: NodeWish, engine: EngineName, source: Source, info: TorrentInfo | None) -> None:
        if source.kind is not SourceKind.URL and engine != ARIA2:
            raise InvalidArgument(
                f"the engine {engine} does not take a {source.kind}", field="engine", hint="leave the engine out"
            )
        if info is None:
            return

        def judge(node: NodeClient) -> None:
            refusal = node.refuses_torrent(engine, info)
            if refusal:
                raise Unsupported(refusal)

        self._judged(where, engine, judge)

    def _options(
        self, where: NodeWish, engine: EngineName | None, options: Mapping[str, str]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """(what may be shown, secrets), in normal form. With the engine still to be found they have to suit one of
        them."""
        if not options:
            return {}, {}
        specs = self.option_specs()
        candidates = [engine] if engine is not None else [name for name in (YTDLP, ARIA2) if name in specs]
        refused: InvalidOption | None = None
        for name in candidates or list(specs):
            try:
                normal = self._judged(where, name, lambda node, name=name: node.validate_options(name, options))  # type: ignore[misc]
            except InvalidOption as error:
                refused = refused or error
                continue
            secret = {spec.name for spec in specs.get(name, ()) if spec.secret}
            return (
                {key: value for key, value in normal.items() if not is_secret(key, secret)},
                {key: value for key, value in normal.items() if is_secret(key, secret)},
            )
        raise refused or InvalidOption("no engine takes options here")


def _labels(asked: Mapping[str, str]) -> Mapping[str, str]:
    """A node that has them may come later: only what none can have is refused."""
    if len(asked) > MAX_LABELS or any(not key or len(key) + len(value) > MAX_LABEL for key, value in asked.items()):
        hint = f"{MAX_LABELS} labels at most, each with a name, of {MAX_LABEL} characters"
        raise InvalidArgument("these are no labels of a node", field="node_labels", hint=hint)
    return dict(asked)


def _new_job(who: Principal, order: AddOrder, source: Source) -> Job:
    """What the order says of it by itself, whatever engines and nodes there are."""
    name = display_name(order.name) if order.name else None
    return Job(
        id=ids.new_job_id(),
        number=JobNumber(0),
        user_id=who.user_id,
        source=source.uri,
        kind=source.kind,
        created_at=_EPOCH,
        updated_at=_EPOCH,
        name=name or (display_name(source.name) if source.name else None),
        renamed=name is not None,
        force=order.force,
        priority=_priority(order.priority),
        tags=tags_of(order.tags),
        max_rate_down=_rate(order.max_rate_down),
        max_rate_up=_rate(order.max_rate_up),
        hold=Hold.USER if order.paused else Hold.NONE,
        reason=Reason(code=ReasonCode.PAUSED, message="paused") if order.paused else None,
    )


def is_secret(option: str, secret: set[str]) -> bool:
    """An option that may be given several times has a number behind a dot: `header.2`."""
    return option in secret or option.partition(".")[0] in secret


def certain_engine(source: Source) -> EngineName | None:
    """The engine where the source alone decides it (product.md section 3.4)."""
    return None if source.kind is SourceKind.URL and source.scheme in ("http", "https") else ARIA2


def key_of(source: Source, engine: EngineName | None) -> CacheKey | None:
    """The key where it follows from the source alone: a torrent, or a URL that goes to aria2."""
    if engine != ARIA2:
        return None
    if source.info_hash is not None:
        return hash_key(ARIA2, source.info_hash)
    return url_key(ARIA2, source.normalised) if source.normalised is not None else None


def _selection(text: str, files: Sequence[EntryFile]) -> str:
    spec = normalise(text)
    if spec == NONE:
        raise InvalidSelection("a download wants at least one file", hint="to choose later, add it with --paused")
    if files and not select(spec, files):
        raise InvalidSelection(f"{text!r} selects no file of this torrent")
    return spec


def _of_one_file(selected: int) -> None:
    if selected != 1:
        raise InvalidArgument(
            f"a checksum is of one file, and {selected} are selected", field="checksum", hint="name the file: --files 1"
        )


def _checksum(text: str) -> str | None:
    if not text:
        return None
    algorithm, _, digest = text.strip().lower().partition("=")
    algorithm = algorithm.replace("-", "")
    length = CHECKSUM_LENGTHS.get(algorithm)
    if length is None:
        raise InvalidArgument(
            f"unknown checksum algorithm {algorithm!r}",
            field="checksum",
            hint=f"write it as algorithm=hex, with one of {', '.join(CHECKSUM_LENGTHS)}",
        )
    if not re.fullmatch(rf"[0-9a-f]{{{length}}}", digest):
        raise InvalidArgument(f"a {algorithm} checksum has {length} hexadecimal digits", field="checksum")
    return f"{algorithm}={digest}"


def _priority(value: int) -> int:
    if not -MAX_PRIORITY <= value <= MAX_PRIORITY:
        raise InvalidArgument(f"a priority is between -{MAX_PRIORITY} and {MAX_PRIORITY}", field="priority")
    return value


def tags_of(tags: Sequence[str]) -> tuple[str, ...]:
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise InvalidArgument(
                f"{tag[:80]!r} cannot be a tag", field="tags", hint="1 to 64 characters without spaces, commas or '='"
            )
    if len(tags) > MAX_TAGS:
        raise InvalidArgument(f"a job has at most {MAX_TAGS} tags", field="tags")
    return tuple(dict.fromkeys(tags))


def _rate(value: int | None) -> BytesPerSecond | None:
    if value is None or value == 0:
        return None
    if value < 0:
        raise InvalidArgument("a speed limit cannot be negative", field="max_rate")
    return BytesPerSecond(value)
