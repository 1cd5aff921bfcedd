"""The OpenAPI 3.1 document, from the routes alone: no service and no daemon is needed to write it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from oddaemon.api.rest.models import IfMatch, Meta, Model, Problem
from oddaemon.api.rest.routes import JSON, PUBLIC, Route, Shape
from oddaemon.domain.user import Role, Scope
from oddaemon.wire.errors import TABLE

Json = dict[str, Any]

_REF = "#/components/schemas/{model}"
_NULL: Json = {"type": "null"}
_EVERYWHERE = {
    400: "The request is not what HTTP allows: a line that is too long, for one.",
    403: "Another host or origin than those that may ask, or a scope that the key lacks.",
    500: "A bug. `message` has the request's id, by which the log names it.",
    503: "The daemon is shutting down, or a part of it does not work at the moment.",
}
_OF_A_CALLER = {
    401: "Who is calling is not known.",
    429: "A limit is reached; `Retry-After` says for how long, where that is known.",
}
_OF_A_BODY = {
    400: "The request is not what HTTP allows, or its body not what its type does.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is of a type that is not taken here.",
}
_OF_A_CHANGE = {412: "It is not, or no longer, what `If-Match` names: nothing was changed."}
_OF_VALUES = {422: "A value is wrong; `field` names it, `details.errors` every one."}


def document(routes: Sequence[Route], version: str) -> Json:
    """Raises ValueError for two routes of one name."""
    names = [route.name for route in routes]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"handlers of one name: {', '.join(sorted(twice))}")
    refs, schemas = _schemas(routes)
    paths: dict[str, Json] = {}
    for route in sorted(routes, key=lambda route: (route.path, route.method)):
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OpenDebrid",
            "version": version,
            "description": "Every answer has the same envelope: `success`, `data`, `error`, `meta`. Send an access "
            "token or an API key as `Authorization: Bearer`, or an API key as `X-API-Key`. Additions to this API do "
            "not change its version: pass over fields that you do not know.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http", "scheme": "bearer", "description": "An access token (`/auth/login`) or an API key."
                },
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
            },
        },
    }  # fmt: skip


Refs = Mapping[str, Json]
"""What stands for a body or an answer, by the name that `_schemas` gave it."""


def _schemas(routes: Sequence[Route]) -> tuple[Refs, dict[str, Json]]:
    """References, and what they refer to. Models of paths and queries are written out with their routes."""
    wanted: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        ("problem", "serialization", TypeAdapter(Problem)), ("meta", "serialization", TypeAdapter(Meta))
    ]  # fmt: skip
    for route in routes:
        wanted += [(f"{route.name} {kind}", "validation", TypeAdapter(model)) for kind, model in route.bodies.items()]
        if route.data is not None:
            wanted.append((route.name, "serialization", TypeAdapter(route.data)))
    refs, definitions = TypeAdapter.json_schemas(wanted, ref_template=_REF)
    found = {name: schema for (name, _), schema in refs.items()}
    failure = _envelope(False, _NULL, found["problem"], _NULL)
    return found, dict(sorted({**definitions.get("$defs", {}), "Failure": failure}.items()))


def _operation(route: Route, refs: Refs) -> Json:
    operation: Json = {"operationId": route.name, "tags": [route.tag], "summary": route.summary}
    if route.description:
        operation["description"] = route.description
    if route.needs is not PUBLIC:
        scopes = [str(Scope.ADMIN if isinstance(route.needs, Role) else route.needs)]
        operation["security"] = [{"bearer": scopes}, {"apiKey": scopes}]
    else:
        operation["security"] = []
    if isinstance(route.needs, Role):
        operation["description"] = f"{operation.get('description', '')} For admins.".strip()
    parameters = [
        *_parameters(route.path_model, "path"), *_parameters(route.query_model, "query"),
        *_parameters(route.header_model, "header"),
        *(() if route.shown_by is None else _parameters(IfMatch, "header")),
    ]  # fmt: skip
    if parameters:
        operation["parameters"] = parameters
    if route.bodies:
        operation["requestBody"] = {
            "required": not route.body_may_be_left_out,
            "content": {kind: {"schema": refs[f"{route.name} {kind}"]} for kind in route.bodies},
        }
    operation["responses"] = _responses(route, refs)
    return operation


def _parameters(model: type[Model], place: str) -> Iterable[Json]:
    schema = model.model_json_schema(ref_template=_REF)
    definitions = schema.get("$defs", {})
    required = schema.get("required", ())
    for name, own in schema.get("properties", {}).items():
        plain = _written_out(own, definitions)
        parameter: Json = {"name": name, "in": place, "required": place == "path" or name in required}
        if description := plain.pop("description", ""):
            parameter["description"] = description
        plain.pop("title", None)
        yield parameter | {"schema": plain}


def _written_out(schema: Any, definitions: Mapping[str, Json]) -> Any:
    """Without references: what a parameter refers to is in no other place."""
    if isinstance(schema, list):
        return [_written_out(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        found = definitions[str(reference).rpartition("/")[2]]
        return _written_out({**found, **{key: value for key, value in schema.items() if key != "$ref"}}, definitions)
    return {key: _written_out(value, definitions) for key, value in schema.items()}


def _responses(route: Route, refs: Refs) -> Json:
    told: dict[int, str] = dict(_EVERYWHERE)
    if route.needs is not PUBLIC:
        told |= _OF_A_CALLER
    if route.bodies:
        told |= _OF_A_BODY
    if route.shown_by is not None:
        told |= _OF_A_CHANGE
    # an unknown parameter of a query is a mistake on every route
    told |= _OF_VALUES
    for error in route.errors:
        status, words = TABLE[error].http, " ".join((error.__doc__ or "").split())
        told[status] = words if status not in told or words in told[status] else f"{told[status]} {words}"
    problem = {"content": {JSON: {"schema": {"$ref": _REF.format(model="Failure")}}}}
    answers = {str(status): {"description": words} | problem for status, words in told.items()}
    good = {str(status): _success(route, refs, status) for status in (route.status, *route.other_statuses)}
    return dict(sorted({**good, **answers}.items()))


def _success(route: Route, refs: Refs, status: int) -> Json:
    described: Json = {"description": HTTPStatus(status).phrase}
    if route.shape is Shape.EMPTY:
        return described
    if route.shape is Shape.RAW:
        return described | {"content": {route.produces: {"schema": {"type": "string"}}}}
    data, meta = refs[route.name], _NULL
    if route.shape is Shape.PAGE:
        data, meta = {"type": "array", "items": data}, refs["meta"]
    return described | {"content": {JSON: {"schema": _envelope(True, data, _NULL, meta)}}}


def _envelope(success: bool, data: Json, error: Json, meta: Json) -> Json:
    return {
        "type": "object",
        "required": ["success", "data", "error", "meta"],
        "additionalProperties": False,
        "properties": {
            "success": {"type": "boolean", "const": success}, "data": data, "error": error, "meta": meta
        },
    }  # fmt: skip
