"""The certificate by which workers know their controller."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from oddaemon.app.exit_codes import StartFailed
from oddaemon.app.node_certificate import NAME, node_certificate, self_signed
from oddaemon.app.settings import NodesSettings
from oddaemon.ports.node_transport import NodeTransport
from oddaemon.ports.plugin import Parts
from oddaemon.testing.fakes import FakeSupervisor
from oddaemon.transports.grpc.plugin import PLUGIN
from tests.support.awake import AwakeClock


def transport(folder: Path) -> NodeTransport:
    parts = Parts(supervisor=FakeSupervisor(), clock=AwakeClock(), state_dir=folder, download_dir=folder)
    return PLUGIN.build(PLUGIN.settings_type(), parts)


def test_one_is_made_for_good_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda _: node_certificate(NodesSettings(), tmp_path, transport(tmp_path)), range(8)))
    again = node_certificate(NodesSettings(), tmp_path, transport(tmp_path))
    assert {one.fingerprint for one in [*made, again]} == {again.fingerprint}
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [NAME]


def test_it_lives_for_ten_years_also_where_clocks_are_a_day_behind() -> None:
    now = datetime(2026, 11, 27, tzinfo=UTC)
    certificate = x509.load_pem_x509_certificate(self_signed(now))
    assert certificate.not_valid_before_utc <= now - timedelta(days=1)
    assert certificate.not_valid_after_utc >= now + timedelta(days=3650)
    certificate.verify_directly_issued_by(certificate)


def test_a_damaged_one_is_told_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(StartFailed, match=r"nodes\.pem"):
        node_certificate(NodesSettings(), tmp_path, transport(tmp_path))
    assert (tmp_path / NAME).read_bytes() == b"-----BEGIN CERTIFICATE-----\n"
