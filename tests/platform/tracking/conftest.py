from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def empty_store(mlflow_tables: Callable[[], bytes], tmp_path: Path) -> Path:
    """Create a database with the tables of MLflow and no runs."""
    database = tmp_path / "mlflow.db"
    database.write_bytes(mlflow_tables())
    return database
