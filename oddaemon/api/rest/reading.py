"""A request's path, query, headers and body → models. What does not fit is told with the names of the fields."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import ValidationError

from oddaemon.api.rest.counting import holds_more
from oddaemon.api.rest.envelope import HttpCode, HttpProblem, HungUp
from oddaemon.api.rest.models import Form, Model, Nothing, Upload
from oddaemon.api.rest.routes import JSON, Route
from oddaemon.domain.errors import InvalidArgument

BODY_SECONDS = 60.0
"""For a body to arrive. One that trickles would hold its connection for ever."""
MAX_TOLD = 20
"""Mistakes of one request that are told."""
MAX_MISTAKES = 1000
"""From more than so many none is told: each that is costs as much as a hundred that are counted."""
MAX_NAME = 80
"""Characters of a name that is not ours, which are told."""
MAX_VALUES = 1 << 16
"""Members and items of a body, on all levels together. No body that the models take has more."""
MAX_PARTS = 1000
"""Of a form."""
LARGE = 1 << 15
"""Bytes from which a body is read in a thread, one at a time: its parsers would keep everybody else waiting. What is
smaller cannot hold so much."""
_PART_BYTES = 200
"""What a part of a form costs beside its data: a form of a million empty parts is large, too."""
_CLOSE = {"Connection": "close"}
_LISTS = (list, tuple, set, frozenset)


def path_of(request: web.Request, model: type[Model]) -> Model:
    if model is Nothing:
        return _NOTHING
    return _checked(model, dict(request.match_info))


def query_of(request: web.Request, model: type[Model]) -> Model:
    """A parameter that is given several times is a list, where the model has one; else it is a mistake."""
    if model is Nothing and not request.query:
        return _NOTHING
    given: dict[str, Any] = {}
    for name in request.query:
        values = request.query.getall(name)
        if _is_list(model, name):
            given[name] = values
        elif len(values) > 1:
            raise InvalidArgument(f"{name}: given {len(values)} times", field=name)
        else:
            given[name] = values[0]
    return _checked(model, given)


def headers_of(request: web.Request, model: type[Model]) -> Model:
    if model is Nothing:
        return _NOTHING
    names = [info.alias or name for name, info in model.model_fields.items()]
    return _checked(model, {name: found for name in names if (found := only_header(request, name)) is not None})


def only_header(request: web.Request, name: str) -> str | None:
    """The header, if it was sent. Raises HttpProblem when it was sent twice: whoever stands between may have taken the
    other one."""
    found = request.headers.getall(name, [])
    if len(found) > 1:
        raise HttpProblem(
            400, HttpCode.MALFORMED, f"{name} was sent {len(found)} times", details={"field": name},
            hint="send it once",
        )  # fmt: skip
    return found[0] if found else None


async def body_of(request: web.Request, route: Route, large: asyncio.Lock) -> Model:
    """JSON is taken strictly: "5" is no number. A route without a body passes over one. `large`: held while a large
    body is read."""
    models, limit = route.bodies, route.max_body
    if not models:
        return _NOTHING
    if route.body_may_be_left_out and not request.can_read_body:
        return models[JSON]()
    given = request.content_type if "Content-Type" in request.headers else ""
    model = models.get(given)
    if model is None:
        types = " or ".join(models)
        raise HttpProblem(
            415, HttpCode.UNSUPPORTED_MEDIA_TYPE, f"the body has to be {types}", hint=f"send Content-Type: {types}"
        )
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        # a few bytes may unpack to any number
        raise HttpProblem(415, HttpCode.UNSUPPORTED_MEDIA_TYPE, "compressed bodies are not taken")
    announced = request.content_length
    if announced is not None and announced > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            if issubclass(model, Form):
                return _checked(model, await _form(request, model, limit))
            data = await _read(request.content.readany, limit)
    except TimeoutError:
        raise HttpProblem(408, HttpCode.TIMEOUT, "the request's body did not arrive in time", headers=_CLOSE) from None
    except OSError as error:
        # of the connection: nothing else is read there
        raise HungUp from error
    except (web.PayloadAccessError, HttpProcessingError, ValueError) as error:
        raise _unreadable() from error
    if len(data) <= LARGE:
        return _from_json(model, data)
    async with large:
        return await asyncio.to_thread(_from_json, model, data)


async def _read(chunks: Callable[[], Awaitable[bytes]], limit: int) -> bytes:
    """Everything, of at most so many bytes."""
    data = bytearray()
    while chunk := await chunks():
        data += chunk
        if len(data) > limit:
            raise _too_large(limit)
    return bytes(data)


async def _form(request: web.Request, model: type[Model], limit: int) -> Mapping[str, Any]:
    given: dict[str, Any] = {}
    room, count = limit, 0
    parts = await request.multipart()
    while part := await parts.next():
        count += 1
        if count > MAX_PARTS:
            raise HttpProblem(413, HttpCode.TOO_LARGE, f"the form has more than {MAX_PARTS} parts", headers=_CLOSE)
        if not isinstance(part, BodyPartReader) or not part.name:
            raise HttpProblem(400, HttpCode.MALFORMED, "the form has a part without a name")
        data = await _read(part.read_chunk, room)
        room -= len(data) + _PART_BYTES
        if room < 0:
            raise _too_large(limit)
        name, value = part.name, Upload(part.filename, data) if part.filename is not None else data.decode()
        if _is_list(model, name):
            given.setdefault(name, []).append(value)
        elif name in given:
            raise InvalidArgument(f"{name}: given more than once", field=name)
        else:
            given[name] = value
    return given


def _from_json(model: type[Model], data: bytes) -> Model:
    if holds_more(data, MAX_VALUES):
        raise HttpProblem(413, HttpCode.TOO_LARGE, f"the request's body holds more than {MAX_VALUES} values")
    _check_names(data)
    try:
        return model.model_validate_json(data, strict=True)
    except ValidationError as error:
        if error.error_count() > MAX_MISTAKES or not _unlike_integers(error):
            raise refused(error) from None
    try:
        # by JSON Schema 5.0 is an integer, too
        text = json.dumps(json.loads(data, parse_float=_whole), ensure_ascii=False)
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise refused(error) from None
    except ValueError as error:
        raise _unreadable() from error


def _unlike_integers(error: ValidationError) -> bool:
    """Whether some number is not the integer that it has to be."""
    return any(item["type"] == "int_type" for item in error.errors(include_url=False, include_input=False))


def _check_names(data: bytes) -> None:
    """Raises InvalidArgument for an object with two members of one name, which every reader takes differently (RFC 8259
    section 4). What is no JSON is told by the model."""

    def once(members: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in members:
            if name in seen:
                raise InvalidArgument(f"{name[:MAX_NAME]}: given more than once", field=name[:MAX_NAME])
            seen.add(name)

    with contextlib.suppress(ValueError, RecursionError):
        # UTF-8 alone (RFC 8259 section 8.1): in another coding of the same bytes there may be more values
        json.loads(data.decode(), object_pairs_hook=once)


def _whole(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


def refused(error: ValidationError) -> InvalidArgument | HttpProblem:
    """What the models say, in our words."""
    if (count := error.error_count()) > MAX_MISTAKES:
        return InvalidArgument(f"there are {count} mistakes, too many to tell", hint="/api/v1/docs shows what it takes")
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if any(item["type"] == "json_invalid" for item in found):
        why = found[0]["msg"].removeprefix("Invalid JSON: ")
        return HttpProblem(400, HttpCode.MALFORMED, f"the body is no JSON: {why}")
    told = [{"field": _place(item["loc"]), "message": _sentence(item["msg"])} for item in found[:MAX_TOLD]]
    first = told[0]
    text = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
    return InvalidArgument(text, field=first["field"], errors=told)


def _checked(model: type[Model], given: Mapping[str, Any]) -> Model:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise refused(error) from None


def _is_list(model: type[Model], name: str) -> bool:
    by_alias = {info.alias or key: info for key, info in model.model_fields.items()}
    return name in by_alias and _holds_list(by_alias[name].annotation)


def _holds_list(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):
        return any(_holds_list(item) for item in get_args(annotation))
    return (get_origin(annotation) or annotation) in _LISTS


def _place(names: Iterable[int | str]) -> str:
    return ".".join(str(name)[:MAX_NAME] for name in names)


def _sentence(message: str) -> str:
    text = message.removeprefix("Value error, ").replace("Input should be", "should be")
    return {"Extra inputs are not permitted": "there is no such field", "Field required": "is missing"}.get(text, text)


def _unreadable() -> HttpProblem:
    return HttpProblem(400, HttpCode.MALFORMED, "the request's body cannot be read")


def _too_large(limit: int) -> HttpProblem:
    return HttpProblem(
        413, HttpCode.TOO_LARGE, f"the request's body is larger than the {limit} bytes allowed here", headers=_CLOSE
    )  # fmt: skip


_NOTHING = Nothing()
