"""Loggers of Lightning beside MLflow, and packages that they need."""

import csv
import json
import os
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cli_runs import fit, write_config
from forked_commands import Forked
from polyclinic.cli import fit as fit_command
from polyclinic.cli import main
from polyclinic.data.dataset import import_without_wandb

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


def test_a_tensorboard_logger_keeps_curves_and_checkpoints_in_its_folder() -> None:
    result = fit("--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=boards", "--quiet")
    (events,) = Path("boards").rglob("events.out.tfevents.*")
    board = EventAccumulator(str(events)).Reload()
    assert {"train/loss", "val/loss"} <= set(board.Tags()["scalars"])
    assert {path.name for path in events.parent.iterdir()} >= {"config.yaml", "environment.json", "checkpoints"}
    assert Path(result["checkpoint"]).is_relative_to(events.parent)
    assert not Path("runs", "mlflow.db").exists()


@pytest.mark.processes
def test_a_wandb_logger_works_offline_with_loader_processes(tmp_path: Path) -> None:
    words = ["--trainer.logger=WandbLogger", "--trainer.logger.save_dir=wb", "--trainer.logger.offline=true"]
    words = [
        "fit",
        "-c",
        "config.yaml",
        *words,
        "--trainer.logger.project=study",
        "--data.num_workers=1",
        "--json=f.json",
    ]
    log = tmp_path / "fit.log"
    command = Forked(words, folder=tmp_path, environment=dict(os.environ), out=log, errors=log)
    assert command.wait(120) == 0, log.read_text()
    folder = Path(json.loads(Path("f.json").read_text())["checkpoint"]).parents[1]
    assert folder.parent == Path("wb", "study")
    assert {"config.yaml", "environment.json"} <= {path.name for path in folder.iterdir()}
    assert list(Path("wb", "wandb").glob(f"offline-run-*-{folder.name}/*.wandb"))
    assert not list(Path().glob("run-*")), "files of a run lie in its folder"


def test_a_loader_process_imports_without_the_hook_of_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = type("ImportHookFinder", (), {"__module__": "wandb.sdk.lib.import_hooks"})()
    others = [finder for finder in sys.meta_path if not type(finder).__module__.startswith("wandb")]
    monkeypatch.setattr(sys, "meta_path", [hook, *others])
    import_without_wandb(0)
    assert sys.meta_path == others


@pytest.mark.parametrize(("logger", "package"), [("WandbLogger", "wandb"), ("TensorBoardLogger", "tensorboard")])
def test_a_missing_package_is_named(
    logger: str, package: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_command, "find_spec", lambda name: None)
    save_dir = ["--trainer.logger.save_dir=tb"] if logger == "TensorBoardLogger" else []
    assert main(["fit", "-c", "config.yaml", f"--trainer.logger+={logger}", *save_dir]) == 1
    errors = capfd.readouterr().err
    assert f"error: got logger {logger}, which needs the package {package}" in errors
    assert f"pip install {package}" in errors
    assert not Path("runs").exists()
