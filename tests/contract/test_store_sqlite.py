"""The SQLite store holds the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from oddaemon.store.migrate import open_store as open_sql_store
from oddaemon.testing.store_contract import OpenStore, StoreContract


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return lambda publish: open_sql_store(tmp_path / "store.db", publish=publish)
