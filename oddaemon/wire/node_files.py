"""What a node's file server and its controller tell each other ↔ protobuf. The readers raise InvalidArgument."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from uuid import UUID

from odproto.gen.opendebrid.registry import v1 as pb

from oddaemon.domain.day_left import Allotment, DayLeft
from oddaemon.domain.link import LinkContent, LinkFile, LinkUse
from oddaemon.domain.types import Bytes, LinkId, UserId
from oddaemon.ports.node_files import FilesNews, FilesThere, UsageReport
from oddaemon.wire import node_values as v

FILES_AT_ONCE = 200
TEXT_AT_ONCE = 1 << 20
LINKS_AT_ONCE = 10_000
"""Of one piece of news, and of one report of use."""
MAX_FILES = 100_000
MAX_USES = 2**40
"""Of one link, in one report."""
MAX_PLAYLIST = 64 << 20
_KEY_BYTES = 32
_MAX_KEYS = 16
_MAX_USERS = 100_000
_MAX_EXPIRY = 2.0**40


def files_there_message(told: FilesThere) -> pb.FollowFilesRequest:
    return pb.FollowFilesRequest(
        instance=told.instance, endpoint=told.endpoint, near=told.near, unheard_s=told.unheard
    )  # fmt: skip


def files_there_from(message: pb.FollowFilesRequest) -> FilesThere:
    unheard = v.seconds(message.unheard_s, "unheard_s")
    assert unheard is not None
    return FilesThere(
        instance=v.text(message.instance, "instance"), endpoint=v.endpoint(message.endpoint),
        near=None if message.near is None else _loopback(message.near), unheard=unheard,
    )  # fmt: skip


def _loopback(text: str) -> str:
    host, _, port = v.text(text, "near").rpartition(":")
    try:
        inside = ip_address(host.strip("[]")).is_loopback
    except ValueError:
        inside = False
    if not inside or not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) < 1 << 16:
        raise v.refuse("near", "is no address and port on the loopback")
    return text


def news_message(news: FilesNews) -> pb.FilesNews:
    return pb.FilesNews(
        number=news.number, whole=news.whole, keys=list(news.keys),
        revoked=[pb.RevokedLink(link_id=link.bytes, expires_at=at.timestamp()) for link, at in news.revoked.items()],
        day=None if news.day is None else _day_message(news.day), counted=news.counted, removed=news.removed,
    )  # fmt: skip


def news_from(message: pb.FilesNews) -> FilesNews:
    keys = v.at_most(message.keys, _MAX_KEYS, "keys")
    if any(len(key) != _KEY_BYTES for key in keys):
        raise v.refuse("keys", f"are not of {_KEY_BYTES} bytes")
    revoked = v.at_most(message.revoked, LINKS_AT_ONCE, "revoked")
    return FilesNews(
        number=message.number, whole=message.whole, keys=tuple(keys),
        revoked={v.link_id(one.link_id): _time(one.expires_at) for one in revoked},
        day=None if message.day is None else _day_from(message.day), counted=message.counted,
        removed=message.removed,
    )  # fmt: skip


def _time(value: float) -> datetime:
    if not (math.isfinite(value) and 0 <= value <= _MAX_EXPIRY):
        raise v.refuse("time", "is none")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError) as error:
        raise v.refuse("time", "is none") from error


def _day_message(day: DayLeft) -> pb.DayAllotments:
    users = [
        pb.UserAllotment(user_id=user.bytes, unlimited=True)
        if one is None
        else pb.UserAllotment(user_id=user.bytes, left=one.left, day=one.day)
        for user, one in day.users.items()
    ]
    return pb.DayAllotments(until=day.until.timestamp(), users=users, others=day.others)


def _day_from(message: pb.DayAllotments) -> DayLeft:
    users: dict[UserId, Allotment | None] = {}
    for one in v.at_most(message.users, _MAX_USERS, "users"):
        if len(one.user_id) != 16:
            raise v.refuse("user_id", "has not 16 bytes")
        allotment = None if one.unlimited else Allotment(left=Bytes(one.left), day=v.size(one.day, "day"))
        users[UserId(UUID(bytes=one.user_id))] = allotment
    return DayLeft(until=_time(message.until), users=users, others=v.maybe_size(message.others, "others"))


def content_messages(content: LinkContent) -> Iterator[pb.LinkContentResponse]:
    yield pb.LinkContentResponse(name=v.storable(content.name))
    for start in range(0, len(content.text), TEXT_AT_ONCE):
        yield pb.LinkContentResponse(text=content.text[start : start + TEXT_AT_ONCE])
    for start in range(0, len(content.files), FILES_AT_ONCE):
        files = content.files[start : start + FILES_AT_ONCE]
        yield pb.LinkContentResponse(files=[_file_message(file) for file in files])


def _file_message(file: LinkFile) -> pb.LinkFile:
    return pb.LinkFile(
        path=v.path_bytes(file.path), disk_path=v.path_bytes(file.disk_path), size=file.size,
        content_type=v.storable(file.content_type),
    )  # fmt: skip


def files_from(message: pb.LinkContentResponse) -> Sequence[LinkFile]:
    return [
        LinkFile(
            path=v.origin_path(file.path), disk_path=v.safe_path(file.disk_path), size=v.size(file.size),
            content_type=v.text(file.content_type, "content_type"),
        )
        for file in v.at_most(message.files, MAX_FILES, "files")
    ]  # fmt: skip


def use_message(use: LinkUse) -> pb.UseLinkResponse:
    return pb.UseLinkResponse(use=v.to_enum(pb.LinkUse, use))


def use_from(message: pb.UseLinkResponse) -> LinkUse:
    return v.from_enum(LinkUse, message.use, "use")


def usage_message(report: UsageReport) -> pb.ReportUsageRequest:
    links = [
        pb.LinkUsage(link_id=link.bytes, accesses=accesses, sent=sent)
        for link, (accesses, sent) in report.links.items()
    ]
    return pb.ReportUsageRequest(instance=report.instance, number=report.number, links=links)


def usage_from(message: pb.ReportUsageRequest) -> UsageReport:
    links: Mapping[LinkId, tuple[int, Bytes]] = {
        v.link_id(one.link_id): (_uses(one.accesses), v.size(one.sent, "sent"))
        for one in v.at_most(message.links, LINKS_AT_ONCE, "links")
    }
    return UsageReport(instance=v.text(message.instance, "instance"), number=message.number, links=links)


def _uses(value: int) -> int:
    if not 0 <= value <= MAX_USES:
        raise v.refuse("accesses", "is no number of uses")
    return value
