"""Users: who there is, what each one may and uses, and who is let in. For admins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from odctl import text as words
from odctl.client.models import User
from odctl.dashboard import accounts
from odctl.dashboard.columns import Cell, Column
from odctl.dashboard.dialogs.confirm import Choose, Confirm
from odctl.dashboard.dialogs.form import Field, Form
from odctl.dashboard.dialogs.once import Once
from odctl.dashboard.glyphs import Glyphs
from odctl.dashboard.listed import Listed
from odctl.dashboard.messages import Query
from odctl.dashboard.panes.listing import facts
from odctl.dashboard.panes.polled import PolledPane, having
from odctl.dashboard.state import State

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

ENDS = "Sessions, API keys and links of this user end."


def _state(user: User, glyphs: Glyphs, width: int) -> Cell:
    return (f"{glyphs.completed} active", "active") if user.active else (f"{glyphs.cancelled} disabled", "failed")


class UsersPane(PolledPane):
    TITLE = "Users"
    LIST = "users"
    FILTER = "words of a name or an address"
    CHANGES = frozenset({"add_user", "role", "enable", "limits", "password", "invite", "remove_user", "revoke"})
    COLUMNS = (
        Column(id="name", title="NAME", width=0, cell=lambda user, g, w: (user.name, "name")),
        Column(
            id="role", title="ROLE", width=6,
            cell=lambda user, g, w: (user.role, "note" if user.role == "admin" else "dim"),
        ),
        Column(id="state", title="STATE", width=10, cell=_state),
        Column(
            id="running", title="RUNNING", width=7, right=True,
            cell=lambda user, g, w: (str(user.jobs_active), "dim"),
        ),
        Column(
            id="quota", title="QUOTA", width=10, right=True,
            cell=lambda user, g, w: (accounts.limit(user.quota_bytes, words.size), "dim"),
        ),
        Column(
            id="seen", title="SEEN", width=16, cell=lambda user, g, w: (words.moment(user.last_seen_at)[:16], "dim")
        ),
        Column(id="unix", title="UNIX", width=10, cell=lambda user, g, w: (user.unix_user or g.dash, "dim")),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "add_user", "New", id="users.new"),
        Binding("I", "invite", "Invite", id="users.invite"),
        Binding("o", "role", "Role", id="users.role"),
        Binding("e", "enable", "Dis/enable", id="users.enable"),
        Binding("t", "limits", "Quota", id="users.quota"),
        Binding("w", "password", "Password", id="users.password"),
        Binding("d", "remove_user", "Remove", id="users.remove"),
        Binding("X", "revoke", "Revoke", id="users.revoke"),
    ]

    async def page(self, client: DaemonClient, query: Query, offset: int, limit: int) -> tuple[Sequence[User], int]:
        found = having(await client.accounts.users(), query.filter, "name", "email")
        return found, len(found)

    async def detail(self, client: DaemonClient, item: User) -> Any:
        """What this user uses."""
        return await client.accounts.usage(item.name)

    def title(self, state: State, listed: Listed) -> str:
        return "Users" if listed.total is None else f"Users ─ {listed.total}"

    def facts(self, state: State, item: User) -> Text:
        return facts(accounts.facts(item, self.detail_of(item)))

    # Keys

    def _form(
        self, title: str, lines: Sequence[str], fields: Sequence[Field],
        work: Callable[[DaemonClient, Mapping[str, str]], Awaitable[str]],
    ) -> None:  # fmt: skip
        """`work` gives what is to be said when it is done."""
        self.dashboard.push_screen(Form(title, lines, fields, work), self._done)

    def _done(self, said: str | None) -> None:
        if said:
            self.dashboard.say(said)
        self.poll.again()

    def _confirmed(
        self, question: str, lines: Sequence[str], yes: str, work: Callable[[DaemonClient], Awaitable[str]]
    ) -> None:
        def answered(agreed: bool | None) -> None:
            if agreed:
                self.dashboard.carry_out(question.rstrip("?"), work, self._done)

        self.dashboard.push_screen(Confirm(question, lines, yes), answered)

    def action_add_user(self) -> None:
        async def add(client: DaemonClient, values: Mapping[str, str]) -> str:
            password = accounts.password(values, empty=True)
            user = await client.accounts.add_user(
                values["name"].strip(), role=values["role"].strip() or "user", email=values["email"].strip(),
                password=password, unix_user=values["unix"].strip(),
            )  # fmt: skip
            return f"{user.name} is there now"

        lines = ["Without a password only API keys get in, or the Unix user without one."]
        self._form("New user", lines, accounts.NEW, add)

    def action_password(self) -> None:
        user: User | None = self.current
        if user is None:
            return

        async def change(client: DaemonClient, values: Mapping[str, str]) -> str:
            _, ended = await client.accounts.set_password(user.name, accounts.password(values, empty=False))
            return f"the password of {user.name} is set{accounts.ended(ended)}"

        self._form(f"Password of {user.name}", [ENDS], accounts.PASSWORD, change)

    def action_limits(self) -> None:
        user: User | None = self.current
        if user is None:
            return

        async def change(client: DaemonClient, values: Mapping[str, str]) -> str:
            changed = await client.accounts.set_limits(user.name, accounts.limits(values))
            return f"{changed.name}: {accounts.limits_told(changed)}"

        lines = ["For each: a value, none, or nothing at all for what the settings say."]
        self._form(f"Quota of {user.name}", lines, accounts.limit_fields(user), change)

    def action_role(self) -> None:
        user: User | None = self.current
        if user is None:
            return
        role = "user" if user.role == "admin" else "admin"

        async def change(client: DaemonClient) -> str:
            _, ended = await client.accounts.set_role(user.name, role)
            return f"{user.name} is {role} now{accounts.ended(ended)}"

        question = f"Make {user.name} an admin?" if role == "admin" else f"Make {user.name} no admin any more?"
        self._confirmed(question, [ENDS], "Do it", change)

    def action_enable(self) -> None:
        user: User | None = self.current
        if user is None:
            return

        async def change(client: DaemonClient) -> str:
            changed, ended = await client.accounts.set_active(user.name, not user.active)
            return f"{user.name} is {'enabled' if changed.active else 'disabled'}{accounts.ended(ended)}"

        if user.active:
            lines = [f"{ENDS} Downloads go on."]
            self._confirmed(f"Lock {user.name} out?", lines, "Lock out", change)
        else:
            self.dashboard.carry_out(f"enable {user.name}", change, self._done)

    def action_revoke(self) -> None:
        user: User | None = self.current
        if user is None:
            return

        async def revoke(client: DaemonClient) -> str:
            ended = await client.accounts.revoke_everything(user.name)
            return f"revoked what {user.name} had{accounts.ended(ended)}"

        lines = [f"{ENDS} So do invitations. The account stays, and so do its downloads."]
        self._confirmed(f"Revoke everything of {user.name}?", lines, "Revoke", revoke)

    def action_remove_user(self) -> None:
        user: User | None = self.current
        if user is None:
            return

        def answered(answer: str | None) -> None:
            async def remove(client: DaemonClient) -> str:
                await client.accounts.remove_user(user.name, keep_jobs=answer == "keep")
                return f"{user.name} is removed"

            if answer is not None:
                self.dashboard.carry_out(f"remove {user.name}", remove, self._done)

        lines = ["With the downloads, files that nobody else needs go, too; else the downloads become yours."]
        choices = (("keep", "Keep downloads"), ("all", "With downloads"))
        self.dashboard.push_screen(Choose(f"Remove {user.name}?", lines, choices), answered)

    def action_invite(self) -> None:
        async def invite(client: DaemonClient, values: Mapping[str, str]) -> tuple[str, Any]:
            ttl = words.parse_duration(values["ttl"], "how long") if values["ttl"].strip() else 0.0
            return await client.accounts.invite(role=values["role"].strip() or "user", ttl_s=ttl)

        def invited(answer: tuple[str, Any] | None) -> None:
            if answer is None:
                return
            token, expires_at = answer
            lines = [
                f"Good once, for whoever has it, until {words.moment(expires_at)}:",
                "odctl login INVITATION --user NAME",
                "It is shown this once, and never again.",
            ]
            self.dashboard.push_screen(Once("Invitation", lines, token))

        lines = ["Who has the invitation makes an account with it, once."]
        self.dashboard.push_screen(Form("Invite somebody", lines, accounts.INVITATION, invite), invited)
