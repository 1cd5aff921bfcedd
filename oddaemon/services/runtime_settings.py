"""Settings that an admin changes while the daemon runs, kept in the store: typed, range-checked, and effective at once.

What a file, the environment or a flag fixes is shown here and not changed here. Precedence: default < stored < fixed.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oddaemon.domain.errors import InvalidArgument, NotFound, Pinned, Unsupported
from oddaemon.domain.user import Principal, require_admin
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.views import SettingView

log = logging.getLogger(__name__)

Listener = Callable[[frozenset[str]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingSpec:
    """One setting. Values are JSON values: sizes in bytes, durations in seconds."""

    key: str
    type: str
    """bool, int, number, size, duration, enum, list or text."""
    default: Any
    description: str
    parse: Callable[[Any], Any]
    """Text as a person writes it, or a stored value → the value. Raises ValueError with one sentence."""
    editable: bool = False
    """Can be changed here, and then takes effect at once; the others need a restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """A value that the file, the environment or a flag gives. `shown` has secrets masked already."""

    shown: Any
    source: str
    place: str = ""
    """File and line, variable or flag."""


@dataclass(slots=True)
class _State:
    stored: dict[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Fixed] = field(default_factory=dict)


class RuntimeSettings:
    """`specs` in the order in which they are listed. `check` sees all editable values together before they are
    stored and raises ValueError when they do not fit each other."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        specs: Sequence[SettingSpec],
        fixed: Mapping[str, Fixed],
        *,
        check: Callable[[Mapping[str, Any]], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._specs = {spec.key: spec for spec in specs}
        self._check = check
        self._state = _State(fixed=fixed)
        self._listeners: list[Listener] = []
        self._writing = asyncio.Lock()

    async def load(self) -> None:
        """Reads the store; before the first `value`. What is stored and not valid any more is passed over."""
        for key, value in (await self._store.read(lambda tx: dict(tx.settings.all()))).items():
            spec = self._specs.get(key)
            if spec is None or not spec.editable:
                continue
            try:
                self._state.stored[key] = spec.parse(value)
            except ValueError as error:
                log.warning(
                    "stored setting ignored",
                    extra={"action": "settings.ignored", "key": key, "reason": str(error)},
                )

    def value(self, key: str) -> Any:
        """The effective value of an editable setting."""
        fixed = self._state.fixed.get(key)
        return fixed.shown if fixed is not None else self._state.stored.get(key, self._specs[key].default)

    def values(self) -> Mapping[str, Any]:
        """The effective values of all editable settings."""
        return {key: self.value(key) for key, spec in self._specs.items() if spec.editable}

    def stored(self) -> Mapping[str, Any]:
        """What the store holds and is valid."""
        return dict(self._state.stored)

    def on_change(self, listener: Listener) -> None:
        """`listener` is called with the keys whose effective value changed, after the commit and before `set`, `unset`
        or `refix` return. It must not wait; one that raises does not keep the others from being told."""
        self._listeners.append(listener)

    def refix(self, fixed: Mapping[str, Fixed]) -> frozenset[str]:
        """After a reload of file and environment: the keys, editable or not, that show another value now."""
        before = {key: self._shown(key) for key in self._specs}
        self._state.fixed = fixed
        changed = frozenset(key for key in self._specs if self._shown(key) != before[key])
        self._tell(frozenset(key for key in changed if self._specs[key].editable))
        return changed

    async def list(self, who: Principal, keys: Collection[str] = ()) -> Sequence[SettingView]:
        """All, or the named ones in the order given. A name that ends in `.` or is a section stands for all below it.
        For admins, as are the others. Raises NotFound."""
        require_admin(who)
        if not keys:
            return [self._view(key) for key in self._specs]
        return [self._view(name) for key in keys for name in self._matching(key)]

    async def one(self, who: Principal, key: str) -> SettingView:
        """Raises NotFound."""
        require_admin(who)
        if key not in self._specs:
            raise self._unknown(key)
        return self._view(key)

    async def set(self, who: Principal, values: Mapping[str, Any], *, dry_run: bool = False) -> Sequence[SettingView]:
        """All or none. Raises NotFound, Unsupported (only the file can set it), Pinned, InvalidArgument."""
        require_admin(who)
        async with self._writing:
            parsed = self._parsed(values)
            return await self._apply({**self._state.stored, **parsed}, list(values), dry_run=dry_run)

    async def unset(self, who: Principal, keys: Collection[str], *, dry_run: bool = False) -> Sequence[SettingView]:
        """Back to the default. Raises NotFound, Unsupported, Pinned. A key that is not stored: no effect."""
        require_admin(who)
        async with self._writing:
            for key in keys:
                self._changeable(key)
            left = {key: value for key, value in self._state.stored.items() if key not in keys}
            return await self._apply(left, list(keys), dry_run=dry_run)

    def _parsed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        parsed: dict[str, Any] = {}
        wrong: dict[str, str] = {}
        for key, text in values.items():
            self._changeable(key)
            try:
                parsed[key] = self._specs[key].parse(text)
            except ValueError as error:
                wrong[key] = str(error)
        if wrong:
            raise InvalidArgument(
                "; ".join(f"{key}: {why}" for key, why in wrong.items()), field=next(iter(wrong)), keys=list(wrong)
            )
        return parsed

    async def _apply(self, stored: dict[str, Any], keys: Sequence[str], *, dry_run: bool) -> Sequence[SettingView]:
        before = self.values()
        wanted = {
            key: self.value(key) if key in self._state.fixed else stored.get(key, self._specs[key].default)
            for key in before
        }
        try:
            self._check(wanted)
        except ValueError as error:
            raise InvalidArgument(str(error), field=keys[0] if keys else "") from error
        if dry_run:
            return [self._view(key, stored) for key in keys]
        now = self._clock.now()

        def work(tx: Transaction) -> None:
            for key in keys:
                if key in stored:
                    tx.settings.put(key, stored[key], now)
                else:
                    tx.settings.delete(key)

        await self._store.write(work)
        self._state.stored = stored
        self._tell(frozenset(key for key in before if self.value(key) != before[key]))
        return [self._view(key) for key in keys]

    def _tell(self, changed: frozenset[str]) -> None:
        if not changed:
            return
        log.info("settings changed", extra={"action": "settings.changed", "keys": sorted(changed)})
        for listener in self._listeners:
            try:
                listener(changed)
            except Exception:
                log.exception("a part did not take over a setting", extra={"action": "settings.listener_failed"})

    def _changeable(self, key: str) -> None:
        spec = self._specs.get(key)
        if spec is None:
            raise self._unknown(key)
        fixed = self._state.fixed.get(key)
        if fixed is not None:
            raise Pinned(
                f"{key} is set by {fixed.place or fixed.source}, which wins over what is stored",
                hint="change it there, or take it out there first",
                key=key,
                source=fixed.source,
            )
        if not spec.editable:
            raise Unsupported(
                f"{key} cannot be changed while the daemon runs",
                hint="set it in the config file or the environment, and restart the daemon",
                key=key,
            )

    def _matching(self, key: str) -> Sequence[str]:
        if key in self._specs:
            return [key]
        below = [name for name in self._specs if name.startswith(key.rstrip(".") + ".")]
        if not below:
            sections = {name.rpartition(".")[0] for name in self._specs}
            raise self._unknown(key, sections)
        return below

    def _unknown(self, key: str, sections: Collection[str] = ()) -> NotFound:
        # nearer than usual: most keys of a section look alike
        close = difflib.get_close_matches(key, [*self._specs, *sections], n=1, cutoff=0.75)
        return NotFound(
            f"there is no setting {key}", hint=f"did you mean {close[0]}?" if close else "odctl settings ls lists them"
        )

    def _shown(self, key: str) -> Any:
        fixed = self._state.fixed.get(key)
        if fixed is not None:
            return fixed.shown
        return self._state.stored.get(key, self._specs[key].default)

    def _view(self, key: str, stored: Mapping[str, Any] | None = None) -> SettingView:
        spec, fixed = self._specs[key], self._state.fixed.get(key)
        held = self._state.stored if stored is None else stored
        source = fixed.source if fixed is not None else "stored" if key in held else "default"
        return SettingView(
            key=key,
            value=fixed.shown if fixed is not None else held.get(key, spec.default),
            default=spec.default,
            source=source,
            type=spec.type,
            description=spec.description,
            restart_required=not spec.editable,
            editable=spec.editable and fixed is None,
        )
