"""Walks every route of the table as everybody: nobody, a stranger, the owner, a disabled user, with an expired key,
with one that lacks the scope, and as an admin. A new route is walked without a line here, unless it needs a body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from oddaemon.api.rest.app import ROUTES
from oddaemon.api.rest.routes import PUBLIC, Route
from oddaemon.domain.user import Role, Scope
from tests.integration.test_rest_downloads import add, ended, item
from tests.support.accounts import PASSWORD
from tests.support.rest_house import RestHouse, Visitor, rest_house

CLOSED = [route for route in ROUTES if route.needs is not PUBLIC]
LESSER: Mapping[object, Scope] = {Scope.JOBS: Scope.READ, Scope.ADMIN: Scope.JOBS, Role.ADMIN: Scope.JOBS}
"""For what a route needs, the scope that is not enough. Every key may look."""
OF_A_JOB = re.compile(r"/downloads/\{id\}|/jobs/\{id\}|/links/\{id\}")
LAST = ("delete", "remove", "revoke", "end_", "password", "logout", "regenerate", "rotate")
"""In the names of handlers after which the caller or the job is not what it was."""


def bodies(job: str) -> Mapping[str, Any]:
    """By the handler's name; all others take an empty one, or none."""
    ids = {"ids": [job]}
    return {
        "add_download": item(), "add_to_engine": item(), "add_downloads": {"items": [item()]},
        "change_download": {"name": "x"}, "select_files": {"selection": "1"},
        **dict.fromkeys(
            ("pause_downloads", "resume_downloads", "cancel_downloads", "retry_downloads", "delete_downloads"), ids
        ),
        "set_downloads": {**ids, "changes": {"name": "x"}}, "get_info": {"source": "http://origin.example/x"},
        "check_availability": {"sources": ["f" * 40]},
        "change_password": {"old": PASSWORD, "new": "another horse"},
        "create_key": {"name": "walked", "scopes": ["read"]}, "add_user": {"username": "walked"},
        "pin_cache": {"keys": ["none"]}, "copy_cache": {"key": "none", "node": "here"},
        "remove_cache": {"keys": ["none"]}, "clean_up": {"dry_run": True},
        "change_setting": {"value": 8},
    }  # fmt: skip


class Walk:
    """The requests: of every route one that is right, about things of the owner's."""

    def __init__(self, job: str, link: str) -> None:
        self._bodies = bodies(job)
        self._things = {
            "/files/links/{id}": f"/files/links/{link}", "/admin/nodes/{id}": "/admin/nodes/here",
            "{token}": "0123456789ab",
            "{engine}": "simulated", "{id}": job, "{user}": "owner", "{key}": "test",
            "{session}": "none", "{invitation}": "none",
        }  # fmt: skip

    def path(self, route: Route) -> str:
        path = route.path.removeprefix("/api/v1")
        if route.path.endswith("/settings/{key}"):
            return path.replace("{key}", "limits.retries")
        for hole, thing in self._things.items():
            path = path.replace(hole, thing)
        return f"{path}?job={self._things['{id}']}" if route.name == "revoke_links" else path

    async def ask(self, who: Visitor, route: Route) -> tuple[int, str]:
        """The status and the problem's code."""
        method = "HEAD" if route.produces == "text/event-stream" else route.method
        body = self._bodies.get(route.name, {}) if route.bodies else None
        response, answer = await who.call(method, self.path(route), json=body)
        return response.status, answer["error"]["code"] if answer and answer.get("error") else ""


async def walked(house: RestHouse) -> tuple[Walk, Visitor]:
    owner = await house.user("owner")
    job = await ended(owner, await add(owner))
    [link] = await owner.data("POST", f"/files/jobs/{job['id']}/link", status=201)
    return Walk(str(job["id"]), link["id"]), owner


async def test_who_may_do_what(tmp_path: Path) -> None:
    async with rest_house(tmp_path) as house:
        walk, owner = await walked(house)
        stranger, gone = await house.user("stranger"), await house.user("gone")
        await house.admin.data("PATCH", "/admin/users/gone", json={"is_active": False})
        clock = house.home.controller.clock
        expiry = clock.now() + timedelta(seconds=0.5)
        expired = house.with_key("owner", await house.key_of("owner", expires_at=expiry, title="short"))
        keys = {
            (name, scope): house.with_key(name, await house.key_of(name, [scope], title=f"only {scope}"))
            for name in ("owner", "admin") for scope in (Scope.READ, Scope.JOBS)
        }  # fmt: skip
        before = await owner.data("GET", walk.path(next(route for route in CLOSED if route.name == "get_download")))
        while clock.now() < expiry:
            await clock.sleep(timedelta(seconds=0.1).total_seconds())  # type: ignore[arg-type]
        for route in CLOSED:
            for who in (house.nobody, gone, expired):
                # a HEAD has no body
                code = "" if "events" in route.path else "UNAUTHENTICATED"
                assert await walk.ask(who, route) == (401, code), route.name
            if (lesser := LESSER.get(route.needs)) is not None:
                for name in ("owner", "admin"):
                    assert await walk.ask(keys[name, lesser], route) == (403, "NOT_ALLOWED"), route.name
            if route.needs is Role.ADMIN:
                for who in (owner, stranger):
                    assert await walk.ask(who, route) == (403, "NOT_ALLOWED"), route.name
            elif OF_A_JOB.search(route.path):
                assert await walk.ask(stranger, route) == (404, "NOT_FOUND"), route.name
        assert await owner.data("GET", f"/downloads/{before['id']}") == before
        assert len(await house.admin.data("GET", "/admin/users")) == 4


async def test_owners_and_admins_get_what_is_theirs(tmp_path: Path) -> None:
    async with rest_house(tmp_path) as house:
        walk, owner = await walked(house)
        ordered = sorted(CLOSED, key=lambda route: any(word in route.name for word in LAST))
        for who in (owner, house.admin):
            for route in [route for route in ordered if not any(word in route.name for word in LAST)]:
                status, code = await walk.ask(who, route)
                if who is owner and route.needs is Role.ADMIN:
                    continue
                assert status not in (401, 403, 405, 415, 422, 500), (who.name, route.name, code)
                assert status != 404 or not OF_A_JOB.search(route.path), (who.name, route.name)
        for route in [route for route in ordered if any(word in route.name for word in LAST)]:
            if route.needs is not Role.ADMIN:
                # each begins anew: those before may have ended the key
                fresh = house.with_key("owner", await house.key_of("owner", title=route.name))
                assert (await walk.ask(fresh, route))[0] not in (403, 405, 415, 422, 500), route.name
