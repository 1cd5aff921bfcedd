from __future__ import annotations

from pathlib import Path

import pytest

from oddaemon.app.load_settings import load
from oddaemon.app.paths import default_config_files, resolve_paths, store_location
from oddaemon.app.settings import Settings
from tests.unit.app.support import table


def settings(**variables: str) -> Settings:
    return load(environ=variables, table=table()).settings


def test_root_uses_the_systems_places() -> None:
    paths = resolve_paths(settings(), {"HOME": "/root", "XDG_DATA_HOME": "/elsewhere"}, 0)
    assert paths.data_dir == Path("/var/lib/opendebrid")
    assert paths.socket == Path("/run/opendebrid/control.sock")
    assert paths.download_dir == Path("/var/lib/opendebrid/downloads")
    assert paths.database_file == Path("/var/lib/opendebrid/opendebrid.db")


def test_a_user_has_their_own() -> None:
    paths = resolve_paths(settings(), {"HOME": "/home/maya"}, 4_000_000_001)
    assert paths.data_dir == Path("/home/maya/.local/share/opendebrid")
    assert resolve_paths(settings(), {"HOME": "/h", "XDG_DATA_HOME": "/data"}, 4_000_000_001).data_dir == Path(
        "/data/opendebrid"
    )
    # the XDG Base Directory Specification: relative ones are ignored
    assert resolve_paths(settings(), {"HOME": "/h", "XDG_DATA_HOME": "data"}, 4_000_000_001).data_dir == Path(
        "/h/.local/share/opendebrid"
    )


def test_systemd_says_where() -> None:
    environ = {"STATE_DIRECTORY": "/var/lib/od:/x", "RUNTIME_DIRECTORY": "/run/od"}
    environ["CONFIGURATION_DIRECTORY"] = "/etc/od"
    paths = resolve_paths(settings(), environ, 4_000_000_001)
    assert (paths.data_dir, paths.socket) == (Path("/var/lib/od"), Path("/run/od/control.sock"))
    assert default_config_files(environ, 4_000_000_001) == [Path("/etc/od/oddaemon.toml")]


def test_settings_override_everything(tmp_path: Path) -> None:
    chosen = settings(
        OD_PATHS_DATA_DIR=f"{tmp_path}/data", OD_PATHS_RUNTIME_DIR=f"{tmp_path}/run/", OD_NODE_DOWNLOAD_DIR="/srv/media"
    )
    paths = resolve_paths(chosen, {"STATE_DIRECTORY": "/x"}, 0)
    assert paths.data_dir == tmp_path / "data"
    assert paths.socket == tmp_path / "run" / "control.sock"
    assert paths.download_dir == Path("/srv/media")
    assert paths.engine_state("aria2") == tmp_path / "data" / "engines" / "aria2"
    paths.make()
    assert paths.data_dir.stat().st_mode & 0o777 == 0o700
    assert resolve_paths(settings(OD_CONTROL_SOCKET_PATH="/x/y.sock")).socket == Path("/x/y.sock")
    assert resolve_paths(settings(OD_STORAGE_LOCAL_BASE_PATH="/srv/a")).download_dir == Path("/srv/a")


def test_the_store_is_a_file_unless_a_url_says_otherwise(tmp_path: Path) -> None:
    chosen = settings(OD_PATHS_DATA_DIR=str(tmp_path))
    assert store_location(chosen, resolve_paths(chosen)) == tmp_path / "opendebrid.db"
    chosen = settings(DATABASE_URL="postgresql://u:p@h/d")
    assert store_location(chosen, resolve_paths(chosen)) == "postgresql://u:p@h/d"


@pytest.mark.parametrize(("uid", "place"), [(0, "/etc/opendebrid"), (4_000_000_001, "/home/maya/.config/opendebrid")])
def test_config_files_are_looked_for_in_one_place(uid: int, place: str) -> None:
    assert default_config_files({"HOME": "/home/maya"}, uid) == [Path(place) / "oddaemon.toml"]
