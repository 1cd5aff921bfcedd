"""The HTTP listener's certificate: what cannot be used is refused in words, and the old one stays."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from oddaemon.app.exit_codes import ExitCode
from oddaemon.app.given import BadSettings
from oddaemon.app.load_settings import load
from oddaemon.app.tls import BadCertificate, Certificate

TLS = Path(__file__).resolve().parents[2] / "support" / "tls"


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("one.pem", "two.key", "mismatch"), ("one.key", "one.key", "no certificate"),
        ("gone.pem", "one.key", "gone.pem"),
        ("one.pem", "gone.key", "gone.key"), ("one.pem", "locked.key", "encrypted"), ("one.pem", "", "cannot read"),
        ("two.key", "two.pem", "no certificate"),
    ],
)  # fmt: skip
def test_what_is_no_certificate_and_its_key_is_refused(cert: str, key: str, words: str) -> None:
    with pytest.raises(BadCertificate, match=words) as refused:
        Certificate.read(str(TLS / cert), str(TLS / key))
    assert refused.value.code is ExitCode.CONFIG
    assert "server.tls_cert" in refused.value.hint
    assert "secret" not in str(refused.value)


def test_a_broken_renewal_leaves_the_old_one(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(TLS / "one.pem", cert)
    shutil.copy(TLS / "one.key", key)
    served = Certificate.read(str(cert), str(key))
    shutil.copy(TLS / "two.pem", cert)
    with pytest.raises(BadCertificate, match="mismatch") as refused:
        served.read_again()
    assert refused.value.mistakes
    shutil.copy(TLS / "two.key", key)
    served.read_again()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"TLS_CERT": "/a.pem"}, "belong together"), ({"TLS_KEY": "/a.pem"}, "belong together"),
        ({"TLS_CERT": "a.pem", "TLS_KEY": "/a"}, "absolute path"), ({"ALLOWED_HOSTS": "http://nas"}, "no host name"),
        ({"ALLOWED_HOSTS": "nas:8080"}, "no host name"), ({"TRUSTED_PROXIES": "10.0.0.0/33"}, "no address or network"),
        ({"TRUSTED_PROXIES": "nas"}, "no address or network"), ({"CORS_ORIGINS": "app.example.org"}, "no origin"),
        ({"CORS_ORIGINS": "https://a.example/"}, "no origin"), ({"HOST": ""}, None),
    ],
)  # fmt: skip
def test_settings_of_the_listener_that_cannot_be_used_say_why(given: dict[str, str], words: str | None) -> None:
    environ = {f"OD_SERVER_{name}": value for name, value in given.items()}
    if words is None:
        assert load(environ=environ).settings.server.host == "127.0.0.1"
        return
    with pytest.raises(BadSettings, match=words):
        load(environ=environ)
