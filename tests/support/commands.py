"""A line for every command of odctl, and how it ends without a daemon, with one, and at a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PASSWORD = "correct horse battery"
BOX = "context add box unix:///nonexistent/c.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`{words}` of the line are filled in by the test: see `House` of tests.system.test_every_command."""

    line: str
    code: int = 0
    """With a daemon."""
    alone: int | None = 5
    """Without one, nothing being configured; None: it would start one, which tests of its own look at."""
    at_a_terminal: int | None = None
    """There, if it is another code."""
    json: bool = True
    """It knows --json."""
    lines: bool = False
    """Its JSON is an object a line."""
    stdin: str = ""
    """In a pipe. At a terminal it is `typed`: the option that is named after it is left out there."""
    typed: Sequence[tuple[str, str]] = ()
    """At a terminal: what is typed when this is shown."""
    until: Sequence[str] = ()
    """It goes on for ever: Ctrl-C is typed when one of these is shown."""
    silent: bool = False
    """It says nothing."""
    screen: bool = False
    """It draws on the whole terminal."""
    before: Sequence[str] = ()
    """Lines that are run first, for the same user."""
    ids: bool | None = None
    """It only looks: whether -q prints ids, one a line."""
    in_turn: bool = False
    """It ends the other calls that its user makes at the moment."""
    own: bool = False
    """Ends its daemon: it gets one of its own. In a pipe it is run with --json alone."""


ROWS = (
    Row(line="add {url} --tag table"),
    Row(line="probe {url}", ids=False),
    Row(line="ls", ids=True),
    Row(line="ls -w 5", until=["steer"], lines=True, code=130),
    Row(line="show {done}", ids=True),
    Row(line="top", code=2, alone=2, at_a_terminal=0, screen=True, typed=[("1 Downloads", "q")]),
    Row(line="web --no-open", alone=0, until=["http"]),
    Row(line="watch {slow}", until=["active", "downloading"], lines=True, code=130),
    Row(line="wait {done}", ids=True),
    Row(line="files {done}", ids=True),
    Row(line="select {done} all"),
    Row(line="link {done}", ids=True),
    Row(line="get {done} --into home"),
    Row(line="play {done} --player true", silent=True),
    Row(line="pause {fresh}"),
    Row(line="resume {paused}"),
    Row(line="cancel {fresh}"),
    Row(line="retry {cancelled}"),
    Row(line="rm {fresh}"),
    Row(line="set {queued} priority=high"),
    Row(line="status", ids=False),
    Row(line="events --no-follow", ids=True, lines=True),
    Row(line="logs -n 20", ids=False, lines=True),
    Row(line="nodes ls", ids=True),
    Row(line="nodes show here", ids=True),
    Row(line="nodes drain here"),
    Row(line="nodes undrain here"),
    Row(line="nodes set here label.room=attic"),
    Row(line="nodes rm here", code=9),
    Row(line="nodes token create"),
    Row(line="nodes token ls", ids=True, before=["nodes token create"]),
    Row(line="nodes token revoke {token}"),
    Row(line="context ls", ids=True, alone=0),
    Row(line="context show", ids=True, alone=0),
    Row(line="context use box", code=9, alone=0, before=[BOX]),  # ODCTL_HOST, which tests set, would win
    Row(line="context add box unix:///nonexistent/c.sock", alone=0),
    Row(line="context rm box", alone=0, before=[BOX]),
    Row(line="context rename box chest", alone=0, before=[BOX]),
    Row(line="context test"),
    Row(line="engines ls", ids=True),
    Row(line="engines test aria2", ids=True),
    Row(line="links ls", ids=True),
    Row(line="links rm --job {done}"),
    Row(line="cache ls", ids=True),
    Row(line="cache show {key}", ids=True),
    Row(line="cache rm {spare}"),
    Row(line="cache copy {key} --to here"),
    Row(line="cache pin {key}"),
    Row(line="cache unpin {key}"),
    Row(line="cache cleanup --older 30d -y"),
    Row(line="users ls", ids=True),
    Row(line="users show {user}", ids=True),
    Row(line="users usage", ids=False),
    Row(line="users add {new} --no-password"),
    Row(
        line="users passwd {person} --stdin", stdin=PASSWORD + "\n", typed=[("assword", PASSWORD), ("again", PASSWORD)]
    ),
    Row(line="users role {user} admin"),
    Row(line="users disable {user}"),
    Row(line="users enable {user}"),
    Row(line="users rm {user}", code=2, alone=2, at_a_terminal=0, typed=[("[y/N]", "y")]),
    Row(line="users quota {user} 1G"),
    Row(line="users link {user} --none"),
    Row(line="users sessions", ids=True),
    Row(line="users invitations", ids=True),
    Row(line="users revoke {user}"),
    Row(line="apikey ls", ids=True),
    Row(line="apikey create {new}"),
    Row(line="apikey rotate {apikey}", in_turn=True),
    Row(line="apikey revoke {apikey}", in_turn=True),
    Row(line="settings ls", ids=True),
    Row(line="settings get limits.link_expiry", ids=False),
    Row(line="settings set limits.link_expiry=12h"),
    Row(line="settings unset limits.link_expiry"),
    Row(line="daemon start", alone=None),
    Row(line="daemon stop", alone=0, own=True),
    Row(line="daemon restart", alone=None, own=True),
    Row(line="daemon reload"),
    Row(line="daemon status", ids=False),
    Row(line="daemon run", alone=None, code=69, json=False),
    Row(line="login --user {person} --password-stdin", stdin=PASSWORD + "\n", typed=[("assword", PASSWORD)]),
    Row(line="logout", code=0, alone=0),
    Row(line="whoami", ids=True),
    Row(line="doctor", ids=False, alone=9),
    Row(line="completion bash", alone=0),
    Row(line="version", ids=False, alone=0),
    Row(line="help", alone=0),
    Row(line="__complete pause", alone=0, json=False),
)
