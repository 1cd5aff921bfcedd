"""One run of odctl: the global options, the output, and how a command reaches the daemon.

The protocol's packages are imported only when a command opens a connection.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from odctl.cli.exit_codes import ExitCode
from odctl.cli.output import FORMATS, Output
from odctl.client.endpoints import Choice, choose, find_socket
from odctl.client.errors import OdctlError, Unreachable, UsageError
from odctl.config import Environment
from odctl.text import clean, parse_duration

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient
    from odctl.client.models import Failure, Outcome

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Invocation:
    """What every command gets."""

    output: Output
    host: str | None = None
    context: str | None = None
    timeout: float | None = None
    """Seconds: --timeout."""
    yes: bool = False
    no_input: bool = False
    verbose: int = 0
    debug: bool = False
    failed: list[ExitCode] = field(default_factory=list)

    @property
    def choice(self) -> Choice:
        return choose(self.host, context=self.context)

    @property
    def interactive(self) -> bool:
        """Questions can be asked."""
        return not self.no_input and sys.stdin.isatty() and sys.stderr.isatty()

    def call(
        self,
        work: Callable[[DaemonClient], Awaitable[T]],
        choice: Choice | None = None,
        *,
        deadlines: bool = True,
        anonymous: bool = False,
    ) -> T:
        """Runs `work` with a connected client. `deadlines` False: --timeout means something else to this command.
        `anonymous`: see `client`."""
        choice = choice or self.choice  # a wrong address is told before anything heavy is imported

        async def session() -> T:
            async with self.client(choice, deadlines=deadlines, anonymous=anonymous) as client:
                return await work(client)

        find_socket(choice)  # likewise the missing daemon
        import asyncio

        return asyncio.run(session())

    def client(
        self, choice: Choice | None = None, *, deadlines: bool = True, anonymous: bool = False
    ) -> DaemonClient:
        """Makes its calls with what odctl is logged in with; an anonymous one is nobody yet, see DaemonClient."""
        from odctl.client.credentials import Keyring
        from odctl.client.daemon import DaemonClient

        return DaemonClient(
            choice or self.choice,
            timeout=self.timeout if deadlines else None,
            tell=self._tell if self.verbose else None,
            keyring=Keyring(),
            anonymous=anonymous,
        )

    def _tell(self, text: str) -> None:
        self.output.note(f"odctl: {clean(text)}", always=True)

    def confirm(self, question: str) -> None:
        """Asks on stderr unless -y was given. Raises UsageError where nobody can be asked, Cancelled for a no."""
        if self.yes:
            return
        if not self.interactive:
            raise UsageError(
                f"{question}: this needs a confirmation", hint="add -y (--yes) to go on without a question"
            )
        self._ask(f"{clean(question)}? [y/N] ", ("y", "yes"), lower=True)

    def confirm_name(self, question: str, name: str) -> None:
        """As `confirm`, for what is not done by a slip: the name has to be typed."""
        if not self.yes and self.interactive:
            self._ask(f"{clean(question)}? Type its name to go on: ", (name,))
        elif not self.yes:
            self.confirm(question)

    def _ask(self, prompt: str, right: Sequence[str], *, lower: bool = False) -> None:
        sys.stderr.write(prompt)
        sys.stderr.flush()
        answer = sys.stdin.readline().strip()
        if (answer.lower() if lower else answer) not in right:
            raise OdctlError("nothing was changed", code="CANCELLED", exit_code=ExitCode.FAILURE)

    def report(self, failures: Sequence[tuple[str, Failure]], total: int) -> int:
        """Tells of a batch's failures on stderr; the exit code: 0, that of the failures if all members failed alike,
        else 6. `failures` holds what each was asked as."""
        errors = [as_error(told, name) for name, told in failures]
        codes = {error.exit_code for error in errors}
        self.output.errors(errors)
        if not failures:
            return ExitCode.OK
        return codes.pop() if len(failures) >= total and len(codes) == 1 else ExitCode.PARTIAL

    def report_outcomes(self, outcomes: Sequence[Outcome]) -> int:
        return self.report([(item.id, item.failure) for item in outcomes if item.failure], len(outcomes))


def as_error(told: Failure, name: str = "") -> OdctlError:
    from odctl.client.errors import exit_of

    details: dict[str, Any] = {**told.details, **({"id": name} if name else {})}
    return OdctlError(
        told.message or told.code.lower().replace("_", " "),
        code=told.code,
        exit_code=exit_of(told.code),
        hint=told.hint,
        details=details,
    )


def build(
    *,
    host: str | None = None,
    context: str | None = None,
    json: bool = False,
    output: str | None = None,
    fields: str | None = None,
    quiet: bool = False,
    no_color: bool = False,
    color: str | None = None,
    timeout: str | None = None,
    yes: bool = False,
    no_input: bool = False,
    verbose: int = 0,
    debug: bool = False,
) -> Invocation:
    """The run's context from the global options. Raises UsageError."""
    own = Environment.read()
    chosen = "json" if json and output not in ("jsonl",) else output or own.output or "table"
    if chosen not in FORMATS:
        where = "--output" if output else "ODCTL_OUTPUT"
        raise UsageError(f"{where}: '{clean(chosen)}' is not an output format", hint="formats: " + ", ".join(FORMATS))
    if color not in (None, "auto", "always", "never"):
        raise UsageError(f"--color: '{clean(color)}' is none of auto, always, never")
    names = tuple(name.strip() for name in (fields or "").split(",") if name.strip())
    if fields is not None and not names:
        raise UsageError("--fields: name at least one field")
    return Invocation(
        output=Output(
            format=chosen,
            fields=names,
            quiet=quiet,
            color=_color("never" if no_color else color or "auto"),
            out=sys.stdout,
            err=sys.stderr,
            pager=own.pager,
        ),
        host=host,
        context=context,
        timeout=_timeout(timeout),
        yes=yes,
        no_input=no_input or own.no_input,
        verbose=verbose,
        debug=debug or own.debug,
    )


def _timeout(text: str | None) -> float | None:
    if text is None:
        return None
    seconds = parse_duration(text, "--timeout")
    if seconds <= 0:
        raise UsageError("--timeout has to be more than zero")
    return seconds


def _color(mode: str) -> bool:
    """NO_COLOR (no-color.org), CLICOLOR_FORCE and CLICOLOR (bixense.com/clicolors) count where nothing was said."""
    if mode != "auto":
        return mode == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("CLICOLOR_FORCE", "0") != "0":
        return True
    if os.environ.get("CLICOLOR") == "0":
        return False
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def absent_and_unconfigured(error: OdctlError, choice: Choice) -> bool:
    """Nobody listens, and nobody said where somebody should: a daemon may be started."""
    return isinstance(error, Unreachable) and error.absent and not choice.configured
