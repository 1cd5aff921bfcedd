"""Settings that admins change, on a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from oddaemon.app.load_settings import load
from oddaemon.app.setting_specs import check_together, fixed_settings, setting_specs
from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.errors import InvalidArgument, NotFound, Pinned, StoreError, Unsupported
from oddaemon.domain.types import UserId
from oddaemon.domain.user import Principal, Proof, Role
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.runtime_settings import RuntimeSettings
from oddaemon.store.migrate import open_store
from tests.unit.app.support import table

ADMIN = Principal(user_id=UserId(uuid4()), username="admin", role=Role.ADMIN, proof=Proof.LOCAL)
ENVIRON = {"OD_LIMITS_PER_NODE_CONCURRENT": "4", "DATABASE_URL": "postgresql://u:hunter2@h/d"}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "store.db")
    yield opened
    await opened.close()


async def make(store: Store, environ: Mapping[str, str] = ENVIRON) -> RuntimeSettings:
    loaded = load(environ=environ, table=table())
    made = RuntimeSettings(
        store, SystemClock(), setting_specs(loaded), fixed_settings(loaded), check=check_together
    )
    await made.load()
    return made


async def test_what_is_set_takes_effect_at_once_and_survives_a_restart(store: Store) -> None:
    runtime = await make(store)
    told: list[frozenset[str]] = []
    runtime.on_change(told.append)
    (view,) = await runtime.set(ADMIN, {"limits.link_expiry": "90m"})
    assert (view.key, view.value, view.source, view.type) == ("limits.link_expiry", 5400.0, "stored", "duration")
    assert view.default == 3600
    assert runtime.value("limits.link_expiry") == 5400.0
    assert told == [frozenset({"limits.link_expiry"})]
    assert (await make(store)).value("limits.link_expiry") == 5400.0


async def test_unset_goes_back_to_the_default(store: Store) -> None:
    runtime = await make(store)
    await runtime.set(ADMIN, {"limits.retries": "3", "limits.lru_enabled": "true"})
    (view,) = await runtime.unset(ADMIN, ["limits.retries"], dry_run=True)
    assert (view.value, view.source, runtime.value("limits.retries")) == (8, "default", 3)
    (view,) = await runtime.unset(ADMIN, ["limits.retries"])
    assert (view.value, view.source) == (8, "default")
    assert runtime.stored() == {"limits.lru_enabled": True}
    await runtime.unset(ADMIN, ["limits.retries"])
    assert (await make(store)).value("limits.retries") == 8


async def test_a_dry_run_changes_nothing(store: Store) -> None:
    runtime = await make(store)
    (view,) = await runtime.set(ADMIN, {"limits.retries": "3"}, dry_run=True)
    assert view.value == 3
    assert runtime.value("limits.retries") == 8
    assert (await make(store)).stored() == {}


async def test_all_or_none_and_every_mistake_is_named(store: Store) -> None:
    runtime = await make(store)
    with pytest.raises(InvalidArgument) as caught:
        await runtime.set(ADMIN, {"limits.retries": "-1", "limits.link_expiry": "soon", "limits.lru_enabled": "true"})
    assert "limits.retries" in caught.value.message
    assert "limits.link_expiry" in caught.value.message
    assert caught.value.field == "limits.retries"
    assert runtime.stored() == {}


async def test_values_have_to_fit_each_other(store: Store) -> None:
    def at_most_the_nodes(values: Mapping[str, Any]) -> None:
        if values["limits.per_user_concurrent"] > values["limits.per_node_concurrent"]:
            raise ValueError("a user cannot have more than the node")

    loaded = load(environ={}, table=table())
    runtime = RuntimeSettings(store, SystemClock(), setting_specs(loaded), {}, check=at_most_the_nodes)
    with pytest.raises(InvalidArgument, match="more than the node"):
        await runtime.set(ADMIN, {"limits.per_user_concurrent": "12"})
    await runtime.set(ADMIN, {"limits.per_user_concurrent": "12", "limits.per_node_concurrent": "20"})
    with pytest.raises(InvalidArgument, match="more than the node"):
        await runtime.unset(ADMIN, ["limits.per_node_concurrent"])
    assert runtime.value("limits.per_node_concurrent") == 20


async def test_what_is_fixed_elsewhere_is_refused_with_the_place(store: Store) -> None:
    runtime = await make(store)
    assert runtime.value("limits.per_node_concurrent") == 4
    with pytest.raises(Pinned, match="OD_LIMITS_PER_NODE_CONCURRENT"):
        await runtime.set(ADMIN, {"limits.per_node_concurrent": "9"})
    with pytest.raises(Pinned):
        await runtime.unset(ADMIN, ["limits.per_node_concurrent"])
    (view,) = await runtime.list(ADMIN, ["limits.per_node_concurrent"])
    assert (view.value, view.source, view.editable) == (4, "env", False)


async def test_what_needs_a_restart_is_not_for_the_store(store: Store) -> None:
    runtime = await make(store)
    with pytest.raises(Unsupported, match=r"server\.port"):
        await runtime.set(ADMIN, {"server.port": "9"})
    (view,) = await runtime.list(ADMIN, ["server.port"])
    assert (view.restart_required, view.editable) == (True, False)


async def test_unknown_keys_name_the_nearest(store: Store) -> None:
    runtime = await make(store)
    with pytest.raises(NotFound) as caught:
        await runtime.set(ADMIN, {"limits.retrys": "9"})
    assert caught.value.hint == "did you mean limits.retries?"
    with pytest.raises(NotFound):
        await runtime.list(ADMIN, ["nothing"])
    with pytest.raises(NotFound) as caught:
        await runtime.set(ADMIN, {"limits.nope": "9"})
    assert "did you mean" not in caught.value.hint
    with pytest.raises(NotFound):
        await runtime.unset(ADMIN, ["nothing"])


async def test_lists_by_section_and_masks_secrets(store: Store) -> None:
    runtime = await make(store)
    assert {view.key for view in await runtime.list(ADMIN, ["logging"])} == {
        "logging.level", "logging.format", "logging.file",
    }  # fmt: skip
    views = {view.key: view for view in await runtime.list(ADMIN)}
    assert views["database.url"].value == "***"
    assert "hunter2" not in repr(views)
    assert all(view.description for view in views.values() if not view.key.startswith("engines."))


async def test_stored_values_that_are_not_valid_any_more_are_passed_over(store: Store) -> None:
    def work(tx: Transaction) -> None:
        for key, value in {"limits.retries": "many", "limits.gone": 3, "server.port": 9, "events.keep": 60}.items():
            tx.settings.put(key, value, datetime.now(UTC))

    await store.write(work)
    runtime = await make(store)
    assert runtime.value("limits.retries") == 8
    assert runtime.stored() == {"events.keep": 60}


async def test_a_reload_tells_what_changed(store: Store) -> None:
    runtime = await make(store)
    told: list[frozenset[str]] = []
    runtime.on_change(told.append)
    fresh = load(environ={"OD_LIMITS_RETRIES": "2", "OD_SERVER_PORT": "9"}, table=table())
    changed = runtime.refix(fixed_settings(fresh))
    assert changed == {"limits.retries", "limits.per_node_concurrent", "server.port", "database.url"}
    assert told == [frozenset({"limits.retries", "limits.per_node_concurrent"})]
    assert runtime.value("limits.per_node_concurrent") == 10


async def test_a_listener_that_fails_keeps_nobody_from_being_told(store: Store) -> None:
    runtime = await make(store)
    told: list[frozenset[str]] = []

    def broken(_: frozenset[str]) -> None:
        raise RuntimeError("boom")

    runtime.on_change(broken)
    runtime.on_change(told.append)
    await runtime.set(ADMIN, {"limits.retries": "1"})
    assert len(told) == 1
    await runtime.set(ADMIN, {"limits.retries": "1"})
    assert len(told) == 1  # nothing changed: nobody is told


async def test_a_store_that_refuses_leaves_everything_as_it_was(store: Store) -> None:
    runtime = await make(store)

    async def failing(_: Any) -> Any:
        raise StoreError("the disk that holds the store is full")

    store.write = failing  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreError):
        await runtime.set(ADMIN, {"limits.retries": "1"})
    assert runtime.value("limits.retries") == 8


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("scheduler.adapter", "psychic"), ("logging.level", "loud"), ("auth.registration_enabled", "perhaps"),
        ("limits.per_user_concurrent", "0"), ("limits.per_user_concurrent", "9" * 5000), ("limits.min_disk_free", "-1"),
        ("limits.link_expiry", "0"), ("events.keep", "x" * 100_000),
    ],
)  # fmt: skip
async def test_values_out_of_range(store: Store, key: str, text: str) -> None:
    with pytest.raises(InvalidArgument):
        await (await make(store)).set(ADMIN, {key: text})
