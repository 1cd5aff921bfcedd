"""The API's own description: the OpenAPI document, and a page that shows it. The page loads nothing from elsewhere and
runs nothing but its own script."""

from __future__ import annotations

import asyncio
import json
from importlib.resources import files

from aiohttp import web

from oddaemon.api.rest.models import Nothing
from oddaemon.api.rest.openapi import document
from oddaemon.api.rest.routes import ALL_ROUTES, PUBLIC, Call, Routes

route = Routes("reference")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DOCUMENT: web.AppKey[bytes] = web.AppKey("document", bytes)

Get = Call[Nothing, Nothing, Nothing]


@route("GET", "/openapi.json", needs=PUBLIC, summary="This API as an OpenAPI 3.1 document", produces="application/json")
async def get_openapi(call: Get) -> web.Response:
    """The document itself, without an envelope."""
    body = await asyncio.to_thread(_document, call.request.app, call.parts.version)
    return web.Response(body=body, content_type="application/json")


@route("GET", "/docs", needs=PUBLIC, summary="This API as a page", produces="text/html")
async def get_docs(call: Get) -> web.Response:
    """Shows every route and model, and lets one try them with a key."""
    return await _served("index.html", "text/html")


@route("GET", "/docs/page.js", needs=PUBLIC, summary="The page's script", produces="text/javascript")
async def get_docs_script(call: Get) -> web.Response:
    return await _served("page.js", "text/javascript")


@route("GET", "/docs/page.css", needs=PUBLIC, summary="The page's style", produces="text/css")
async def get_docs_style(call: Get) -> web.Response:
    return await _served("page.css", "text/css")


async def _served(name: str, kind: str) -> web.Response:
    text = await asyncio.to_thread((files("oddaemon.api.rest") / "page" / name).read_text, "utf-8")
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return web.Response(text=text, content_type=kind, headers=headers)


def _document(app: web.Application, version: str) -> bytes:
    """Written when it is first asked for."""
    return json.dumps(document(app[ALL_ROUTES], version), ensure_ascii=False).encode()
