"""Fixtures of all tests: one thread, an environment without tracking variables, and small cohorts."""

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Functions import what they need: the process that hands out the tests reads this file too, and runs none of them.


class _CurrentStderr(io.TextIOBase):
    def write(self, text: str) -> int:
        return sys.stderr.write(text)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write the number of a public report into the JUnit file, where ``benchmarks.cases`` reads it."""
    for item in items:
        for mark in item.iter_markers("public_report"):
            item.user_properties.extend(("public_report", number) for number in mark.args)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _captured_messages() -> None:
    """Let a test capture the messages of Lightning, which writes to what was sys.stderr when it was imported."""
    for name in ("lightning", "lightning.fabric", "lightning.pytorch"):
        for handler in logging.getLogger(name).handlers:
            assert isinstance(handler, logging.StreamHandler)
            handler.stream = _CurrentStderr()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    torch.use_deterministic_algorithms(False)  # `polyclinic fit` sets it for the whole process
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session", autouse=True)
def _copied_tables(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[None]:
    import mlflow_tables

    root = tmp_path_factory.getbasetemp()
    mlflow_tables.copy_from((root if worker_id == "master" else root.parent) / "mlflow_tables.db")
    yield
    mlflow_tables.copy_from(None)


@pytest.fixture(scope="session")
def pulse_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a cohort of two modalities, ``first`` and ``second``, that both read pulses."""
    from polyclinic.cohort import write_phantom_cohort
    from pulse_plugin import Pulse

    folder = tmp_path_factory.mktemp("pulse") / "cohort"
    plugins = {"first": Pulse(), "second": Pulse()}
    return write_phantom_cohort(folder, studies=120, seed=1, modalities=plugins, workers=1)


@pytest.fixture(scope="session")
def phantom_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small cohort of the five installed plugins."""
    from polyclinic.cohort import default_modalities, write_phantom_cohort

    folder = tmp_path_factory.mktemp("phantom") / "cohort"
    return write_phantom_cohort(folder, studies=60, seed=2, modalities=default_modalities(), workers=1)
