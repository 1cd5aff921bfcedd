"""Who is calling: passwords, tokens, API keys and uids become principals. Sessions begin, are renewed and end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from secrets import token_bytes

from oddaemon.domain.credentials import (
    ApiKey,
    KeyId,
    Prefix,
    Session,
    SessionId,
    Tokens,
    is_ours,
    new_refresh_token,
    parse_secret,
    same_digest,
)
from oddaemon.domain.errors import AlreadyExists, LoginThrottled, NotAllowed, StoreUnavailable, Unauthenticated
from oddaemon.domain.events import LoggedIn, LoggedOut, LoginFailed, UserCreated
from oddaemon.domain.types import UserId
from oddaemon.domain.user import Principal, Proof, Role, User, is_username
from oddaemon.ports.store import Transaction
from oddaemon.services import access_tokens, ids
from oddaemon.services.account_base import AccountBase, by_name
from oddaemon.services.operator import ensure_admin
from oddaemon.services.throttle import keys_of

OVERFLOW_UID = 65534
"""What a peer of another user namespace looks like: it proves nothing."""
REFRESH_EXPIRY = timedelta(hours=24)
KEY_BYTES = 32


def new_key() -> bytes:
    return token_bytes(KEY_BYTES)


def created(user: User, *, by: str) -> UserCreated:
    return UserCreated(at=user.created_at, user_id=user.id, data={"name": user.username, "role": user.role, "by": by})


@dataclass(kw_only=True)
class Sessions(AccountBase):
    _operator: User | None = None

    # who is calling

    async def by_api_key(self, secret: str) -> Principal:
        """Raises Unauthenticated for a key that is unknown, was revoked, or has expired."""
        parsed = parse_secret(Prefix.API_KEY, secret)
        if parsed is None:
            raise Unauthenticated("this is no API key", hint="one begins with odk_ and is shown once, when it is made")

        def work(tx: Transaction) -> tuple[ApiKey | None, User | None]:
            key = tx.api_keys.get(KeyId(parsed.id))
            return key, None if key is None else tx.users.get(key.user_id)

        key, user = await self.known.look(parsed.id, work)
        right = same_digest(parsed.digest, "" if key is None else key.digest)
        if key is None or user is None or not right or not user.is_active:
            raise Unauthenticated("this API key is not known here, or was revoked")
        now = self.clock.now()
        if key.expires_at is not None and key.expires_at <= now:
            raise Unauthenticated(
                f"this API key expired on {key.expires_at:%Y-%m-%d %H:%M} UTC",
                hint=f"odctl apikey rotate {key.name} --expires 90d",
            )
        self._used[key.id] = now
        return replace(self._principal(user, Proof.API_KEY, credential=key.id), scopes=key.scopes)

    async def by_access_token(self, token: str) -> Principal:
        """Raises Unauthenticated for a token that was not made here, has expired, or whose session has ended."""
        if token.count(".") != 2:
            raise Unauthenticated("this is neither an API key nor an access token", hint="an API key begins with odk_")
        claims = access_tokens.read(await self._signing_key(), token, self.clock.now())
        if claims is None:
            raise Unauthenticated("this access token is not valid, or has expired", hint="refresh it, or log in again")
        session_id = claims.session_id

        def work(tx: Transaction) -> User | None:
            session = tx.sessions.get(session_id)
            return tx.users.get(session.user_id) if session is not None else None

        user = await self.known.look(session_id, work)
        if user is None or user.id != claims.user_id or not user.is_active:
            raise Unauthenticated("this session has ended", hint="log in again")
        who = self._principal(user, Proof.ACCESS_TOKEN, credential=session_id)
        return replace(who, until=claims.expires_at)

    async def by_uid(self, uid: int) -> Principal:
        """Of the process at the other end of the control socket. The daemon's own uid and root act as the operator,
        whatever state that account is in, also while the store is away. Raises Unauthenticated for a uid that proves
        nothing, NotAllowed for one that is linked to no account or to one that is disabled."""
        if uid in (0, self.own_uid):
            return self._principal(await self._operator_account(), Proof.PEER_UID, uid=uid)
        if uid == OVERFLOW_UID:
            raise Unauthenticated(
                "your uid cannot be told from here (another user namespace)",
                hint="log in: odctl login      or run odctl in the same container or namespace as the daemon",
            )
        user = await self.store.read(lambda tx: tx.users.by_uid(uid))
        if user is None and self.policy().unix_autoprovision:
            user = await self._provision(uid)
        if user is None:
            raise NotAllowed(
                f"uid {uid} is linked with no account here, and only uid {self.own_uid} and root need none",
                hint=f"log in: odctl login      or have an admin link you: odctl users link NAME --unix {uid}",
            )
        if not user.is_active:
            raise NotAllowed("your account is disabled", hint="ask an admin")
        return self._principal(user, Proof.PEER_UID, uid=uid)

    async def _operator_account(self) -> User:
        """While the store is away, as it was last: whoever runs the daemon can look for what ails it, and end it."""
        try:
            user = await self.store.read(lambda tx: tx.users.by_name(self.operator))
            if user is None or user.role is not Role.ADMIN or not user.is_active:
                now = self.clock.now()
                user = await self.store.write(lambda tx: ensure_admin(tx, self.operator, now))
        except StoreUnavailable:
            if self._operator is None:
                raise
            return self._operator
        self._operator = user
        return user

    async def _provision(self, uid: int) -> User | None:
        """A new account for a uid, named as the machine names it; never one that is there already."""
        name = await asyncio.to_thread(self.uid_name, uid)
        now = self.clock.now()

        def work(tx: Transaction) -> User:
            found = tx.users.by_uid(uid)
            if found is not None:
                return found
            taken = {user.username.lower() for user in tx.users.all()}
            free = name if name and is_username(name) and name.lower() not in taken else f"uid{uid}"
            user = User(
                id=ids.new_user_id(), username=free, role=Role.USER, created_at=now, updated_at=now, unix_uid=uid
            )
            tx.users.insert(user)
            tx.events.add(created(user, by="unix"))
            return user

        try:
            return await self.store.write(work)
        except AlreadyExists:
            return None

    # sessions

    async def login(self, username: str, password: str, *, address: str) -> Tokens:
        """`address`: of the peer; empty on the control socket. Raises Unauthenticated, the same and as late for an
        unknown user, a wrong password and a disabled account, and LoginThrottled."""
        counted = keys_of(username, address)
        self.throttle.begin(*counted)
        user = await self.store.read(lambda tx: by_name(tx, username))
        try:
            right = await self.passwords.matches(password, None if user is None else user.password)
        except LoginThrottled:
            self.throttle.undo(*counted)
            raise
        now = self.clock.now()
        session_id = ids.new_session_id()
        facts = {"address": address or "socket"}
        refresh = new_refresh_token(await self._signing_key(), session_id)

        def work(tx: Transaction) -> bool:
            found = None if user is None else tx.users.get(user.id)
            if found is None or not right or not found.is_active or found.generation != user.generation:  # type: ignore[union-attr]
                failed = LoginFailed(at=now, user_id=None if found is None else found.id, data=facts)
                tx.events.add(failed)
                return False
            tx.sessions.insert(
                Session(
                    id=session_id, user_id=found.id, digest=refresh.digest, created_at=now,
                    expires_at=now + REFRESH_EXPIRY,
                )
            )  # fmt: skip
            tx.events.add(LoggedIn(at=now, user_id=found.id, data=facts))
            return True

        if not await self.store.write(work) or user is None:
            raise Unauthenticated("wrong user name or password")
        self.throttle.succeeded(*counted)
        self._seen[user.id] = now
        return await self._tokens(user.id, session_id, refresh.written)

    async def refresh(self, refresh_token: str) -> Tokens:
        """New tokens for the newest refresh token of a session; it is good once. An older one says that somebody else
        has it, too: the session ends. Raises Unauthenticated."""
        parsed = parse_secret(Prefix.REFRESH_TOKEN, refresh_token)
        if parsed is None:
            raise Unauthenticated("this is no refresh token", hint="log in again")
        now = self.clock.now()
        session_id = SessionId(parsed.id)
        key = await self._signing_key()
        fresh = new_refresh_token(key, session_id)

        def work(tx: Transaction) -> tuple[UserId | None, tuple[()]]:
            session = tx.sessions.get(session_id)
            if session is None or session.expires_at <= now:
                return None, ()
            if not same_digest(session.digest, parsed.digest):
                if not is_ours(key, parsed):
                    return None, ()  # made up by somebody who knows the session's id
                tx.sessions.delete(session_id)
                tx.events.add(LoggedOut(at=now, user_id=session.user_id, data={"reason": "reuse"}))
                return None, ()
            tx.sessions.renew(session_id, fresh.digest, now + REFRESH_EXPIRY)
            return session.user_id, ()

        user_id = await self._ending(work)
        if user_id is None:
            raise Unauthenticated("this refresh token was used already, or its session has ended", hint="log in again")
        return await self._tokens(user_id, session_id, fresh.written)

    async def logout(self, who: Principal) -> None:
        """Ends the caller's session. A key or a uid has none: nothing happens."""
        if who.proof is not Proof.ACCESS_TOKEN or who.credential is None:
            return
        session_id = SessionId(who.credential)
        now = self.clock.now()

        def work(tx: Transaction) -> tuple[None, tuple[()]]:
            if tx.sessions.delete(session_id):
                tx.events.add(LoggedOut(at=now, user_id=who.user_id, data={"reason": "asked"}))
            return None, ()

        await self._ending(work)

    async def _tokens(self, user_id: UserId, session_id: SessionId, refresh: str) -> Tokens:
        expiry = self.policy().access_expiry
        key = await self._signing_key()
        return Tokens(
            access_token=access_tokens.issue(key, user_id, session_id, self.clock.now(), expiry),
            refresh_token=refresh, expires_in=int(expiry),
        )  # fmt: skip

    async def _signing_key(self) -> bytes:
        """Made on first use, unless the settings say which."""
        if not self._key:
            self._key = self.fixed_key or await self.store.write(
                lambda tx: tx.secrets.get_or_create(access_tokens.SECRET_NAME, new_key)
            )
        return self._key
