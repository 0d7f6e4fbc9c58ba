"""Fixtures of all tests: one thread, an environment without tracking variables, and small cohorts."""

import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
import torch

from polyclinic.cohort import write_phantom_cohort
from polyclinic.tracking import store
from pulse_plugin import Pulse

torch.set_num_threads(1)
MAKE_TABLES = store._make_tables


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write the number of a public report into the JUnit file, where ``benchmarks.cases`` reads it."""
    for item in items:
        for mark in item.iter_markers("public_report"):
            item.user_properties.extend(("public_report", number) for number in mark.args)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def mlflow_tables(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], bytes]:
    """Return a function that makes the file of a database with MLflow's tables and no runs."""

    @cache
    def make() -> bytes:
        database: Path = tmp_path_factory.mktemp("tables") / "mlflow.db"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # filters of a test do not apply in a session fixture
            MAKE_TABLES(database, "file:///nowhere")
        return database.read_bytes()

    return make


@pytest.fixture(autouse=True)
def _copied_tables(mlflow_tables: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy the tables of new tracking databases: MLflow needs seconds of a core to make them."""

    def copy(database: Path, artifacts: str) -> None:
        database.write_bytes(mlflow_tables())
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("UPDATE experiments SET artifact_location = ? || '/0'", [artifacts])

    monkeypatch.setattr(store, "_make_tables", copy)


@pytest.fixture(scope="session")
def pulse_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a cohort of two modalities, ``first`` and ``second``, that both read pulses."""
    folder = tmp_path_factory.mktemp("pulse") / "cohort"
    plugins = {"first": Pulse(), "second": Pulse()}
    return write_phantom_cohort(folder, studies=120, seed=1, modalities=plugins, workers=1)


@pytest.fixture(scope="session")
def phantom_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small cohort of the five installed plugins."""
    from polyclinic.cohort import default_modalities  # noqa: PLC0415 - loads every plugin's libraries

    folder = tmp_path_factory.mktemp("phantom") / "cohort"
    return write_phantom_cohort(folder, studies=60, seed=2, modalities=default_modalities(), workers=1)
