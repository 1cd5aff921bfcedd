"""Builds the accounts from the settings and from what this machine says of its users, and what each user may."""

from __future__ import annotations

import os
import pwd
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from oddaemon.app.compose_base import Base
from oddaemon.app.settings import Settings
from oddaemon.domain.user import User
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store
from oddaemon.services.account_base import AccountPolicy, Revoke, Wake
from oddaemon.services.accounts import Accounts
from oddaemon.services.passwords import Passwords
from oddaemon.services.quotas import Quotas
from oddaemon.services.request_rate import RequestLimiter
from oddaemon.services.served import DailyServing


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowances:
    """What each user may use, and what is left of it."""

    quotas: Quotas
    daily: DailyServing
    limiter: RequestLimiter

    def changed(self, user: User) -> None:
        """The user's own limits were."""
        self.quotas.note(user)
        self.daily.ring()


async def build_allowances(base: Base) -> Allowances:
    quotas = Quotas(store=base.store, clock=base.clock, limits=base.limits)
    await quotas.load()
    daily = DailyServing(
        store=base.store, clock=base.clock, most=lambda user: quotas.of(user).served_per_day,
        everybody=lambda: base.limits().served_per_day, own=lambda: quotas.own,
    )  # fmt: skip
    base.runtime.on_change(lambda _: daily.ring())
    limiter = RequestLimiter(
        clock=base.clock, most=lambda user: quotas.of(user).requests_per_minute, operators=(0, os.geteuid())
    )
    quotas.requests = limiter.count
    return Allowances(quotas=quotas, daily=daily, limiter=limiter)


def build_accounts(
    settings: Callable[[], Settings], *, store: Store, clock: Clock, revoke: Revoke,
    rekey: Callable[[], Awaitable[None]], wake: Wake, limited: Callable[[User], None], stack: AsyncExitStack,
) -> Accounts:  # fmt: skip
    """`settings`: as they are now; the operator's name and the signing key are those of the start."""
    passwords = Passwords()
    stack.callback(passwords.close)
    started = settings().auth
    return Accounts(
        store=store, clock=clock, policy=lambda: policy_of(settings()), passwords=passwords, revoke=revoke, rekey=rekey,
        wake=wake, limited=limited, operator=started.admin_username, own_uid=os.geteuid(), uid_name=uid_name,
        fixed_key=started.jwt_secret.get_secret_value().encode(),
    )  # fmt: skip


def policy_of(settings: Settings) -> AccountPolicy:
    chosen = settings.auth
    return AccountPolicy(
        access_expiry=chosen.jwt_expiry,
        registration_open=chosen.registration_enabled,
        unix_autoprovision=chosen.unix_autoprovision,
    )


def uid_name(uid: int) -> str | None:
    """What this machine calls a uid."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
