import shutil
import warnings
from pathlib import Path

import mlflow
import pytest
from sqlalchemy.exc import SADeprecationWarning


@pytest.fixture(scope="session")
def _schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("schema") / "mlflow.db"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SADeprecationWarning)  # a mark does not reach a session's fixture
        mlflow.MlflowClient(f"sqlite:///{database}")
    return database


@pytest.fixture
def empty_store(_schema: Path, tmp_path: Path) -> Path:
    """A database with MLflow's tables and no runs, copied because creating it takes a second."""
    return Path(shutil.copy(_schema, tmp_path))
