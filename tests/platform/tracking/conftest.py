from pathlib import Path

import pytest

from mlflow_tables import copy_tables


@pytest.fixture
def empty_store(tmp_path: Path) -> Path:
    """Create a database with the tables of MLflow and no runs."""
    database = tmp_path / "mlflow.db"
    copy_tables(database, "file:///nowhere")
    return database
