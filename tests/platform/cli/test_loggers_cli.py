"""Loggers of Lightning beside MLflow, and packages that they need."""

import csv
import importlib.util
from pathlib import Path

import pytest

from cli_runs import fit, write_config
from polyclinic.cli import main

MODEL = {"class_path": "Downstream", "init_args": {"size": "pico", "linear": False}}


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pulse_cohort: Path) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(pulse_cohort, MODEL, {"first": {"class_path": "pulse_plugin.Pulse"}})


def test_a_csv_logger_writes_beside_mlflow_and_quiet_prints_the_checkpoint_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = ["--trainer.logger+=CSVLogger", "--trainer.logger.save_dir=csv", "--quiet"]
    result = fit(*words, "--trainer.enable_progress_bar=true", "--trainer.enable_model_summary=true")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == (f"checkpoint: {result['checkpoint']}\n", "")
    assert result["mlflow_run_id"]
    assert Path(result["checkpoint"]).is_relative_to("runs")
    (path,) = Path("csv").rglob("metrics.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert {"train/loss", "val/loss"} <= rows[0].keys()
    assert any(row["val/loss"] for row in rows)


@pytest.mark.parametrize(("logger", "package"), [("WandbLogger", "wandb"), ("TensorBoardLogger", "tensorboard")])
def test_a_missing_package_is_named(logger: str, package: str, capfd: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    save_dir = ["--trainer.logger.save_dir=tb"] if logger == "TensorBoardLogger" else []
    assert main(["fit", "-c", "config.yaml", f"--trainer.logger+={logger}", *save_dir]) == 1
    errors = capfd.readouterr().err
    assert f"error: got logger {logger}, which needs the package {package}" in errors
    assert f"pip install {package}" in errors
    assert not Path("runs").exists()
