"""`polyclinic doctor` reports what would make a run fail, and what to install."""

from importlib.metadata import requires, version
from pathlib import Path

import pytest

from polyclinic.cli import doctor as module
from polyclinic.system.terminal import Console

console = Console(record=True, width=200)


def _report() -> str:
    module.doctor()
    return console.export_text()


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "Console", lambda **_: console)


def test_a_torchvision_built_for_another_torch_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = {"torchvision": ["numpy", "torch==0.4.1"]}
    monkeypatch.setattr(module, "requires", lambda name: stated.get(name) or requires(name))
    report = _report()
    assert "made for torch ==0.4.1" in report
    assert "next: pip install torch==0.4.1" in report


def test_a_library_that_is_missing_or_too_old_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "version", lambda name: "0.1" if name == "mlflow" else version(name))
    report = _report()
    assert "0.1, expected" in report
    assert "next: pip install 'mlflow" in report
    assert "made for torch" not in report


def test_a_password_in_the_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://jane:planted@127.0.0.1:9")
    report = _report()
    assert "http://127.0.0.1:9" in report
    assert "does not answer" in report
    assert "planted" not in report
