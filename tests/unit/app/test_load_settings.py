from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from oddaemon.app.given import BadSettings, Origin
from oddaemon.app.load_settings import load
from oddaemon.app.loaded import Loaded, differences
from oddaemon.app.plugins import ENGINES, STORAGE, TRANSPORTS
from oddaemon.app.setting_keys import REFUSED, core_keys
from oddaemon.domain.address import parse_address
from oddaemon.domain.types import Seconds
from tests.unit.app.support import FastSettings, table


def read(
    toml: str = "", environ: dict[str, str] | None = None, flags: dict[str, str] | None = None, *, folder: Path
) -> Loaded:
    file = folder / "oddaemon.toml"
    file.write_text(toml)
    return load(flags=flags, environ=environ or {}, config_file=file, table=table())


def mistakes(
    toml: str = "", environ: dict[str, str] | None = None, flags: dict[str, str] | None = None, *, folder: Path
) -> list[str]:
    with pytest.raises(BadSettings) as caught:
        read(toml, environ, flags, folder=folder)
    return [str(mistake).replace(f"{folder}/", "") for mistake in caught.value.mistakes]


def test_nothing_configured_is_valid_and_local() -> None:
    loaded = load(environ={"HOME": "/nonexistent"}, table=table())
    assert loaded.settings.server.host == "127.0.0.1"
    assert loaded.settings.node.file_server_host == "127.0.0.1"
    assert loaded.settings.limits.min_disk_free == 2**30
    assert not loaded.settings.auth.registration_enabled
    assert loaded.settings.database.url.get_secret_value() == ""
    assert loaded.origin("server.port") is Origin.DEFAULT


def test_stronger_sources_win_and_each_value_knows_its_place(tmp_path: Path) -> None:
    toml = "[limits]\nretries = 1\nper_user_concurrent = 1\nper_node_concurrent = 1\n"
    environ = {"OD_LIMITS_PER_USER_CONCURRENT": "2", "OD_LIMITS_PER_NODE_CONCURRENT": "2"}
    loaded = read(toml, environ, {"limits.per_node_concurrent": "3"}, folder=tmp_path)
    limits = loaded.settings.limits
    assert (limits.retries, limits.per_user_concurrent, limits.per_node_concurrent) == (1, 2, 3)
    assert loaded.origin("limits.retries") is Origin.FILE
    assert loaded.place("limits.retries") == f"{tmp_path}/oddaemon.toml:2"
    assert loaded.place("limits.per_user_concurrent") == "OD_LIMITS_PER_USER_CONCURRENT"
    assert loaded.origin("limits.per_node_concurrent") is Origin.FLAG


def test_stored_values_are_weaker_than_the_file_and_never_keep_the_daemon_from_starting(tmp_path: Path) -> None:
    loaded = read("[limits]\nretries = 1\nmin_disk_free = '1GB'\n", folder=tmp_path).with_stored(
        {
            "limits.retries": 9, "limits.per_user_concurrent": 7, "limits.link_expiry": -4, "limits.resume_free": "x",
            "server.port": 99, "gone.key": 1, "scheduler.adapter": "uninstalled",
        }
    )  # fmt: skip
    assert loaded.settings.limits.retries == 1
    assert loaded.settings.limits.per_user_concurrent == 7
    assert loaded.origin("limits.per_user_concurrent") is Origin.STORED
    assert loaded.settings.limits.link_expiry == Seconds(3600)
    assert loaded.settings.limits.resume_free == 0
    assert loaded.settings.server.port == 8080
    assert loaded.settings.scheduler.adapter == "round-robin"
    again = loaded.with_stored({})
    assert again.settings.limits.per_user_concurrent == 5


def test_every_mistake_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    toml = """
[server]
prot = 1
port = "many"
[limits]
min_disk_free = "5 parsecs"
link_expiry = "0"
[engines.aria2]
max_concurent = 3
buffer = "much"
[engines.aria]
x = 1
[auth]
jwt_secret = "${NOT_SET}"
"""
    environ = {"OD_LIMITS_RETRYS": "1", "OD_DATABASE_URL": "sqlite:////x", "OD_NODE_FILE_SERVER_PORT": "70000"}
    found = mistakes(toml, environ, {"nonsense": "1"}, folder=tmp_path)
    assert found == [
        "--set nonsense: unknown setting nonsense",
        "oddaemon.toml:3: unknown setting server.prot; did you mean server.port?",
        "oddaemon.toml:4: server.port: should be a valid integer, unable to parse string as an integer",
        "oddaemon.toml:6: limits.min_disk_free: '5 parsecs' is not a size: "
        'give one such as "1GB", "500M" or a number of bytes',
        "oddaemon.toml:7: limits.link_expiry: should be greater than 0",
        "oddaemon.toml:9: unknown setting engines.aria2.max_concurent; did you mean engines.aria2.max_concurrent?",
        "oddaemon.toml:10: engines.aria2.buffer: 'much' is not a size: "
        'give one such as "1GB", "500M" or a number of bytes',
        "oddaemon.toml:12: no plug-in 'aria' is installed for [engines]; did you mean aria2?",
        "oddaemon.toml:14: auth.jwt_secret: the variable NOT_SET is not set: set it, or write ${NOT_SET:-default}",
        "OD_DATABASE_URL: there is no such variable: database.url is set by DATABASE_URL",
        "OD_LIMITS_RETRYS: unknown variable; did you mean OD_LIMITS_RETRIES?",
        "OD_NODE_FILE_SERVER_PORT: node.file_server_port: should be less than or equal to 65535",
    ]


@pytest.mark.parametrize("path", sorted(REFUSED))
def test_keys_of_earlier_plans_are_refused_with_the_reason(path: str, tmp_path: Path) -> None:
    section, _, name = path.rpartition(".")
    variable = "OD_" + path.upper().replace(".", "_")
    assert mistakes(f"[{section}]\n{name} = 'x'\n", folder=tmp_path) == [
        f"oddaemon.toml:2: there is no setting {path}: {REFUSED[path]}"
    ]
    assert mistakes(environ={variable: "x"}, folder=tmp_path) == [
        f"{variable}: there is no setting {path}: {REFUSED[path]}"
    ]


def test_names_of_variables_never_collide(tmp_path: Path) -> None:
    keys = read("[engines.odd]\n", folder=tmp_path).keys.values()
    names = Counter(name for key in keys for name in (key.variable, f"{key.variable}_FILE"))
    assert [name for name, count in names.items() if count > 1] == []
    assert {"DATABASE_URL", "CONTROLLER_URL", "CONTROLLER_TOKEN", "OD_ENGINES_ARIA2_MAX_CONCURRENT"} <= set(names)
    assert not {"OD_DATABASE_URL", "OD_CONTROLLER_GRPC_ENDPOINT", "OD_CONTROLLER_AUTH_TOKEN"} & set(names)


def test_every_key_can_be_set_by_its_variable() -> None:
    for key in core_keys().values():
        sample = {
            "bool": "true", "int": "7", "size": "7MB", "duration": "7m", "list": "a,b", "text": "/tmp/x",
            "enum": key.choices[-1] if key.choices else "",
        }[key.kind]  # fmt: skip
        special = {
            "database.url": "sqlite:////tmp/x", "auth.jwt_secret": "0123456789abcdef0123456789abcdef",
            "auth.admin_username": "maya", "node.id": "nas", "node.labels": "room=attic,fast=yes",
            "control.socket_mode": "0660",
            "node.file_endpoint": "https://files.example.org", "storage.provider": "local",
            "scheduler.adapter": "round-robin", "server.trusted_proxies": "10.0.0.0/8,::1",
            "server.cors_origins": "https://a.example,*", "nodes.address": "nas.example.org:9090",
            "controller.grpc_endpoint": "nas:9090", "transport.adapter": "grpc",
        }  # fmt: skip
        pair = {
            f"{section}.tls_{one}": f"OD_{section.upper()}_TLS_{other.upper()}"
            for section in ("server", "nodes")
            for one, other in (("cert", "key"), ("key", "cert"))
        }
        beside = {pair[key.path]: "/tmp/y"} if key.path in pair else {}
        loaded = load(environ={key.variable: special.get(key.path, sample), **beside}, table=table())
        assert loaded.origin(key.path) is Origin.ENV, key.path


def test_a_variable_can_name_a_file_that_holds_the_value(tmp_path: Path) -> None:
    secret = tmp_path / "dsn"
    secret.write_text("postgresql://u:p@h/d\n")
    loaded = read(environ={"DATABASE_URL_FILE": str(secret)}, folder=tmp_path)
    assert loaded.settings.database.url.get_secret_value() == "postgresql://u:p@h/d"
    assert loaded.place("database.url") == "DATABASE_URL_FILE"
    both = {"DATABASE_URL_FILE": str(secret), "DATABASE_URL": "sqlite:////x"}
    assert mistakes(environ=both, folder=tmp_path) == [
        "DATABASE_URL_FILE: DATABASE_URL is set too: set one of the two"
    ]
    assert mistakes(environ={"OD_NODE_ID_FILE": "/nonexistent"}, folder=tmp_path) == [
        "OD_NODE_ID_FILE: /nonexistent cannot be read: No such file or directory"
    ]


def test_values_from_variables_cannot_bring_in_settings(tmp_path: Path) -> None:
    loaded = read(
        '[node]\nname = "${EVIL}"\n', {"EVIL": 'x"\n[limits]\nretries = 99 # ${HOME}'}, folder=tmp_path
    )
    assert loaded.settings.node.name == 'x"\n[limits]\nretries = 99 # ${HOME}'
    assert loaded.settings.limits.retries == 8


def test_secrets_are_masked_wherever_they_are_shown(tmp_path: Path) -> None:
    key = "correct horse battery staple 0123456789"
    environ = {"DATABASE_URL": "postgresql://u:hunter2@h/d", "CONTROLLER_TOKEN": "join-token-1"}
    loaded = read(f'[auth]\njwt_secret = "{key}"\n', environ, folder=tmp_path)
    shown = " ".join(str(loaded.shown(path)) for path in loaded.keys) + repr(loaded.settings)
    for secret in (key, "hunter2", "join-token-1"):
        assert secret not in shown
        assert any(secret in value for value in loaded.secrets())
    assert {"hunter2", "a:b"} <= set(
        read(environ={"DATABASE_URL": "postgresql://u:hunter2@h/d"}, folder=tmp_path).secrets()
        + read(environ={"DATABASE_URL": "postgresql://u:a%3Ab@h/d"}, folder=tmp_path).secrets()
    )
    for known in ("change-me-in-production-change-me-please", "dev-signing-key-0123456789-abcdefghij", "a" * 64):
        assert len(mistakes(f'[auth]\njwt_secret = "{known}"\n', folder=tmp_path)) == 1
    short = mistakes('[auth]\njwt_secret = "swordfish"\n', folder=tmp_path)
    assert "swordfish" not in "".join(short)


def test_a_bad_file_is_told_with_its_line(tmp_path: Path) -> None:
    assert mistakes("[server]\nport = \n", folder=tmp_path)[0].startswith("oddaemon.toml:2: not TOML")
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSettings, match="not UTF-8"):
        load(environ={}, config_file=tmp_path / "x.toml", table=table())
    with pytest.raises(BadSettings, match="No such file"):
        load(environ={"OD_CONFIG_PATH": str(tmp_path / "none.toml")}, table=table())
    with pytest.raises(BadSettings, match="Is a directory"):
        load(environ={}, config_file=tmp_path, table=table())


def test_a_mistake_that_a_stronger_source_hides_is_told_too(tmp_path: Path) -> None:
    assert mistakes("[limits]\nretries = -1\n", {"OD_LIMITS_RETRIES": "3"}, folder=tmp_path) == [
        "oddaemon.toml:2: limits.retries: should be greater than or equal to 0"
    ]
    hidden = read("[server]\nport = 8081\n", {"OD_SERVER_PORT": "9"}, folder=tmp_path)
    assert hidden.settings.server.port == 9


def test_stopped_downloads_go_on_well_above_the_reserve() -> None:
    def margin(**variables: str) -> int:
        return load(environ=variables, table=table()).settings.limits.resume_margin

    assert margin() == 2**28
    assert margin(OD_LIMITS_MIN_DISK_FREE="0") == 2**20
    assert margin(OD_LIMITS_RESUME_FREE="5MB") == 5 * 2**20


def test_a_section_is_not_a_setting(tmp_path: Path) -> None:
    assert mistakes("limits = 3\n", folder=tmp_path) == ["oddaemon.toml:1: limits is a section, not a setting"]
    assert read("[limits]\n[engines.aria2]\n", folder=tmp_path).settings.limits.retries == 8


def test_settings_that_contradict_each_other(tmp_path: Path) -> None:
    toml = "[server]\nport = 9000\n[node]\nfile_server_port = 9000\n"
    (found,) = mistakes(toml, folder=tmp_path)
    assert found.endswith("server.port and node.file_server_port may not be the same")
    assert "oddaemon.toml:2" in found
    assert "oddaemon.toml:4" in found
    assert read("[server]\nport = 0\n[node]\nfile_server_port = 0\n", folder=tmp_path)


@pytest.mark.parametrize("value", ["relative/path", "./x", "a\0b"])
def test_paths_are_absolute(value: str, tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="path"):
        load(environ={}, flags={"node.download_dir": value}, table=table())


def test_plugin_sections_are_read_into_the_plugins_own_settings(tmp_path: Path) -> None:
    toml = "[engines.aria2]\nmax_concurrent = 2\nbuffer = '4K'\npatience = '2m'\nmirrors = ['a', 'b']\n"
    loaded = read(toml, {"OD_ENGINES_ODD_MIRRORS": "c,d"}, folder=tmp_path)
    found = {(item.group, item.name): item.settings for item in loaded.plugins}
    assert found[ENGINES, "aria2"] == FastSettings(
        max_concurrent=2, buffer=4096, patience=120.0, mirrors=("a", "b")  # type: ignore[arg-type]
    )  # fmt: skip
    assert found[ENGINES, "odd"].mirrors == ("c", "d")
    assert loaded.value("engines.aria2.patience") == 120.0
    assert loaded.keys["engines.aria2.max_concurrent"].description == "How many at once."
    (wrong,) = mistakes("[engines.aria2]\nmax_concurrent = 0\n", folder=tmp_path)
    assert wrong.endswith("max_concurrent is at least 1")


def test_only_configured_plugins_are_imported(tmp_path: Path) -> None:
    names = {"aria2", "local", "round-robin", "audit_log", "grpc"}
    assert {item.name for item in read(folder=tmp_path).plugins} == names
    off = read("[engines.aria2]\nenabled = false\nanything = 'goes'\n", folder=tmp_path)
    assert "aria2" not in {item.name for item in off.plugins}
    assert off.value("engines.aria2.enabled") is False
    assert mistakes("[engines.aria2]\nenabled = 'perhaps'\n", folder=tmp_path) == [
        "oddaemon.toml:2: engines.aria2.enabled: give true or false"
    ]


def test_a_broken_plugin_is_reported_and_its_section_not_judged(tmp_path: Path) -> None:
    loaded = read("[engines.ytdlp]\nmax_concurrent = 3\n", {"OD_ENGINES_YTDLP_ANYTHING": "1"}, folder=tmp_path)
    assert "cannot be imported" in loaded.broken[ENGINES, "ytdlp"]


def test_an_unknown_balancer_is_a_mistake(tmp_path: Path) -> None:
    assert mistakes("[scheduler]\nadapter = 'psychic'\n", folder=tmp_path) == [
        "oddaemon.toml:2: scheduler.adapter: 'psychic' is not installed; there is: round-robin"
    ]


def test_reloading_tells_what_changed_and_what_needs_a_restart(tmp_path: Path) -> None:
    before = read("[limits]\nretries = 1\n", folder=tmp_path)
    (tmp_path / "oddaemon.toml").write_text("[limits]\nretries = 2\n[server]\nport = 9\n")
    changed, restart = differences(before, before.again())
    assert (changed, restart) == (["server.port", "limits.retries"], ["server.port"])


def test_the_suites_own_variables_are_not_settings() -> None:
    assert load(environ={"OD_TEST_DATABASE_URL": "x", "OD_SERVER_PORT": ""}, table=table()).settings.server.port == 8080


def test_only_a_near_name_is_suggested() -> None:
    with pytest.raises(BadSettings) as caught:
        load(environ={}, flags={"limits.nope": "1"})
    assert str(caught.value) == "--set limits.nope: unknown setting limits.nope"


def test_a_worker_leaves_its_controllers_plugins_alone(tmp_path: Path) -> None:
    """Neither imported nor judged: one config file is good for both."""
    text = "[scheduler]\nadapter = 'most-free'\n[scheduler.most-free]\nnonsense = 1\n[subscribers.metrics]\nx = 2\n"
    (tmp_path / "both.toml").write_text(text + "[engines.aria2]\nmax_concurrent = 3\n")
    groups = {ENGINES, STORAGE, TRANSPORTS}
    found = load(environ={}, config_file=tmp_path / "both.toml", groups=groups)
    assert {item.group for item in found.plugins} == groups
    assert found.value("engines.aria2.max_concurrent") == 3
    assert {item.group for item in found.again().plugins} == groups


@pytest.mark.parametrize(
    "text", ["http://nas:9090", "nas:port", "nas:0", "nas:70000", "a b:9090", "u@nas", "[::1", ":9090"]
)
def test_what_is_no_address_of_a_controller_is_refused(text: str) -> None:
    with pytest.raises(BadSettings, match=r"CONTROLLER_URL: .* is no address: give host:port"):
        load(environ={"CONTROLLER_URL": text}, table=table())


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("nas", ("nas", 9090)), ("nas:1", ("nas", 1)), ("10.0.0.1:9091", ("10.0.0.1", 9091)),
        ("[2001:db8::1]:9091", ("2001:db8::1", 9091)), ("[::1]", ("::1", 9090)),
    ],
)  # fmt: skip
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text, 9090) == address


@pytest.mark.parametrize(
    "text", ["room", "=attic", "room=", "a=b=c", "room=attic,room=cellar", f"{'k' * 64}=v", "a=\x07"]
)
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(BadSettings, match=r"OD_NODE_LABELS: node\.labels: "):
        load(environ={"OD_NODE_LABELS": text}, table=table())
