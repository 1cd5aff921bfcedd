"""odctl against a control API in the test's own process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from odproto.gen.opendebrid.common import v1 as common

from oddaemon.store import migrate, schema
from oddaemon.store.tables import HEAD
from tests.support.fake_control import COMPLETED, NOW, FakeControl, FakeDaemon, job
from tests.support.odctl_shell import Shell


@pytest.fixture
def socket_dir() -> Iterator[Path]:
    folder = tempfile.mkdtemp(prefix="od")  # a socket's path is short: pytest's folders are too deep
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.fixture
async def control(socket_dir: Path) -> AsyncIterator[FakeControl]:
    async with FakeDaemon(socket_dir / "c.sock") as fake:
        fake.jobs[1] = job(1)
        fake.jobs[2] = job(2, state=COMPLETED, progress=1.0, done=1000, completed_at=NOW)
        fake.files[1] = fake.files[2] = [common.File(job=2, index=1, path="a/b.mkv", size=5, ready=True, selected=True)]
        yield fake


@pytest.fixture
def odctl(socket_dir: Path, tmp_path: Path) -> Shell:
    return Shell(socket_dir, tmp_path)


@pytest.fixture
def next_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The migrations with one more revision, which this program takes for the newest."""
    folder = tmp_path / "migrations"
    shutil.copytree(schema.migrations_dir(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    revision = folder / "versions" / "9999_colour.py"
    revision.write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n\n"
        f"revision = '9999'\ndown_revision = '{HEAD}'\nbranch_labels = None\ndepends_on = None\n\n"
        "def upgrade():\n    op.add_column('settings', sa.Column('colour', sa.Text()))\n\n"
        "def downgrade():\n    op.drop_column('settings', 'colour')\n"
    )
    monkeypatch.setattr(schema, "migrations_dir", lambda: folder)
    monkeypatch.setattr(migrate, "HEAD", "9999")
    return revision
