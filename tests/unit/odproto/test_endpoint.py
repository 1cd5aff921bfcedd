from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odproto.endpoint import (
    MAX_SOCKET_PATH,
    SYSTEM_RUNTIME_DIR,
    BadEndpoint,
    Endpoint,
    default_runtime_dir,
    default_socket_paths,
    private_dir,
)

ME = os.getuid()
SOMEBODY = 4_000_000_001


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("unix:///run/x.sock", "/run/x.sock"),
        ("/run/x.sock", "/run/x.sock"),
        ("unix:///a%20b", "/a b"),
        ("UNIX:///x", "/x"),
    ],
)
def test_addresses_of_sockets(text: str, path: str) -> None:
    endpoint = Endpoint.parse(text)
    assert endpoint.path == Path(path)
    assert str(endpoint) == f"unix://{path}"


@pytest.mark.parametrize(
    "text",
    [
        "", "x.sock", "unix://run/x.sock", "ssh://nas", "tcp://h:1", "unix:///a?b", "unix:///a\n", "unix:a",
        "unix:///" + "a" * 100,
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadEndpoint):
        Endpoint.parse(text)


@given(st.text())
def test_any_text_is_an_address_or_a_clear_error(text: str) -> None:
    with suppress(BadEndpoint):
        assert Endpoint.parse(text).path.is_absolute()


def test_the_length_counts_bytes_not_characters() -> None:
    assert Endpoint.parse("/" + "a" * (MAX_SOCKET_PATH - 1))
    with pytest.raises(BadEndpoint, match="101"):
        Endpoint.parse("/" + "ü" * (MAX_SOCKET_PATH // 2))


def test_root_uses_the_systems_place_whatever_the_session_says(tmp_path: Path) -> None:
    assert default_runtime_dir({"XDG_RUNTIME_DIR": str(tmp_path)}, 0) == SYSTEM_RUNTIME_DIR
    assert default_socket_paths({}, 0) == [SYSTEM_RUNTIME_DIR / "control.sock"]


def test_a_user_has_the_runtime_dir_if_it_is_theirs(tmp_path: Path) -> None:
    logins = tmp_path / "run"
    (logins / str(SOMEBODY)).mkdir(parents=True)
    for variable in (str(tmp_path), "relative", "", str(tmp_path / "missing")):
        # it belongs to whoever runs this test, not to SOMEBODY
        found = default_runtime_dir({"XDG_RUNTIME_DIR": variable}, SOMEBODY, login_dirs=logins)
        assert found == Path(f"/tmp/opendebrid-{SOMEBODY}")


@pytest.fixture
def short() -> Iterator[Path]:
    """pytest's own folders can be too long for a socket."""
    with TemporaryDirectory(prefix="od-") as folder:
        yield Path(folder)


def test_an_ordinary_users_places(short: Path) -> None:
    uid = ME or 12345
    logins = short / "run"
    deep = short / ("d" * 90)
    for folder in (short, logins / str(uid), deep):
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, uid, -1)
    assert default_runtime_dir({"XDG_RUNTIME_DIR": "/"}, uid, login_dirs=logins) == logins / str(uid) / "opendebrid"
    assert default_runtime_dir({"XDG_RUNTIME_DIR": str(short)}, uid) == short / "opendebrid"
    assert default_socket_paths({"XDG_RUNTIME_DIR": str(short)}, uid) == [
        short / "opendebrid" / "control.sock",
        SYSTEM_RUNTIME_DIR / "control.sock",
    ]
    too_long = default_runtime_dir({"XDG_RUNTIME_DIR": str(deep)}, uid, login_dirs=short / "none")
    assert too_long == Path(f"/tmp/opendebrid-{uid}")


def test_a_private_folder_is_ours_and_closed(tmp_path: Path) -> None:
    made = private_dir(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    assert private_dir(made) == made


def test_a_folder_that_others_prepared_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o700)
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    for name in ("open", "link", "file"):
        with pytest.raises(BadEndpoint):
            private_dir(tmp_path / name)


@pytest.mark.skipif(ME != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 12345, 12345)
    with pytest.raises(BadEndpoint, match="12345"):
        private_dir(tmp_path / "theirs")
