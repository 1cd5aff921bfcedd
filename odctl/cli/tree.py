"""The command tree: what there is, in which module it lives, and one line about it. Nothing is imported for it, so
that help and completion are instant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: `module` below odctl.cli.commands, `name` of the function there, and its line in the help."""

    module: str
    name: str
    summary: str


@dataclass(frozen=True, slots=True)
class Group:
    """Commands below a noun."""

    summary: str
    members: Mapping[str, Entry | Group]


TREE: dict[str, Entry | Group] = {
    "add": Entry("add", "add", "Download a magnet, URL, info-hash or .torrent file; - reads stdin."),
    "probe": Entry("probe", "probe", "Look at a source without downloading it."),
    "ls": Entry("jobs", "ls", "List jobs."),
    "show": Entry("jobs", "show", "Everything about a job."),
    "top": Entry("dashboard", "top", "The dashboard: what is downloaded, live."),
    "web": Entry("web", "web", "The dashboard in a browser of this machine."),
    "watch": Entry("follow", "watch", "Follow jobs until they end."),
    "wait": Entry("follow", "wait", "Wait until jobs end; the exit code tells how."),
    "files": Entry("files", "files", "The files of a job."),
    "select": Entry("files", "select", "Choose which files of a job are downloaded."),
    "link": Entry("links", "link", "Signed links to the files of a job."),
    "get": Entry("get", "get", "Fetch the files of a job to this machine."),
    "play": Entry("links", "play", "Play files of a job."),
    "pause": Entry("change", "pause", "Pause jobs, or the queue."),
    "resume": Entry("change", "resume", "Resume paused jobs, or the queue."),
    "cancel": Entry("change", "cancel", "Give jobs up; retry takes them up again."),
    "retry": Entry("change", "retry", "Try failed or cancelled jobs again."),
    "rm": Entry("change", "rm", "Remove jobs, and their files unless another job needs them."),
    "set": Entry("change", "set_", "Change priority, name, tags or limits of jobs."),
    "status": Entry("status", "status", "How the daemon is."),
    "events": Entry("events", "events", "What happened, and what happens."),
    "logs": Entry("events", "logs", "The daemon's log, or a job's."),
    "nodes": Group(
        "The machines.",
        {
            "ls": Entry("nodes", "ls", "List nodes, their disks and engines."),
            "show": Entry("nodes", "show", "Everything about a node."),
            "drain": Entry("node_changes", "drain", "Start nothing new on a node."),
            "undrain": Entry("node_changes", "undrain", "Let a node take work again."),
            "set": Entry("node_changes", "set_", "Set labels and limits of a node: KEY=VALUE."),
            "rm": Entry("node_changes", "rm", "Remove a node for good."),
            "token": Group(
                "What lets other machines join.",
                {
                    "create": Entry("node_tokens", "create", "Make a join token, and print what to paste."),
                    "ls": Entry("node_tokens", "ls", "List join tokens."),
                    "revoke": Entry("node_tokens", "revoke", "End join tokens."),
                },
            ),
        },
    ),
    "context": Group(
        "Daemons by name.",
        {
            "ls": Entry("context", "ls", "List contexts, and which one is used and why."),
            "show": Entry("context", "show", "One context, and where it is chosen."),
            "use": Entry("context", "use", "Use a context from now on."),
            "add": Entry("context", "add", "Give a daemon a name."),
            "rm": Entry("context", "rm", "Forget contexts."),
            "rename": Entry("context", "rename", "Give a context another name."),
            "test": Entry("context", "try_", "Connect to a context's daemon."),
        },
    ),
    "engines": Group(
        "What downloads.",
        {
            "ls": Entry("engines", "ls", "Engines, their versions, health and abilities."),
            "test": Entry("engines", "test", "Test an engine now."),
        },
    ),
    "links": Group(
        "Links that were made.",
        {
            "ls": Entry("minted", "ls", "List links and how they were used."),
            "rm": Entry("minted", "rm", "Revoke links."),
        },
    ),
    "cache": Group(
        "What is kept.",
        {
            "ls": Entry("cache", "ls", "List cached contents."),
            "show": Entry("cache", "show", "One entry and where it lies."),
            "copy": Entry("cache", "copy", "Have an entry lie on one more node."),
            "rm": Entry("cache", "rm", "Remove entries that no job needs."),
            "pin": Entry("cache", "pin", "Keep entries whatever happens."),
            "unpin": Entry("cache", "unpin", "Stop keeping entries."),
            "cleanup": Entry("cache", "cleanup", "Remove old entries, or make room."),
        },
    ),
    "users": Group(
        "Accounts, for admins.",
        {
            "ls": Entry("users", "ls", "List accounts."),
            "show": Entry("users", "show", "One account and its limits."),
            "usage": Entry("users", "usage", "What a user uses, and what the limits allow."),
            "add": Entry("users", "add", "Add an account, or invite somebody to make one."),
            "passwd": Entry("users", "passwd", "Set a password: somebody's, or your own."),
            "role": Entry("users", "role", "Make somebody an admin, or a user again."),
            "disable": Entry("users", "disable", "Lock somebody out."),
            "enable": Entry("users", "enable", "Let somebody in again."),
            "rm": Entry("users", "rm", "Remove an account with all that it has."),
            "quota": Entry("users", "quota", "Set limits of one user."),
            "link": Entry("users", "link", "Let a user of the machine act as an account."),
            "sessions": Entry("access", "sessions", "List the open sessions of a user."),
            "invitations": Entry("access", "invitations", "List open invitations."),
            "revoke": Entry("access", "revoke", "End all sessions, API keys and links of a user, or of all."),
        },
    ),
    "apikey": Group(
        "API keys, for programs.",
        {
            "ls": Entry("apikey", "ls", "List API keys."),
            "create": Entry("apikey", "create", "Make an API key; it is shown once."),
            "rotate": Entry("apikey", "rotate", "Give an API key a new secret."),
            "revoke": Entry("apikey", "revoke", "End an API key."),
        },
    ),
    "settings": Group(
        "Runtime settings.",
        {
            "ls": Entry("settings", "ls", "List settings."),
            "get": Entry("settings", "get", "One setting's value."),
            "set": Entry("settings", "set_", "Change settings: KEY=VALUE."),
            "unset": Entry("settings", "unset", "Go back to the value without the stored one."),
        },
    ),
    "daemon": Group(
        "The service itself.",
        {
            "start": Entry("daemon", "start", "Start the daemon in the background."),
            "stop": Entry("daemon", "stop", "Stop it."),
            "restart": Entry("daemon", "restart", "Stop it and start it again."),
            "reload": Entry("daemon", "reload", "Make it read its configuration again."),
            "status": Entry("daemon", "status", "Whether it runs, and who manages it."),
            "run": Entry("daemon", "run", "Run it in the foreground."),
        },
    ),
    "login": Entry("account", "login", "Log in, or make an account with an invitation."),
    "logout": Entry("account", "logout", "End the login."),
    "whoami": Entry("account", "whoami", "Who the daemon takes you for, and why."),
    "doctor": Entry("doctor", "doctor", "Find out what is wrong."),
    "completion": Entry("completion", "completion", "Print a completion script: bash, zsh or fish."),
    "version": Entry("version", "version", "Versions of the client and of the daemon."),
    "help": Entry("help", "help_", "Help on a command, or on contexts, filters, json, exit-codes, environment."),
}

ALIASES = {"list": "ls", "ps": "ls", "remove": "rm", "delete": "rm", "info": "probe"}
"""Permanent, and not shown in the help. Those of verbs are the same below every noun."""
VERB_ALIASES = {"list": "ls", "remove": "rm", "delete": "rm"}
HIDDEN: dict[str, Entry] = {
    "__complete": Entry("completion", "complete", "Words that fit; for the scripts."),
}


def aliases(members: Mapping[str, Entry | Group]) -> Mapping[str, str]:
    """The other names of these commands: alias → name. `members` is TREE or those of one of its groups."""
    known = ALIASES if members is TREE else VERB_ALIASES
    return {alias: name for alias, name in known.items() if name in members}


def entries(members: Mapping[str, Entry | Group] | None = None) -> Iterator[tuple[tuple[str, ...], Entry]]:
    """Every visible command with its path."""
    for name, item in (TREE if members is None else members).items():
        if isinstance(item, Entry):
            yield (name,), item
        else:
            yield from (((name, *path), entry) for path, entry in entries(item.members))
