"""What is open to everybody on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from oddaemon.app import in_view
from oddaemon.app.in_view import open_to_all, secrets_in_view
from oddaemon.app.load_settings import load
from tests.unit.app.support import table


def test_a_closed_folder_hides_what_is_below_it(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.touch(mode=0o644)
    tmp_path.chmod(0o700)
    assert not open_to_all(file)
    assert not open_to_all(tmp_path / "missing")
    assert open_to_all(Path("/etc/passwd"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[auth]\njwt_secret = "0123456789abcdef0123456789abcdef01234567"', ["auth.jwt_secret"]),
        ('[database]\nurl = "postgresql://od:hunter2@h/d"', ["database.url"]),
        ('[database]\nurl = "postgresql://od@h/d"', []),
        ('[database]\nurl = "${URL}"', []),
        ("[limits]\nretries = 3", []),
    ],
)
def test_only_a_secret_that_stands_there_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: list[str]
) -> None:
    config = tmp_path / "od.toml"
    config.write_text(text)
    loaded = load(environ={"URL": "postgresql://od:hunter2@h/d"}, config_file=config, table=table())
    monkeypatch.setattr(in_view, "open_to_all", lambda path: path == config)
    assert secrets_in_view(loaded) == dict.fromkeys(told, config)
    monkeypatch.setattr(in_view, "open_to_all", lambda path: False)
    assert secrets_in_view(loaded) == {}
