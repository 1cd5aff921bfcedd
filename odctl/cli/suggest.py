"""Which words fit at the end of a line that is not finished. Knows nothing of where jobs and keys come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from odctl.cli import filter_words, tree
from odctl.cli.hoist import FLAGS, VALUES, VERSION, CommandOptions
from odctl.cli.output import FORMATS

Words = list[tuple[str, str]]
Recall = Callable[[str, str], Words]
"""`recall(kind, about)`: jobs, files of the job `about`, cache keys, settings, engines, users, API keys."""

LOCAL_FILES: Words = [(":files", "")]
"""Says to the shell that names of files belong here."""
SHELLS = ("bash", "zsh", "fish")
TOPICS = ("contexts", "filters", "json", "exit-codes", "environment")
PRIORITIES = ("low", "normal", "high")
LEVELS = ("debug", "info", "warn", "error")
ROLES = ("user", "admin")
CHANGES = ("priority=", "position=top", "name=", "tags=", "tags+=", "tags-=", "rate_down=", "rate_up=", "seed_ratio=")

ARGUMENTS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("ls",): ("filters",), ("cache", "ls"): ("filters",),
    ("add",): ("local",), ("probe",): ("local",), ("show",): ("jobs",), ("watch",): ("jobs",), ("wait",): ("jobs",),
    ("files",): ("job",), ("select",): ("job", "files"), ("link",): ("job", "files"), ("get",): ("job", "files"),
    ("play",): ("job", "files"), ("pause",): ("jobs",), ("resume",): ("jobs",), ("cancel",): ("jobs",),
    ("retry",): ("jobs",), ("rm",): ("jobs",), ("set",): ("jobs", "changes"), ("logs",): ("job",),
    ("context", "show"): ("context",), ("context", "use"): ("context",), ("context", "rm"): ("contexts",),
    ("context", "rename"): ("context",), ("context", "test"): ("context",), ("nodes", "show"): ("nodes",),
    ("nodes", "drain"): ("node",), ("nodes", "undrain"): ("node",), ("nodes", "rm"): ("node",),
    ("nodes", "set"): ("node", "nodes="), ("nodes", "token", "revoke"): ("node_tokens",),
    ("engines", "test"): ("engine",), ("cache", "show"): ("key",), ("cache", "rm"): ("keys",),
    ("cache", "pin"): ("keys",), ("cache", "unpin"): ("keys",),
    ("cache", "copy"): ("key",), ("settings", "get"): ("setting",),
    ("settings", "unset"): ("settings",), ("settings", "set"): ("settings=",), ("completion",): ("shell",),
    ("help",): ("topic",), ("links", "ls"): ("job",), ("users", "show"): ("user",), ("users", "usage"): ("user",),
    ("users", "passwd"): ("user",),
    ("users", "role"): ("user", "role"), ("users", "disable"): ("user",), ("users", "enable"): ("user",),
    ("users", "rm"): ("user",), ("users", "quota"): ("user",), ("users", "link"): ("user",),
    ("users", "revoke"): ("user",), ("apikey", "rotate"): ("apikey",), ("apikey", "revoke"): ("apikey",),
}  # fmt: skip
"""What each argument of a command is; the last one repeats when it is a plural."""
OPTIONS: dict[str, tuple[str, ...]] = {
    "--output": FORMATS, "-o": FORMATS, "--color": ("auto", "always", "never"), "--priority": PRIORITIES,
    "-p": PRIORITIES, "--progress": ("auto", "bar", "plain", "jsonl", "none"), "--level": LEVELS,
    "--for": ("completed", "metadata"), "--until": ("completed", "idle"),
    "--source": ("default", "stored", "file", "env", "flag"), "--role": ROLES, "--scope": ("read", "jobs", "admin"),
}  # fmt: skip
"""Values of options, whatever the command."""


@dataclass(slots=True)
class Line:
    """What stands before the word to complete."""

    path: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    option: str = ""
    """Wants the word as its value."""
    host: str = ""
    context: str = ""
    behind: bool = False
    """`--` was there: the words are another program's, or no options."""


Lookup = Callable[[Sequence[str]], CommandOptions | None]


def read_line(before: Sequence[str], lookup: Lookup) -> Line:
    line = Line()
    own = lookup(())
    for word in before:
        if line.option:
            _option_value(line, line.option, word)
            line.option = ""
        elif line.behind:
            line.arguments.append(word)
        elif word == "--":
            line.behind = True
        elif word.startswith("-") and len(word) > 1:
            name, separator, value = _parts(word)
            if separator or value:
                _option_value(line, name, value)
            elif name in VALUES or (own is not None and name in own.values and name not in own.optional):
                line.option = name
        elif own is not None and own.is_group:
            members = tree.aliases(tree.TREE if not line.path else _members(line.path))
            line.path.append(members.get(word, word))
            own = lookup(line.path)
        else:
            line.arguments.append(word)
    return line


def _parts(word: str) -> tuple[str, str, str]:
    """`--output=json` and `-ojson`, taken apart."""
    return word.partition("=") if word.startswith("--") else (word[:2], "", word[2:])


def _option_value(line: Line, name: str, value: str) -> None:
    if name in ("-H", "--host"):
        line.host = value
    elif name in ("-c", "--context"):
        line.context = value


def _members(path: Sequence[str]) -> dict[str, tree.Entry | tree.Group]:
    """Of the group with this path; none of a command."""
    found: Mapping[str, tree.Entry | tree.Group] = tree.TREE
    for name in path:
        item = found.get(name)
        found = item.members if isinstance(item, tree.Group) else {}
    return dict(found)


def suggest(root: Any, line: Line, last: str, recall: Recall) -> Words:
    """Words, each with a hint, that begin with `last`, or LOCAL_FILES."""
    if line.option:
        return _values(line, line.option, last, recall)
    if last.startswith("-") and not line.behind:
        name, separator, value = last.partition("=")
        if separator:
            found = _values(line, name, value, recall)
            return found if found == LOCAL_FILES else [(f"{name}={word}", hint) for word, hint in found]
        return _option_names(root, line.path, last)
    members = tree.TREE if not line.path else _members(line.path)
    if members:
        return _fitting([(name, item.summary) for name, item in members.items()], last)
    return _argument(line, last, recall)


def _values(line: Line, option: str, last: str, recall: Recall) -> Words:
    if option in ("--into", "--token-file") or (option == "-o" and line.path == ["get"]):
        return LOCAL_FILES
    if option in ("-f", "--filter") and line.path != ["files"]:
        return _filter(line, last, recall)
    if option in ("-c", "--context"):
        return _fitting(recall("contexts", ""), last)
    if option in ("--engine", "-e"):
        known = recall("engines", "")
        # alone it would be taken, as if there were nothing else
        return _fitting([("auto", "whichever fits"), *known], last) if known or last else []
    if option == "--user" and line.path[:1] in (["login"], ["apikey"]):
        return _fitting(recall("users", ""), last)
    if option == "--for" and line.path != ["wait"]:
        return []
    return _fitting([(value, "") for value in OPTIONS.get(option, ())], last)


def _argument(line: Line, last: str, recall: Recall) -> Words:
    kinds = ARGUMENTS.get(tuple(line.path), ())
    at = len(line.arguments)
    if not kinds or (at >= len(kinds) and not _repeats(kinds[-1])):
        return []
    place = min(at, len(kinds) - 1)
    named = line.arguments[place:]
    return [(word, hint) for word, hint in _of_kind(kinds[place], line, last, recall) if word not in named]


def _of_kind(kind: str, line: Line, last: str, recall: Recall) -> Words:
    if kind in ("job", "jobs"):
        return _jobs(recall("jobs", ""), last)
    if kind == "changes":
        return [*_jobs(recall("jobs", ""), last), *_fitting([(change, "") for change in CHANGES], last)]
    if kind == "filters":
        return _filter(line, last, recall)
    if kind == "files":
        return _files(recall("files", line.arguments[0]), last)
    if kind == "local":
        return LOCAL_FILES
    if kind in ("shell", "topic"):
        commands = [(name, item.summary) for name, item in tree.TREE.items()] if kind == "topic" else []
        return _fitting([*((name, "") for name in (SHELLS if kind == "shell" else TOPICS)), *commands], last)
    if kind == "role":
        return _fitting([(name, "") for name in ROLES], last)
    if kind == "nodes=":
        return _fitting([(f"{key}=", "") for key in ("label.", "running", "reserve", "weight")], last)
    if kind == "settings=":
        return _fitting([(f"{key}=", hint) for key, hint in recall("settings", "")], last)
    return _fitting(recall(kind if kind.endswith("s") else f"{kind}s", ""), last)


def _repeats(kind: str) -> bool:
    return kind.endswith(("s", "=")) or kind == "local"


def _filter(line: Line, last: str, recall: Recall) -> Words:
    others = {"events": filter_words.EVENTS, "cache": filter_words.CACHE}
    return filter_words.next_words(others.get(line.path[0], filter_words.JOBS), last, recall)


def _jobs(known: Words, last: str) -> Words:
    """By number; a word that only one job's name has stands for that job."""
    found = _fitting([*known, *([("@last", "the last one added")] if known else [])], last)
    if found or not last:
        return found
    named = [(number, name) for number, name in known if last.lower() in name.lower()]
    return named if len(named) == 1 else []


def _files(known: Words, last: str) -> Words:
    """By number while nothing or a number was written, else by path."""
    if not last or last.isdigit():
        return _fitting(known, last)
    return _fitting([(path, number) for number, path in known], last)


def _fitting(words: Sequence[tuple[str, str]], last: str) -> Words:
    return [(word, hint) for word, hint in words if word.startswith(last)]


def _option_names(root: Any, path: Sequence[str], last: str) -> Words:
    command = root
    for name in path:
        if name not in getattr(command, "commands", {}):
            break
        command = command.commands[name]
    found = {name: getattr(param, "help", "") or "" for param in command.params for name in param.opts}
    for name in ({*FLAGS, *VALUES, *VERSION} if command is not root else ()):
        found.setdefault(name, "")
    return _fitting(sorted((name, hint) for name, hint in {**found, "--help": ""}.items() if name[:2] == "--"), last)
