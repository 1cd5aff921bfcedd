"""The PostgreSQL store holds the contract."""

from __future__ import annotations

import pytest

from oddaemon.store.migrate import open_store as open_sql_store
from oddaemon.testing.store_contract import OpenStore, StoreContract


class TestPostgresqlStore(StoreContract):
    @pytest.fixture
    def open_store(self, postgres: str) -> OpenStore:
        return lambda publish: open_sql_store(postgres, publish=publish)
