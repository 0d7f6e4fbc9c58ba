"""`polyclinic doctor` reports what would make a run fail, and what to install."""

import io
from contextlib import redirect_stdout
from importlib.metadata import requires, version
from pathlib import Path

import pytest

from polyclinic.cli import doctor as module
from polyclinic.system.terminal import Console

console = Console(record=True, width=200, markup=True)


def _report() -> str:
    with redirect_stdout(io.StringIO()) as remarks:
        module.doctor()
    return console.export_text() + remarks.getvalue()


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "Console", lambda **_: console)


def test_a_torchvision_built_for_another_torch_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = {"torchvision": ["numpy", "torch==0.4.1"]}
    monkeypatch.setattr(module, "requires", lambda name: stated.get(name) or requires(name))
    report = _report()
    assert report.startswith("not ready: torchvision is made for torch ==0.4.1; run pip install torch==0.4.1\n")
    assert "made for torch ==0.4.1" in report
    assert "next: pip install torch==0.4.1" in report


def test_a_library_that_is_missing_or_too_old_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "version", lambda name: "0.1" if name == "mlflow" else version(name))
    report = _report()
    assert report.startswith("not ready: mlflow 0.1 is installed, expected ")
    assert "; run pip install 'mlflow" in report.splitlines()[0]
    assert "0.1, expected" in report
    assert "next: pip install 'mlflow" in report
    assert "made for torch" not in report


def test_a_password_in_the_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://jane:planted@127.0.0.1:9")
    report = _report()
    assert "http://127.0.0.1:9" in report
    assert "does not answer" in report
    assert "planted" not in report


def test_an_extra_that_is_not_installed_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = {"sweep": ["optuna"], "tensorboard": ["tensorboard"], "wandb": ["wandb"]}
    monkeypatch.setattr(module, "absent_modules", lambda name: absent.get(name, []))
    report = _report()
    assert report.splitlines()[0].startswith("ready: scoring, training and evaluation, the service, ")
    assert report.splitlines()[0].endswith("; not installed: tuning, TensorBoard, Weights & Biases")
    assert "no optuna, needed for tuning: pip install 'polyclinic[sweep]'" in report
    assert "next: polyclinic modalities" in report


def test_what_an_installed_extra_requires_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = ["numpy>=2.0", "mlflow>=99; extra == 'train'", "polyclinic[backbones]; extra == 'train'"]
    monkeypatch.setattr(module, "requires", lambda name: stated if name == "polyclinic" else requires(name))
    monkeypatch.setattr(module, "absent_modules", lambda name: [] if name == "train" else ["absent"])
    assert _report().startswith(f"not ready: mlflow {version('mlflow')} is installed, expected >=99; run pip install ")
    monkeypatch.setattr(module, "absent_modules", lambda name: ["mlflow"])
    assert _report().startswith("ready: scoring; not installed: training and evaluation, the service, ")


def test_a_database_that_no_run_can_use_is_a_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("runs").mkdir()
    Path("runs/mlflow.db").write_text("not a database")
    assert _report().startswith("not ready: the tracking database cannot be read: file is not a database; set MLFLOW_")
