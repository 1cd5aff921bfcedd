"""The daemon's own command line. Imports what a command needs inside that command: `oddaemon version` is instant."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from oddaemon import __version__
from oddaemon.app.exit_codes import ExitCode, StartFailed, classify

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from oddaemon.app.lifecycle import Compose
    from oddaemon.app.loaded import Loaded

WORKER_GROUPS = ("opendebrid.engines", "opendebrid.storage", "opendebrid.transports")
"""Of plug-ins that a worker uses: the others' sections are for its controller."""

EPILOG = """\
settings: defaults < stored (odctl settings) < config file < environment (OD_…, DATABASE_URL) < flags
config file: --config, else $OD_CONFIG_PATH, else /etc/opendebrid/oddaemon.toml (root) or
             ~/.config/opendebrid/oddaemon.toml
exit codes: 0 ok, 64 usage, 69 already running or port taken, 74 input/output, 77 permissions, 78 settings
"""


class _Parser(argparse.ArgumentParser):
    """argparse ends with 2 for a usage error; a daemon ends with 64 (sysexits)."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the process's exit code."""
    options = _parse(sys.argv[1:] if argv is None else argv)
    try:
        return int(_COMMANDS[options.command](options))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:
        code, message, hint = classify(error)
        if not message:
            raise
        return _fail(code, message, hint)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Options are taken from either side of the command."""
    common = _Parser(prog="oddaemon", add_help=False, allow_abbrev=False)
    common.add_argument("--config", metavar="FILE", type=Path, help="read this config file and no other")
    common.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="a setting; may be repeated")
    common.add_argument("--log-level", metavar="LEVEL", help="same as --set logging.level=LEVEL")
    given, rest = common.parse_known_args(argv)
    parser = _Parser(
        prog="oddaemon", description="OpenDebrid's daemon. Without a command: controller.", epilog=EPILOG,
        parents=[common], allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("-V", "--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    commands.add_parser("controller", help="run in the foreground: decide, store and download (the default)")
    commands.add_parser("worker", help="run as a node of another controller")
    migrate = commands.add_parser("migrate", help="change the store's schema; a start does `up` by itself")
    migrate.add_argument("direction", choices=("up", "down"))
    config = commands.add_parser("config", help="show the settings and where each comes from, or check them")
    config.add_argument("action", choices=("show", "check"))
    config.add_argument("--json", action="store_true", help="as one JSON object")
    commands.add_parser("backup", help="copy the store; the daemon may run").add_argument("file", type=Path)
    commands.add_parser("restore", help="put a backup in the store's place").add_argument("file", type=Path)
    store = commands.add_parser("store", help="move the store to another database").add_subparsers(
        dest="action", metavar="ACTION", parser_class=_Parser, required=True
    )
    copy = store.add_parser("copy", help="from SQLite to PostgreSQL or back; the daemon must be stopped")
    copy.add_argument("--from", dest="source", metavar="URL", required=True, help="sqlite:////path or postgresql://…")
    copy.add_argument("--to", dest="target", metavar="URL", required=True, help="an empty database, or a new file")
    commands.add_parser("version", help="print the version")
    parsed = parser.parse_args(rest)
    for name in ("config", "set", "log_level"):
        setattr(parsed, f"opt_{name}", getattr(given, name))
    parsed.command = parsed.command or "controller"
    return parsed


def _load(options: argparse.Namespace, groups: Collection[str] | None = None) -> Loaded | None:
    """The settings, or None after every mistake has been told. `groups` of plug-ins are wanted, else all."""
    from oddaemon.app.given import BadSettings
    from oddaemon.app.load_settings import load

    flags: dict[str, str] = {}
    for item in options.opt_set:
        key, equals, value = item.partition("=")
        if not equals:
            _fail(ExitCode.USAGE, f"--set {item}: write KEY=VALUE", "")
            raise SystemExit(ExitCode.USAGE)
        flags[key.strip()] = value
    if options.opt_log_level:
        flags["logging.level"] = options.opt_log_level
    try:
        return load(flags=flags, config_file=options.opt_config, groups=groups)
    except BadSettings as error:
        count = len(error.mistakes)
        _say(f"oddaemon: the settings cannot be used ({count} mistake{'s' if count > 1 else ''})")
        for mistake in error.mistakes:
            _say(f"  {mistake}")
        return None


def _controller(options: argparse.Namespace) -> int:
    loaded = _load(options)
    if loaded is None:
        return ExitCode.CONFIG
    from oddaemon.app.compose_controller import compose_controller

    return _run(loaded, compose_controller)


def _worker(options: argparse.Namespace) -> int:
    loaded = _load(options, groups=WORKER_GROUPS)
    if loaded is None:
        return ExitCode.CONFIG
    from oddaemon.app.compose_worker import compose_worker
    from oddaemon.app.setting_keys import ALIASES
    from oddaemon.app.spent import take_out

    take_out(ALIASES["controller.auth_token"])
    return _run(loaded, compose_worker)


def _run(loaded: Loaded, compose: Compose) -> int:
    """A daemon, until it is told to end."""
    from oddaemon.app.lifecycle import run
    from oddaemon.app.logs import setup_logging

    chosen = loaded.settings.logging
    logs = setup_logging(level=chosen.level, style=chosen.format, file=chosen.file, secrets=loaded.secrets())
    try:
        return int(run(loaded, logs, compose))
    except Exception as error:
        if classify(error)[1]:
            raise
        # through the log, which masks: a traceback may hold anything
        log.critical("ended by a bug", exc_info=True, extra={"action": "crashed"})
        return ExitCode.FAILURE
    finally:
        logs.close()


def _migrate(options: argparse.Namespace) -> int:
    loaded = _load(options)
    if loaded is None:
        return ExitCode.CONFIG
    import asyncio

    from oddaemon.store.migrate import migrate_down, migrate_up

    move = migrate_up if options.direction == "up" else migrate_down
    found = asyncio.run(move(_location(loaded), backups=_data_dir(loaded)))
    print(f"the store is at revision {found}")
    return ExitCode.OK


def _config(options: argparse.Namespace) -> int:
    from oddaemon.app.in_view import secrets_in_view

    loaded = _load(options)
    if loaded is None:
        return ExitCode.CONFIG
    if options.action == "check":
        print(f"settings are valid{f' ({loaded.config_file})' if loaded.config_file else ' (no config file)'}")
        for (group, name), why in loaded.broken.items():
            _say(f"warning: plug-in {name} of {group} is left out: {why}")
        for secret, file in secrets_in_view(loaded).items():
            _say(f"warning: {file} holds the secret {secret}, and everybody here may read it: chmod o-rwx {file}")
        return ExitCode.OK
    loaded = _with_stored(loaded)
    if options.json:
        table = {
            path: {"value": loaded.shown(path), "source": str(loaded.origin(path)), "place": loaded.place(path)}
            for path in loaded.keys
        }
        print(json.dumps(table, indent=2, ensure_ascii=False))
        return ExitCode.OK
    width = max(map(len, loaded.keys))
    for path, key in loaded.keys.items():
        place = loaded.place(path)
        source = f"{loaded.origin(path)}{f' ({place})' if place else ''}"
        print(f"{path:<{width}}  {_text(loaded.shown(path), key.kind):<30}  {source}")
    return ExitCode.OK


def _with_stored(loaded: Loaded) -> Loaded:
    """With what the store holds, whether a daemon uses it or not. What cannot be read is said, and left out."""
    from oddaemon.domain.errors import OpenDebridError
    from oddaemon.store.migrate import stored_settings

    try:
        stored = stored_settings(_location(loaded))
    except OpenDebridError as error:
        _say(f"oddaemon: stored settings are left out: {error.message}")
        return loaded
    return loaded.with_stored(stored)


def _backup(options: argparse.Namespace) -> int:
    loaded = _load(options)
    if loaded is None:
        return ExitCode.CONFIG
    import asyncio

    from oddaemon.store.copies import backup, shown

    location = _location(loaded)
    print(f"store {shown(location)} backed up to {asyncio.run(backup(location, options.file))}")
    return ExitCode.OK


def _restore(options: argparse.Namespace) -> int:
    loaded = _load(options)
    if loaded is None:
        return ExitCode.CONFIG
    import asyncio

    from oddaemon.store.copies import restore

    kept = asyncio.run(restore(_location(loaded), options.file, kept_in=_data_dir(loaded)))
    print(f"store restored from {options.file}" + (f"; the one before is kept as {kept}" if kept else ""))
    return ExitCode.OK


def _store(options: argparse.Namespace) -> int:
    import asyncio

    from oddaemon.domain.errors import InvalidArgument, StoreUnavailable
    from oddaemon.store.copies import copy

    try:
        copied = asyncio.run(copy(options.source, options.target))
    except (InvalidArgument, StoreUnavailable) as error:
        # what is wrong stands on the command line, and in no setting
        code = ExitCode.USAGE if isinstance(error, InvalidArgument) else classify(error)[0]
        hint = "see --from and --to: sqlite:////path/to/opendebrid.db, postgresql://user@host/name"
        raise StartFailed(error.message, code=code, hint=hint) from error
    width = max(map(len, copied))
    for table, rows in copied.items():
        print(f"{table:<{width}}  {rows:>9}")
    _say(
        "the store is copied; the one before is as it was. Name the new one at every start from now on: as "
        "database.url in the config file, or as DATABASE_URL"
    )
    return ExitCode.OK


def _data_dir(loaded: Loaded) -> Path:
    """Where copies of a PostgreSQL store are kept."""
    from oddaemon.app.paths import resolve_paths

    paths = resolve_paths(loaded.settings)
    paths.make()
    return paths.data_dir


def _location(loaded: Loaded) -> str | Path:
    from oddaemon.app.paths import resolve_paths, store_location

    return store_location(loaded.settings, resolve_paths(loaded.settings))


def _version(_: argparse.Namespace) -> int:
    print(__version__)
    return ExitCode.OK


def _text(value: object, kind: str) -> str:
    from oddaemon.domain.units import show_duration, show_size

    if kind == "size" and isinstance(value, int):
        return show_size(value)
    if kind == "duration" and isinstance(value, (int, float)):
        return show_duration(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def _fail(code: ExitCode, message: str, hint: str) -> int:
    _say(f"oddaemon: {message}")
    if hint:
        _say(f"  {hint}")
    return code


def _say(text: str) -> None:
    print(text, file=sys.stderr)


_COMMANDS = {
    "controller": _controller,
    "worker": _worker,
    "migrate": _migrate,
    "config": _config,
    "backup": _backup,
    "restore": _restore,
    "store": _store,
    "version": _version,
}
