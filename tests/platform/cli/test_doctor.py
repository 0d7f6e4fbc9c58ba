"""`polyclinic doctor` tells what a run would fail on, and what to install."""

from importlib.metadata import requires, version
from pathlib import Path

import pytest

from polyclinic.cli import doctor as tells
from polyclinic.system.terminal import Console


def _told() -> str:
    console = Console(record=True, width=200)
    tells.doctor(console)
    return console.export_text()


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_torchvision_that_was_made_for_another_torch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = {"torchvision": ["numpy", "torch==0.4.1"]}
    monkeypatch.setattr(tells, "requires", lambda name: stated.get(name) or requires(name))
    told = _told()
    assert "made for torch ==0.4.1" in told
    assert "next: pip install torch==0.4.1" in told


def test_a_library_that_is_missing_or_too_old_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tells, "version", lambda name: "0.1" if name == "mlflow" else version(name))
    told = _told()
    assert "0.1, expected" in told
    assert "next: pip install 'mlflow" in told
    assert "made for torch" not in told


def test_a_password_in_the_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://jane:planted@127.0.0.1:9")
    told = _told()
    assert "http://127.0.0.1:9" in told
    assert "does not answer" in told
    assert "planted" not in told
