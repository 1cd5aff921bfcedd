"""odctl's accounts, logins and keys against a control API in this process: what is asked, sent, kept and said."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.control import v1 as pb

from odctl import __version__
from odctl.client.credentials import Credential, Keyring
from tests.support.fake_control import API_KEY, INVITATION, PASSWORD, FakeControl
from tests.support.odctl_shell import Shell

MADE = "2026-01-31T12:00:00.000Z"
STDIN = f"{PASSWORD}\n".encode()
USER_FIELDS = [
    "name", "role", "active", "unix_user", "jobs_active", "quota_bytes", "last_seen_at", "unix_uid", "email",
    "has_password", "limits", "created_at", "id",
]  # fmt: skip


def file_of(odctl: Shell) -> Path:
    return odctl.home / ".config" / "opendebrid" / "credentials.toml"


async def logged_in(odctl: Shell) -> None:
    answer = await odctl("login", "--user", "maya", "--password-stdin", stdin=STDIN)
    assert (answer.code, answer.out, answer.err) == (0, "logged in as maya (user)\n", "")


# what is kept, and sent


async def test_a_login_is_kept_for_this_user_alone_and_sent_with_every_call(odctl: Shell, control: FakeControl) -> None:
    await logged_in(odctl)
    assert control.asked("login") == pb.LoginRequest(user="maya", password=PASSWORD)
    assert file_of(odctl).stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in file_of(odctl).read_text()
    control.bearers.clear()
    assert (await odctl("ls")).code == 0
    assert control.bearers == ["Bearer access-0"] * 2  # Hello, ListJobs
    assert sorted(path.name for path in file_of(odctl).parent.iterdir()) == ["credentials.lock", "credentials.toml"]


async def test_without_a_login_nothing_is_sent_and_the_uid_has_to_do(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl("whoami")
    assert answer.out == "admin (admin) via unix peer uid 1000 on nas\n"
    assert control.bearers == [None, None]


async def test_a_home_that_is_no_folder_has_no_login(odctl: Shell, control: FakeControl) -> None:
    odctl.home.joinpath("none").touch()
    for home in ("/dev/null", str(odctl.home / "none")):
        answer = await odctl("ls", HOME=home)
        assert (answer.code, answer.err) == (0, "2 jobs\n")


async def test_what_stands_in_the_place_of_the_login_is_told_by_its_path(odctl: Shell, control: FakeControl) -> None:
    path = file_of(odctl)
    path.mkdir(mode=0o700, parents=True)
    answer = await odctl("ls")
    assert answer.code == 4
    assert answer.err.startswith(f"odctl: {path} is not used: it is no file\n")
    path.rmdir()
    os.mkfifo(path, 0o600)
    assert (await odctl("ls")).err == answer.err
    path.unlink()
    path.write_text("a = " + "[" * 20_000)
    path.chmod(0o600)
    assert (await odctl("ls")).err.startswith(f"odctl: {path} is not used: it is not TOML")


async def test_whoami_says_how_it_was_proved(odctl: Shell, control: FakeControl) -> None:
    await logged_in(odctl)
    assert (await odctl("whoami")).out == "maya (user) via odctl login on nas\n"
    told = (await odctl("whoami", "--json")).json
    assert list(told)[:5] == ["user", "role", "auth", "context", "endpoint"]
    assert (told["user"], told["role"], told["auth"]) == ("maya", "user", "token")
    assert told["endpoint"] == f"unix://{odctl.folder / 'c.sock'}"
    by_key = await odctl("whoami", ODCTL_TOKEN=API_KEY)
    assert by_key.out == "maya (user) via an API key from ODCTL_TOKEN (scopes: jobs) on nas\n"


async def test_a_variable_wins_and_two_are_a_mistake(odctl: Shell, control: FakeControl, tmp_path: Path) -> None:
    await logged_in(odctl)
    file = tmp_path / "key"
    file.write_text(f"{API_KEY}\n")
    login = ("login", "--user", "maya", "--password-stdin")
    for name, value in (("ODCTL_TOKEN", API_KEY), ("ODCTL_TOKEN_FILE", str(file))):
        variables: dict[str, Any] = {name: value}
        assert (await odctl("ls", **variables)).code == 0
        assert control.bearers[-1] == f"Bearer {API_KEY}"
        again = await odctl(*login, stdin=STDIN, **variables)
        assert again.code == 9
        assert f"unset {name}" in again.err
    both = await odctl("ls", ODCTL_TOKEN=API_KEY, ODCTL_TOKEN_FILE=str(file))
    assert (both.code, "both set" in both.err) == (2, True)
    empty = await odctl("ls", ODCTL_TOKEN_FILE=str(tmp_path / "none"))
    assert (empty.code, "cannot be read" in empty.err) == (2, True)
    split = await odctl("ls", ODCTL_TOKEN="two words")
    assert (split.code, "two words" in split.err) == (2, False)


async def test_a_file_that_others_may_read_is_not_used(odctl: Shell, control: FakeControl) -> None:
    await logged_in(odctl)
    file_of(odctl).chmod(0o640)
    control.calls.clear()
    answer = await odctl("ls")
    assert answer.code == 4
    assert f"chmod 600 {file_of(odctl)}" in answer.err
    assert control.calls == []


async def test_a_file_that_is_no_toml_says_what_to_do(odctl: Shell, control: FakeControl) -> None:
    await logged_in(odctl)
    file_of(odctl).write_text("[")
    answer = await odctl("ls")
    assert answer.code == 4
    assert "remove it and log in again" in answer.err


async def test_logins_of_several_daemons_do_not_meet(tmp_path: Path) -> None:
    ring = Keyring({"HOME": str(tmp_path)})
    one, other = 'unix:///a "quoted" \x7f\\.sock', "unix:///b.sock"
    with ring.alone():
        ring.keep(one, Credential.of_login("maya", "t1", "odr_1", 3600))
        ring.keep(other, Credential(secret="odk_x", user="noor"))
    found = ring.stored(one)
    assert found is not None
    assert (found.user, found.secret, found.refresh_token, found.near_its_end) == ("maya", "t1", "odr_1", False)
    with ring.alone():
        ring.forget(one)
    assert (ring.stored(one), ring.stored(other)) == (None, Credential(secret="odk_x", user="noor"))
    with ring.alone():
        ring.forget(other)
    assert not ring.path.exists()
    assert "t1" not in repr(found)


async def test_what_a_killed_run_left_keeps_nobody_from_logging_in(tmp_path: Path) -> None:
    ring = Keyring({"HOME": str(tmp_path)})
    with ring.alone():
        ring.path.with_suffix(f".{os.getpid()}").write_text("half")
        ring.keep("unix:///a", Credential(secret="odk_x"))
    assert ring.stored("unix:///a") == Credential(secret="odk_x")


# its end


async def test_a_login_near_its_end_is_refreshed_once_by_many_at_the_same_time(
    odctl: Shell, control: FakeControl
) -> None:
    control.accounts.expires_in = 0.0
    await logged_in(odctl)
    control.accounts.expires_in = 3600.0
    answers = await asyncio.gather(*(odctl("ls") for _ in range(4)))
    assert [(answer.code, answer.err) for answer in answers] == [(0, "2 jobs\n")] * 4
    assert control.accounts.refreshes == 1
    assert "odr_1" in file_of(odctl).read_text()
    assert control.bearers[-1] == "Bearer access-1"


async def test_a_login_that_ended_says_so_and_what_to_do(odctl: Shell, control: FakeControl) -> None:
    control.accounts.expires_in = 0.0
    await logged_in(odctl)
    control.accounts.refreshes = 7  # somebody else used the token
    for _ in range(2):
        answer = await odctl("ls")
        assert answer.code == 4
        assert answer.err == (
            "odctl: your login as maya has ended\n  this refresh token was used already\n"
            "  log in again: odctl login --user maya      go on without it: odctl logout\n"
        )
    found = {check["check"]: check for check in (await odctl("doctor", "--json")).json}
    assert (found["daemon"]["status"], found["daemon"]["detail"]) == ("fail", "your login as maya has ended")


async def test_a_token_that_is_refused_is_refreshed_before_anybody_is_bothered(
    odctl: Shell, control: FakeControl
) -> None:
    await logged_in(odctl)
    control.accounts.refused = {"Bearer access-0"}
    for _ in range(2):
        assert (await odctl("ls")).code == 0
    assert control.accounts.refreshes == 1
    control.accounts.refused = {"Bearer access-1", "Bearer access-2"}
    answer = await odctl("ls")
    assert (answer.code, "log in again" in answer.err) == (4, True)


async def test_a_refused_key_names_where_it_comes_from(odctl: Shell, control: FakeControl) -> None:
    control.refuse["hello"] = (Status.UNAUTHENTICATED, common.Error(code="UNAUTHENTICATED", message="no such key"))
    answer = await odctl("ls", ODCTL_TOKEN=API_KEY)
    assert answer.code == 4
    assert "that was the one of ODCTL_TOKEN" in answer.err
    assert API_KEY not in answer.err


async def test_logout_ends_the_session_and_forgets_it(odctl: Shell, control: FakeControl) -> None:
    await logged_in(odctl)
    answer = await odctl("logout", "--json")
    assert answer.json == {"ok": True, "user": "maya"}
    assert (control.calls[-1][0], control.bearers[-1]) == ("logout", "Bearer access-0")
    assert not file_of(odctl).exists()
    again = await odctl("logout")
    assert (again.code, again.err) == (0, "nobody was logged in\n")


@pytest.mark.parametrize("status", [Status.UNAUTHENTICATED, Status.UNAVAILABLE])
async def test_logout_forgets_whatever_the_daemon_says(odctl: Shell, control: FakeControl, status: Status) -> None:
    await logged_in(odctl)
    control.refuse["logout"] = (status, common.Error(code=status.name, message="no"))
    answer = await odctl("logout")
    assert (answer.code, answer.out) == (0, "logged out maya\n")
    assert not file_of(odctl).exists()
    assert bool(answer.err) == (status is Status.UNAVAILABLE)


async def test_logout_works_without_a_daemon(odctl: Shell, socket_dir: Path) -> None:
    ring = Keyring({"HOME": str(odctl.home)})
    with ring.alone():
        ring.keep(f"unix://{socket_dir / 'c.sock'}", Credential.of_login("maya", "t", "odr_1", 3600))
    assert (await odctl("logout")).code == 0
    assert not file_of(odctl).exists()


# passwords


async def test_a_password_is_asked_for_without_an_echo(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl.at_a_terminal("login", "--user", "maya", answers=[("Password of maya:", PASSWORD)])
    assert answer.code == 0, answer.out
    assert PASSWORD not in answer.out
    assert control.asked("login").password == PASSWORD


async def test_a_new_password_is_asked_for_twice(odctl: Shell, control: FakeControl) -> None:
    prompts = ("Password of noor:", "Password of noor, again:")
    differ = await odctl.at_a_terminal(
        "users", "add", "noor", answers=[(prompts[0], PASSWORD), (prompts[1], "wrong horse")]
    )
    assert differ.code == 1
    assert "differ" in differ.out
    assert not [name for name, _ in control.calls if name == "add_user"]
    same = await odctl.at_a_terminal("users", "add", "noor", answers=[(prompt, PASSWORD) for prompt in prompts])
    assert same.code == 0, same.out
    assert PASSWORD not in same.out
    assert control.asked("add_user") == pb.AddUserRequest(name="noor", role="user", password=PASSWORD)


@pytest.mark.parametrize(
    ("line", "flag"),
    [
        ("login --user maya", "--password-stdin"), ("users add noor", "--password-stdin"),
        ("users passwd maya", "--stdin"), ("users passwd", "--stdin"), (f"login {INVITATION}", "--password-stdin"),
        ("users rm maya", "-y"), ("users revoke --all", "-y"),
    ],
)  # fmt: skip
async def test_where_nobody_can_be_asked_the_flag_is_named(
    odctl: Shell, control: FakeControl, line: str, flag: str
) -> None:
    answer = await odctl(*line.split())
    assert (answer.code, answer.out) == (2, "")
    assert flag in answer.err
    assert {name for name, _ in control.calls} <= {"hello", "who_am_i"}


@pytest.mark.parametrize("stdin", [b"", b"\n", b"\xff\xfe\n"])
async def test_stdin_without_a_password_is_a_mistake(odctl: Shell, control: FakeControl, stdin: bytes) -> None:
    answer = await odctl("login", "--password-stdin", stdin=stdin)
    assert answer.code == 2
    assert "login" not in {name for name, _ in control.calls}


async def test_a_wrong_password_keeps_nothing(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl("login", "--password-stdin", stdin=b"wrong\n")
    assert (answer.code, answer.err.splitlines()[0]) == (4, "odctl: wrong name or password")
    assert not file_of(odctl).exists()


async def test_one_s_own_password_needs_the_old_one_unless_the_uid_proves_it(
    odctl: Shell, control: FakeControl
) -> None:
    assert (await odctl("users", "passwd", "--stdin", "--json", stdin=b"new one\n")).json == {
        "ok": True, "ended": {"sessions": 0, "keys": 0, "links": 0, "invitations": 0}
    }  # fmt: skip
    assert control.asked("set_own_password") == pb.SetOwnPasswordRequest(new_password="new one")
    assert not file_of(odctl).exists()
    control.accounts.password = PASSWORD
    await logged_in(odctl)
    assert (await odctl("users", "passwd", "--stdin", stdin=STDIN)).code == 2
    assert (await odctl("users", "passwd", "--stdin", stdin=STDIN + b"new one\n")).code == 0
    assert control.asked("set_own_password") == pb.SetOwnPasswordRequest(old_password=PASSWORD, new_password="new one")
    assert control.calls[-1][0] == "login", "the session ended with the old password"
    assert control.asked("login") == pb.LoginRequest(user="maya", password="new one")


# invitations and keys


async def test_an_invitation_makes_the_account_and_logs_in(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl("login", INVITATION, "--user", "maya", "--password-stdin", "--json", stdin=STDIN)
    assert answer.json == {"context": None, "user": "maya", "role": "user"}
    assert control.asked("register") == pb.RegisterRequest(user="maya", password=PASSWORD, invite=INVITATION)
    assert "odr_0" in file_of(odctl).read_text()


async def test_an_api_key_is_never_an_argument(odctl: Shell, control: FakeControl, tmp_path: Path) -> None:
    refused = await odctl("login", API_KEY)
    assert refused.code == 2
    assert API_KEY not in refused.err
    assert "--token-file" in refused.err
    file = tmp_path / "key"
    file.write_text(API_KEY)
    assert (await odctl("login", "--token-file", str(file))).code == 0
    assert (await odctl("login", "--token-file", "-", stdin=API_KEY.encode())).code == 0
    assert (await odctl("ls")).code == 0
    assert control.bearers[-1] == f"Bearer {API_KEY}"
    out = await odctl("logout")
    assert "odctl apikey revoke" in out.err
    assert "logout" not in {name for name, _ in control.calls}


@pytest.mark.parametrize("word", ["tls://nas:9443", "maya"])
async def test_login_takes_no_other_word(odctl: Shell, control: FakeControl, word: str) -> None:
    answer = await odctl("login", word)
    assert (answer.code, control.calls) == (2, [])


async def test_a_key_is_printed_once_alone_on_stdout(odctl: Shell, control: FakeControl) -> None:
    made = await odctl("apikey", "create", "phone", "--scope", "read", "--scope", "jobs", "--expires", "2099-01-31")
    assert made.out == f"{API_KEY}\n"
    asked = control.asked("create_api_key")
    assert (asked.name, asked.scopes, asked.user) == ("phone", ["read", "jobs"], "")
    assert asked.expires_at is not None
    assert asked.expires_at.astimezone().date().isoformat() == "2099-01-31"
    turned = await odctl("apikey", "rotate", "phone", "--json")
    assert list(turned.json)[:4] == ["id", "key", "scopes", "expires_at"]
    assert turned.json["key"] == API_KEY
    for line in (("apikey", "ls", "--json"), ("apikey", "revoke", "phone", "--json")):
        answer = await odctl(*line)
        assert (answer.code, API_KEY in answer.out) == (0, False)


@pytest.mark.parametrize("words", [["--scope", "all"], ["--expires", "2001-01-01"], ["--expires", "soon"]])
async def test_a_key_that_makes_no_sense_is_refused_here(odctl: Shell, control: FakeControl, words: list[str]) -> None:
    assert (await odctl("apikey", "create", "phone", *words)).code == 2
    assert "create_api_key" not in {name for name, _ in control.calls}


async def test_keys_are_made_for_jobs_unless_said_otherwise(odctl: Shell, control: FakeControl) -> None:
    assert (await odctl("apikey", "create", "phone", "--user", "maya")).code == 0
    asked = control.asked("create_api_key")
    assert (asked.scopes, asked.expires_at, asked.user) == (["jobs"], None, "maya")


# users


async def test_users_have_exactly_the_documented_fields(odctl: Shell, control: FakeControl) -> None:
    listed = (await odctl("users", "ls", "--json")).json
    assert [list(one) for one in listed] == [USER_FIELDS] * 2
    assert (listed[1]["name"], listed[1]["jobs_active"], listed[1]["quota_bytes"]) == ("maya", 2, None)
    for line in (
        "users show maya", "users role maya admin", "users disable maya", "users enable maya", "users rm maya -y",
        "users quota maya 1G", "users link maya --unix mm",
    ):  # fmt: skip
        answer = await odctl(*line.split(), "--json")
        assert list(answer.json) == USER_FIELDS, line
    assert (await odctl("users", "ls", "-q")).out == "admin\nmaya\n"


async def test_what_users_commands_ask_for(odctl: Shell, control: FakeControl) -> None:
    for line, name, asked in (
        ("users add maya --unix mm", "add_user", pb.AddUserRequest(name="maya", role="user", unix_user="mm")),
        ("users role maya admin", "set_user_role", pb.SetUserRoleRequest(name="maya", role="admin")),
        ("users disable maya", "set_user_active", pb.SetUserActiveRequest(name="maya")),
        ("users enable maya", "set_user_active", pb.SetUserActiveRequest(name="maya", active=True)),
        ("users rm maya --keep-jobs -y", "remove_user", pb.RemoveUserRequest(name="maya", keep_jobs=True)),
        ("users link maya --unix 1001", "link_user", pb.LinkUserRequest(name="maya", unix_user="1001")),
        ("users link maya --none", "link_user", pb.LinkUserRequest(name="maya")),
        ("users revoke maya", "revoke_everything", pb.RevokeEverythingRequest(name="maya")),
        ("users revoke --all -y", "revoke_everything", pb.RevokeEverythingRequest(all=True)),
        ("users revoke --session 0198-s", "end_session", pb.EndSessionRequest(session="0198-s")),
        ("users revoke --invitation 0198-i", "revoke_invitation", pb.RevokeInvitationRequest(invitation="0198-i")),
        ("users revoke --rotate-secret", "rotate_secret", pb.RotateSecretRequest()),
        ("users add --invite --role admin --ttl 2h", "invite_user", pb.InviteUserRequest(role="admin", ttl_s=7200)),
    ):  # fmt: skip
        answer = await odctl(*line.split())
        assert (answer.code, control.asked(name)) == (0, asked), (line, answer)
        assert name != "add_user" or answer.out == "added maya (user), linked with mm\n"
    assert sum(name == "revoke_everything" for name, _ in control.calls) == 2


async def test_what_is_used_is_shown_beside_what_may_be(odctl: Shell, control: FakeControl) -> None:
    assert (await odctl("users", "usage")).out.splitlines() == [
        "user       admin", "running    2 of 5", "jobs       3 unfinished", "stored     3.0 GiB of 10.0 GiB",
        "served     7.0 MiB today", "requests   12 of 600 in the last minute",
    ]  # fmt: skip
    assert control.asked("get_usage") == pb.GetUsageRequest()
    told = (await odctl("users", "usage", "maya", "--json")).json
    assert control.asked("get_usage") == pb.GetUsageRequest(name="maya")
    assert (told["user"], told["stored"], told["served_today"]) == ("maya", 3 << 30, 7 << 20)
    assert told["limits"] == {
        "running": 5, "jobs": None, "storage": 10 << 30, "served_per_day": None, "requests_per_minute": 600
    }  # fmt: skip


async def test_what_has_ended_is_counted(odctl: Shell, control: FakeControl) -> None:
    ended = await odctl("users", "revoke", "maya")
    assert ended.out == "ended of maya: 2 sessions, 1 key, 0 links, 0 invitations\n"
    told = (await odctl("users", "revoke", "maya", "--json")).json
    assert told == {"sessions": 2, "keys": 1, "links": 0, "invitations": 0}
    two = await odctl("users", "passwd", "maya", "--stdin", stdin=STDIN + b"another\n")
    assert (two.code, "set_user_password" in [name for name, _ in control.calls]) == (2, False)
    passwd = await odctl("users", "passwd", "maya", "--stdin", stdin=STDIN)
    assert passwd.out == "the password is set; ended: 2 sessions, 1 key\n"
    assert (await odctl("users", "enable", "maya")).out == "maya is enabled\n"


async def test_what_is_open_is_listed(odctl: Shell, control: FakeControl) -> None:
    assert (await odctl("users", "sessions", "maya", "--json")).json == [
        {"id": "0198-session", "created_at": MADE, "expires_at": MADE, "current": False}
    ]
    assert control.asked("list_sessions") == pb.ListSessionsRequest(user="maya")
    assert (await odctl("users", "sessions", "-q")).out == "0198-session\n"
    assert (await odctl("users", "invitations", "-o", "csv")).out.splitlines() == [
        "id,role,invited_by,created_at,expires_at", f"0198-invitation,user,admin,{MADE},{MADE}"
    ]  # fmt: skip


async def test_limits_that_are_not_named_stay(odctl: Shell, control: FakeControl) -> None:
    line = "users quota maya 500G --running 2 --jobs none --served default"
    assert (await odctl(*line.split())).out == (
        "maya: running 2, jobs no limit, stored 500 GiB; the others as the settings say\n"
    )
    asked = control.asked("set_user_limits")
    assert asked.fields == ["storage", "running", "jobs", "served_per_day"]
    assert asked.limits == pb.UserLimits(storage=500 << 30, running=2, jobs=0)
    assert (await odctl("users", "quota", "maya", "--reset", "--jobs", "9")).code == 0
    asked = control.asked("set_user_limits")
    assert set(asked.fields) == {"storage", "running", "jobs", "served_per_day", "requests_per_minute"}
    assert asked.limits == pb.UserLimits(jobs=9)
    for wrong in ("users quota maya", "users quota maya much", "users quota maya --running 1.5", "users quota maya -1"):
        assert (await odctl(*wrong.split())).code == 2, wrong


async def test_an_invitation_is_alone_on_stdout(odctl: Shell, control: FakeControl) -> None:
    answer = await odctl("users", "add", "maya", "--invite")
    assert answer.out == f"{INVITATION}\n"
    assert answer.err.startswith("good once, for whoever has it, until ")
    assert f"odctl login {INVITATION} --user maya" in answer.err
    assert (await odctl("users", "add", "--invite", "--json")).json == {"user": None, "invite": INVITATION}
    made = (await odctl("users", "add", "maya", "--no-password", "--json")).json
    assert (made["user"]["name"], made["invite"]) == ("maya", None)


@pytest.mark.parametrize(
    "line",
    [
        "users add", "users add maya --invite --unix mm", "users add maya --role boss", "users add maya --ttl 1h",
        "users link maya", "users link maya --unix a --none", "users role maya boss", "users revoke",
        "users revoke maya --all", "users revoke maya --session a", "users revoke --session a --invitation b",
        "users add maya --password-stdin --no-password",
    ],
)
async def test_lines_that_make_no_sense_change_nothing(odctl: Shell, control: FakeControl, line: str) -> None:
    answer = await odctl(*line.split())
    assert (answer.code, answer.out, control.calls) == (2, "", [])
    assert len(answer.err.splitlines()) <= 3


async def test_removing_a_user_is_asked_about(odctl: Shell, control: FakeControl) -> None:
    refused = await odctl.at_a_terminal("users", "rm", "maya", answers=[("[y/N]", "n")])
    assert refused.code == 1
    assert "remove_user" not in {name for name, _ in control.calls}
    done = await odctl.at_a_terminal("users", "rm", "maya", answers=[("[y/N]", "y")])
    assert (done.code, control.asked("remove_user").name) == (0, "maya")


async def test_an_older_daemon_is_named(odctl: Shell, control: FakeControl) -> None:
    control.refuse["list_users"] = (Status.UNIMPLEMENTED, common.Error())
    answer = await odctl("users", "ls")
    assert (answer.code, answer.out) == (9, "")
    assert answer.err.splitlines()[0] == f"odctl: needs oddaemon ≥ {__version__} on nas (has 9.9.9)"
    assert "upgrade" in answer.err
