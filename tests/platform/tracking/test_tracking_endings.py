"""Real processes of `polyclinic fit`: the status in MLflow is how the process of a run ended."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from tracking_runs import runs

from forked_commands import Forked

pytestmark = pytest.mark.processes

SUPPORT = Path(__file__).parents[2] / "support"
AT_ONCE = ("ok", "exception", "sigint", "sigterm", "sigterm-early")
CONFIG: dict[str, Any] = {
    "model": {
        "class_path": "ContrastivePretraining",
        "init_args": {"objective": {"class_path": "Symile"}, "embedding": 8, "lr": 0.003, "size": "tiny"},
    },
    "data": {
        "batch_size": 16,
        "num_workers": 0,
        "modalities": {"first": {"class_path": "pulse_plugin.Pulse"}, "second": {"class_path": "pulse_plugin.Pulse"}},
    },
    "trainer": {
        "accelerator": "cpu", "max_epochs": 1, "enable_progress_bar": False, "enable_model_summary": False,
        "log_every_n_steps": 1, "num_sanity_val_steps": 0, "limit_val_batches": 0,
        "logger": {"class_path": "polyclinic.tracking.RunLogger"},
    },
}  # fmt: skip


def start(folder: Path, how: str, *words: str) -> Forked:
    """Start a process of `polyclinic fit` that ends in a chosen way."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    paths = os.pathsep.join([str(SUPPORT), str(Path(__file__).parent)])
    command = ["fit", "-c", "config.yaml", "--trainer.callbacks+=endings.Ends", f"--trainer.callbacks.how={how}"]
    command += ["--json", f"{how}.json", f"--trainer.logger.init_args.run_name={how}", *words]
    log, environment = folder / f"{how}.log", {**inherited, "PYTHONPATH": paths}
    return Forked(command, folder=folder, environment=environment, out=log, errors=log)


def by_name(folder: Path) -> dict[str, Run]:
    return {run.info.run_name: run for run in runs(f"sqlite:///{folder}/runs/mlflow.db")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pulse_cohort: Path) -> Path:
    folder_of_runs = tmp_path_factory.mktemp("endings")
    CONFIG["data"]["cohort"] = str(pulse_cohort)
    (folder_of_runs / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder_of_runs


@pytest.fixture(scope="module")
def codes(folder: Path) -> dict[str, int]:
    """Return exit codes of concurrent runs in one folder; the killed one ends last, or another would reap it."""
    started = {how: start(folder, how) for how in AT_ONCE}
    ended = {how: process.wait(timeout=1000) for how, process in started.items()}
    return ended | {"sigkill": start(folder, "sigkill").wait(timeout=1000)}


def test_only_a_finished_run_exits_with_zero(codes: dict[str, int], folder: Path) -> None:
    expected = {"ok": 0, "exception": 1, "sigint": 130, "sigterm": 143, "sigterm-early": 143, "sigkill": -9}
    assert codes == expected, (folder / "ok.log").read_text()


def test_mlflow_records_how_each_process_ended(codes: dict[str, int], folder: Path) -> None:
    statuses = {name: run.info.status for name, run in by_name(folder).items()}
    assert statuses == {
        "ok": "FINISHED", "exception": "FAILED", "sigint": "KILLED", "sigterm": "KILLED", "sigterm-early": "KILLED",
        "sigkill": "RUNNING",
    }  # fmt: skip
    assert by_name(folder)["ok"].data.tags["checkpoint.last"].endswith("/checkpoints/last.ckpt")
    assert by_name(folder)["ok"].data.metrics["system/system_memory_usage_megabytes"] > 0


def test_a_resumed_run_is_running_and_its_start_reaps_the_killed_run(codes: dict[str, int], folder: Path) -> None:
    before = by_name(folder)["ok"]
    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    foreign = client.create_run(before.info.experiment_id, run_name="foreign", tags={"polyclinic.host": "elsewhere"})
    client.set_tag(foreign.info.run_id, "polyclinic.pid", "1")
    checkpoint = json.loads((folder / "ok.json").read_text())["last"]
    resumed = start(folder, "resumed", "--ckpt_path", checkpoint, "--trainer.max_epochs", "2")
    assert resumed.wait(timeout=1000) == 0, (folder / "resumed.log").read_text()
    assert (folder / "status.txt").read_text() == "RUNNING"
    logged = by_name(folder)
    assert {name: logged[name].info.status for name in ("ok", "sigkill", "foreign")} == {
        "ok": "FINISHED", "sigkill": "KILLED", "foreign": "RUNNING"
    }  # fmt: skip
    assert before.info.run_id in logged["sigkill"].data.tags["polyclinic.reaped"]
    last = client.get_metric_history(logged["sigkill"].info.run_id, "train/loss")[-1]
    assert logged["sigkill"].info.end_time >= last.timestamp
    steps = [point.step for point in client.get_metric_history(before.info.run_id, "train/loss")]
    assert len(steps) == len(set(steps))
    assert max(steps) > before.data.metrics["train/loss"]
