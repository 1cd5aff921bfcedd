"""The operator: who runs the daemon is its admin through the control socket, and cannot be locked out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from oddaemon.domain.user import Role, User
from oddaemon.ports.store import Transaction
from oddaemon.services.ids import new_user_id
from oddaemon.services.standing import end_access


def ensure_admin(tx: Transaction, username: str, now: datetime) -> User:
    """The operator's own user, made on first use: an admin who is active and, unless someone gave one a password,
    cannot log in with one. An account of that name that lost its rights, or never had them, has them now; whoever could
    use it before has to log in again."""
    user = tx.users.by_name(username)
    if user is None:
        user = User(id=new_user_id(), username=username, role=Role.ADMIN, created_at=now, updated_at=now)
        tx.users.insert(user)
    elif user.role is not Role.ADMIN or not user.is_active:
        user, _ = end_access(tx, replace(user, role=Role.ADMIN, is_active=True), now)
    return user
