"""Typed routes. A handler's annotations say what it reads and what it answers; the decorator adds the rest:

    route = Routes("downloads")

    @route("GET", "/downloads/{id}", needs=Scope.READ, summary="One download", errors=[NotFound])
    async def show(call: Call[JobPath, Nothing, Nothing]) -> Download: ...

From that follow the checks of a request (`endpoint`) and the OpenAPI document (`openapi`): nothing is said twice. A
`Call` is of three models: the path's parameters, the query's and the body's, which may be `AModel | AForm` for a route
that takes either, and may be left out when all of its fields may. `headers` names a model of the request's own headers.
An answer is a model or a list of them, a `Page[Model]`, an `Answer[Model]` (with headers or another status), None
(204), or a `StreamResponse` of the handler's own (a stream, a page): then `produces` names its media type.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from aiohttp import web

from oddaemon.api.rest.models import Form, Model, Nothing, PageQuery
from oddaemon.api.rest.parts import RestParts
from oddaemon.domain.errors import OpenDebridError
from oddaemon.domain.user import Principal, Role, Scope

PathT = TypeVar("PathT", bound=Model)
QueryT = TypeVar("QueryT", bound=Model)
BodyT = TypeVar("BodyT", bound=Model)
T = TypeVar("T")

PREFIX = "/api/v1"
JSON = "application/json"
FORM = "multipart/form-data"
MAX_BODY = 1 << 20
"""Bytes of a request's body, where the route does not say otherwise."""
MAX_PUBLIC_BODY = 16 << 10
"""Of one that anybody may send."""


class Public(Enum):
    """The mark of a route that answers whoever asks. Every other needs a scope."""

    PUBLIC = "public"


PUBLIC = Public.PUBLIC
Needs = Scope | Role | Public
"""What a caller has to have: a scope, or to be an admin who may act as one (`Role.ADMIN`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[PathT, QueryT, BodyT]):
    """One request, checked."""

    parts: RestParts
    path: PathT
    query: QueryT
    body: BodyT
    principal: Principal | None
    address: str
    """The client's, behind trusted proxies too."""
    request_id: str
    request: web.Request
    """For the stream of an answer."""
    headers: Model = Nothing()
    """The request's, as the route's `headers` describes them."""

    @property
    def who(self) -> Principal:
        """Who is calling. A public route has nobody."""
        assert self.principal is not None
        return self.principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """A part of a list."""

    rows: Sequence[T]
    total: int
    query: PageQuery


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[T]):
    """An answer that says more than its data. With an `etag` (without quotes) a GET that names it gets 304."""

    data: T | None = None
    encoded: bytes | None = None
    """Instead of `data`: the same as JSON already."""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str = ""


Handler = Callable[[Call[Any, Any, Any]], Awaitable[Any]]


class Shape(Enum):
    """What kind of answer a route gives."""

    DATA = "data"
    PAGE = "page"
    EMPTY = "empty"
    RAW = "raw"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    method: str
    path: str
    """With the prefix; parameters in braces."""
    name: str
    """The handler's: unique, and the operation's id."""
    tag: str
    summary: str
    description: str
    needs: Needs
    path_model: type[Model]
    query_model: type[Model]
    header_model: type[Model]
    """Its fields have the headers' names as aliases."""
    bodies: Mapping[str, type[Model]]
    """By media type; empty for a route without a body."""
    shape: Shape
    data: Any
    """The type of `data` in the answer; for a page, of one row."""
    status: int
    other_statuses: Sequence[int]
    """Of success, too, with the same data."""
    errors: Sequence[type[OpenDebridError]]
    """Those that a client has to expect of this route, beside those of every route."""
    shown_by: Handler | None
    """The handler that answers, with an ETag, what this one changes: `If-Match` is taken then."""
    max_body: int
    produces: str
    handler: Handler

    @property
    def body_may_be_left_out(self) -> bool:
        model = self.bodies.get(JSON)
        return model is not None and not any(info.is_required() for info in model.model_fields.values())


ALL_ROUTES: web.AppKey[Sequence[Route]] = web.AppKey("routes", Sequence)
"""Where an application keeps its whole table."""


class Routes:
    """The routes of one module, which all have its tag. Iterate over it."""

    def __init__(self, tag: str, *, prefix: str = PREFIX) -> None:
        self._tag = tag
        self._prefix = prefix
        self._all: list[Route] = []

    def __iter__(self) -> Iterator[Route]:
        return iter(self._all)

    def __call__(
        self, method: str, path: str, *, needs: Needs, summary: str, status: int = 0,
        errors: Sequence[type[OpenDebridError]] = (), max_body: int | None = None, produces: str = JSON,
        headers: type[Model] = Nothing, other_statuses: Sequence[int] = (), shown_by: Handler | None = None,
    ) -> Callable[[Callable[[Call[PathT, QueryT, BodyT]], Awaitable[T]]], Callable[[Call[PathT, QueryT, BodyT]], Awaitable[T]]]:  # noqa: E501  # fmt: skip
        """`status`: of success; by default 200, or 204 for an answer without data."""

        def keep(
            handler: Callable[[Call[PathT, QueryT, BodyT]], Awaitable[T]],
        ) -> Callable[[Call[PathT, QueryT, BodyT]], Awaitable[T]]:
            hints = get_type_hints(handler)
            answer = hints.pop("return")
            (call,) = hints.values()
            if get_origin(call) is not Call:
                raise TypeError(f"{handler.__qualname__}: its one argument is a Call[path, query, body]")
            path_model, query_model, body = get_args(call)
            shape, data = _shape(answer)
            most = (MAX_PUBLIC_BODY if needs is PUBLIC else MAX_BODY) if max_body is None else max_body
            self._all.append(
                Route(
                    method=method, path=self._prefix + path, name=handler.__name__, tag=self._tag, summary=summary,
                    description=" ".join((handler.__doc__ or "").split()), needs=needs, path_model=path_model,
                    query_model=query_model, header_model=headers, bodies=_bodies(body), shape=shape, data=data,
                    status=status or (204 if shape is Shape.EMPTY else 200), errors=errors, max_body=most,
                    other_statuses=other_statuses, shown_by=shown_by, produces=produces, handler=handler,
                )
            )  # fmt: skip
            return handler

        return keep


def _bodies(body: Any) -> Mapping[str, type[Model]]:
    models = get_args(body) if get_origin(body) in (Union, UnionType) else (body,)
    return {FORM if issubclass(model, Form) else JSON: model for model in models if model is not Nothing}


def _shape(answer: Any) -> tuple[Shape, Any]:
    if answer is NoneType:
        return Shape.EMPTY, None
    if get_origin(answer) is Page:
        return Shape.PAGE, get_args(answer)[0]
    if get_origin(answer) is Answer:
        return Shape.DATA, get_args(answer)[0]
    if isinstance(answer, type) and issubclass(answer, web.StreamResponse):
        return Shape.RAW, None
    return Shape.DATA, answer
