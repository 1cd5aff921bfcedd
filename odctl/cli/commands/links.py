"""`link` and `play`."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from odctl.cli import playlists
from odctl.cli.app import invocation
from odctl.cli.browser import be_silent, open_urls
from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.output import Column, check_fields
from odctl.cli.params import WithProgram
from odctl.client.errors import OdctlError, UsageError
from odctl.client.models import Link
from odctl.text import clean, moment, parse_duration, size

LINK_FIELDS = tuple(Link.__struct_fields__)
WIDE = (
    Column(title="JOB", show=lambda one: one.job, right=True),
    Column(title="SIZE", show=lambda one: size(one.size), right=True),
    Column(title="EXPIRES", show=lambda one: moment(one.expires_at)),
    Column(title="NODE", show=lambda one: one.node),
    Column(title="PATH", show=lambda one: one.path),
    Column(title="URL", show=lambda one: one.url),
)
PLAYERS = ("mpv", "vlc", "ffplay")
CLASSES = {"play": WithProgram}


ViaOpt = Annotated[
    str, typer.Option("--via", metavar="HOW", help="How the bytes come: auto or direct, from the links' address.")
]


def check_via(how: str) -> None:
    """Raises UsageError, and OdctlError for a way that this connection has not."""
    if how == "tunnel":
        raise OdctlError(
            "--via tunnel needs a daemon that is reached over ssh, and this one is reached by a Unix socket",
            code="UNSUPPORTED", exit_code=ExitCode.REFUSED, hint="leave --via out",
        )  # fmt: skip
    if how not in ("auto", "direct"):
        raise UsageError(f"--via: '{clean(how)}' is none of auto, direct, tunnel")


def link(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="128, a UUID, a hash or @last.")],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE", help="Numbers, globs or paths; default: all ready.")
    ] = None,
    ttl: Annotated[str, typer.Option("--ttl", metavar="DURATION", help="How long it lives, as in 6h.")] = "",
    max_uses: Annotated[
        int | None, typer.Option("--max-uses", metavar="N", help="So many downloads of each; going on is free.")
    ] = None,
    bind: Annotated[
        str, typer.Option("--bind", metavar="ADDRESS", help="Works from this address or network alone.")
    ] = "",
    m3u: Annotated[bool, typer.Option("--m3u", help="A playlist with the links.")] = False,
    zip: Annotated[bool, typer.Option("--zip", help="One link to a ZIP of everything; FILE names a folder.")] = False,
    inline: Annotated[bool, typer.Option("--inline", help="Shown by browsers instead of saved.")] = False,
    copy: Annotated[bool, typer.Option("--copy", help="Also into the terminal's clipboard (OSC 52).")] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Also open it in the desktop's program.")] = False,
    qr: Annotated[bool, typer.Option("--qr", help="Also as a QR code, on stderr.")] = False,
) -> None:
    """Signed links that expire, one a line.

    Examples:  odctl link 128 '*.mkv' --ttl 6h    odctl link @last --m3u > list.m3u
    """
    run = invocation(ctx)
    check_fields(run.output.fields, LINK_FIELDS)
    _check_form(files or (), m3u=m3u, zip=zip)
    if max_uses is not None and max_uses < 1:
        raise UsageError("--max-uses has to be at least 1")
    seconds = parse_duration(ttl, "--ttl") if ttl else 0.0
    if ttl and seconds <= 0:
        raise UsageError("--ttl has to be more than zero")
    kind, folder = ("zip", (files or [""])[0]) if zip else ("file", "")
    found = run.call(
        lambda client: client.files.links(
            job, () if zip else files or (), ttl_s=seconds, inline=inline, kind=kind, folder=folder,
            max_uses=max_uses or 0, address=bind,
        )
    )  # fmt: skip
    if not found:
        raise OdctlError(
            "no file is ready", code="NOT_READY", exit_code=ExitCode.REFUSED, hint=f"see: odctl files {clean(job)}"
        )
    _print(run, found, m3u)
    if copy:
        _copy(run, "\n".join(item.url for item in found))
    if qr:
        _qr(run, found)
    if open_it:
        open_urls([item.url for item in found])


def _check_form(files: Sequence[str], *, m3u: bool, zip: bool) -> None:
    """Raises UsageError for forms that do not go together."""
    if m3u and zip:
        raise UsageError("--m3u and --zip exclude each other")
    if zip and len(files) > 1:
        raise UsageError("--zip takes one folder")


def _print(run: Invocation, found: list[Link], m3u: bool) -> None:
    output = run.output
    if m3u and not output.is_json:
        output.out.write(playlist(found))
    elif output.structured or output.quiet or output.format == "wide":
        output.records(found, WIDE, known=LINK_FIELDS, ids="url")
    else:
        for item in found:
            output.line(item.url)


def playlist(found: list[Link]) -> str:
    """Extended M3U; UTF-8."""
    lines = ["#EXTM3U"]
    for item in found:
        lines += [f"#EXTINF:-1,{clean(item.path.rsplit('/', 1)[-1])}", item.url]
    return "\n".join(lines) + "\n"


def _copy(run: Invocation, text: str) -> None:
    """OSC 52: works through ssh. Goes to the terminal itself, stdout being data."""
    sequence = b"\x1b]52;c;" + base64.b64encode(text.encode()) + b"\x07"
    try:
        with open("/dev/tty", "wb") as terminal:
            terminal.write(sequence)
    except OSError:
        run.output.note("odctl: there is no terminal to copy to")


def _qr(run: Invocation, found: list[Link]) -> None:
    import segno

    # half blocks where there are such characters, else colours alone
    blocks = (getattr(run.output.err, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"
    for item in found:
        segno.make(item.url, error="l").terminal(out=run.output.err, compact=blocks)


def play(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="128, a UUID, a hash or @last.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="A number, glob or path; default: all ready.")] = "",
    arguments: Annotated[list[str] | None, typer.Argument(metavar="-- ARGS", help="For the player.")] = None,
    player: Annotated[str, typer.Option("--player", metavar="PROGRAM", help="Default: mpv, vlc or ffplay.")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Leave the player running and return.")] = False,
    via: ViaOpt = "auto",
) -> None:
    """Play files in mpv, vlc or ffplay. The links reach the player in a private playlist.

    Examples:  odctl play 128    odctl play 128 '*.mkv' -- --fullscreen
    """
    run = invocation(ctx)
    check_via(via)
    program = _player(player)
    found = run.call(lambda client: client.files.links(job, [file] if file else (), inline=True))
    found = [item for item in found if _playable(item)] or found
    if not found:
        raise OdctlError("no file is ready", code="NOT_READY", exit_code=ExitCode.REFUSED, hint="see: odctl files")
    held, path = playlists.make(playlist(found))
    command = [program, *_needed(program), *(arguments or []), path]
    if detach:
        pid, name = _detached(command, path, held), os.path.basename(program)
        if run.output.structured:
            run.output.value({"player": name, "pid": pid, "urls": [item.url for item in found]})
        else:
            run.output.note(f"{clean(name)} plays (pid {pid})")
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        # a window that is closed must not leave the list of links behind
        signal.signal(number, signal.default_int_handler)
    try:
        # what the player says is no data of ours
        code = subprocess.run(command, check=False, stdout=sys.stderr, pass_fds=(held,)).returncode
    finally:
        os.unlink(path)
    if code:
        raise OdctlError(f"{clean(os.path.basename(program))} ended with exit {code}", code="PLAYER_FAILED")


def _detached(command: Sequence[str], playlist: str, held: int) -> int:
    """Starts a program that outlives us, and removes the playlist when it ends. Its number."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading) as told:
            pid = told.read()
        if not pid:
            raise OdctlError(f"cannot start {clean(command[0])}", code="IO")
        return int(pid)
    # from here on a process of its own, which only waits for the player
    try:
        os.setsid()
        be_silent()
        with subprocess.Popen(command, pass_fds=(held,)) as child:
            os.write(writing, str(child.pid).encode())
            os.close(writing)
            child.wait()
    finally:
        os.unlink(playlist)
        os._exit(0)


def _player(asked: str) -> str:
    for name in [asked] if asked else PLAYERS:
        program = shutil.which(name)
        if program:
            return program
    named = clean(asked) if asked else ", ".join(PLAYERS)
    raise OdctlError(
        f"no player was found: {named}", code="UNSUPPORTED", exit_code=ExitCode.REFUSED, hint="name one with --player"
    )


def _needed(program: str) -> list[str]:
    """What a player needs to take a playlist with https links in it."""
    if os.path.basename(program) == "ffplay":
        return ["-protocol_whitelist", "file,http,https,tcp,tls,crypto"]
    return []


def _playable(item: Link) -> bool:
    return (item.content_type or "").startswith(("video/", "audio/"))
