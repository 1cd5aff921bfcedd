"""What to do next, said to somebody who has no terminal: the routes in place of odctl's commands."""

from __future__ import annotations

import re

_JOB = r"(?P<job>\d+|JOB)"
WAYS: tuple[tuple[str, str], ...] = (
    # what has no route (login on the socket, odctl logs, odctl doctor) is for whoever runs the daemon, and stays
    (rf"odctl files {_JOB}", r"GET /api/v1/downloads/\g<job>/files"),
    (rf"odctl select {_JOB}(?: …)?", r"PUT /api/v1/downloads/\g<job>/selection"),
    (rf"odctl retry --now {_JOB}", r'POST /api/v1/downloads/\g<job>/retry with {"now": true}'),
    (rf"odctl retry {_JOB} -O …", r"POST /api/v1/downloads/\g<job>/retry with options"),
    (rf"odctl (?P<verb>retry|pause|resume|cancel) {_JOB}", r"POST /api/v1/downloads/\g<job>/\g<verb>"),
    (rf"wait for it with: odctl wait {_JOB}, or .*", r"ask again when GET /api/v1/downloads/\g<job> says completed"),
    (rf"odctl show {_JOB}", r"GET /api/v1/downloads/\g<job>"),
    (rf"odctl set {_JOB} priority=normal", r'PATCH /api/v1/downloads/\g<job> with {"priority": 0}'),
    (rf"odctl rm {_JOB}", r"DELETE /api/v1/downloads/\g<job>"),
    (r"odctl rm\b", "DELETE /api/v1/downloads/JOB"),
    (r"odctl ls\b", "GET /api/v1/downloads"),
    (r"odctl probe\b", "POST /api/v1/{engine}/info"),
    (r"odctl add -e aria2 …", "POST /api/v1/aria2/add"),
    (r"odctl users usage", "GET /api/v1/auth/usage"),
    (r"odctl users sessions", "GET /api/v1/auth/sessions"),
    (r"odctl users invitations", "GET /api/v1/admin/invitations"),
    (r"odctl users ls", "GET /api/v1/admin/users"),
    (r"odctl whoami", "GET /api/v1/auth/me"),
    (r"add --user (?P<user>\S+)", r"send it with ?user=\g<user>"),
    (r"odctl apikey ls", "GET /api/v1/auth/apikeys"),
    (r"odctl apikey revoke KEY", "DELETE /api/v1/auth/apikeys/KEY"),
    (r"odctl apikey rotate (?P<key>.+) --expires 90d", r"POST /api/v1/auth/apikeys/\g<key>/rotate with expires_at"),
    (r"odctl apikey create NAME --scope (?P<scope>\w+)", r"POST /api/v1/auth/apikeys with the scope \g<scope>"),
    (r"odctl cache ls", "GET /api/v1/admin/cache"),
    (r"odctl cache unpin '(?P<key>[^']*)'", r"POST /api/v1/admin/cache/pin with the key \g<key>"),
    (r"odctl cache cleanup --until-free SIZE", "POST /api/v1/admin/cleanup with until_free"),
    (r"odctl settings ls", "GET /api/v1/admin/settings"),
    (r"odctl status", "GET /api/v1/admin/nodes"),
    (r"odctl nodes ls", "GET /api/v1/admin/nodes"),
    (r"odctl nodes token ls", "GET /api/v1/admin/node-tokens"),
    (r"odctl nodes token create", "POST /api/v1/admin/node-tokens"),
    (r"odctl nodes show (?P<node>\S+)", r"GET /api/v1/admin/nodes/\g<node>"),
    (r"odctl nodes rm (?P<node>\S+)", r"DELETE /api/v1/admin/nodes/\g<node>"),
    # options
    (r"--files (?P<files>[\d,-]+)", r"files: \g<files>"),
    (r"give --ttl (?P<time>\w+)", "give ttl_s, in seconds"),
    (r"give --for 2h", "give for_s, in seconds"),
    (r"give --folder", "give folder"),
    (r"give --max-uses (?P<uses>\d)", r"give max_uses: \g<uses>"),
    (r"or --all", "or all"),
    (r"--keep-data", "keep_data"),
    (r"--paused", "paused"),
    (r"use --m3u", "use the kind m3u"),
)
_COMPILED = tuple((re.compile(pattern), way) for pattern, way in WAYS)


def rest_hint(hint: str) -> str:
    """The hint of a service for a caller of the REST API."""
    if "odctl " in hint or "--" in hint:
        for pattern, way in _COMPILED:
            hint = pattern.sub(way, hint)
    return hint
