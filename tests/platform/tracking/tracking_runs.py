"""A tiny task, and the command line around it, shared by the tests of this folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import lightning.pytorch as L
import mlflow
import torch
from lightning.pytorch.cli import LightningCLI
from torch.utils.data import DataLoader, TensorDataset

from polyclinic.tracking import RunRecord


class Line(L.LightningModule):
    """Fits a line, and ends in a chosen way."""

    def __init__(self, *, lr: float = 0.1, ending: str = "well") -> None:
        super().__init__()
        self.layer, self.lr, self.ending = torch.nn.Linear(1, 1), lr, ending

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.ending == "error":
            raise RuntimeError("a step went wrong")
        if self.ending == "interrupt":
            raise KeyboardInterrupt
        if self.ending == "sigterm":
            os.kill(os.getpid(), signal.SIGTERM)
        loss: torch.Tensor = (self.layer(batch[0]) - batch[0]).square().mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Points(L.LightningDataModule):
    """Yields eight points."""

    def __init__(self, *, batch_size: int = 4, cohort: Path = Path("/wards/three/cohort.yaml")) -> None:
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(torch.arange(8.0)[:, None]), batch_size=self.batch_size)


def quiet_trainer(**chosen: Any) -> L.Trainer:
    silent = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    return L.Trainer(accelerator="cpu", devices=1, **{"max_epochs": 1, **silent, **chosen})


def fit(*words: str) -> LightningCLI:
    defaults = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "log_every_n_steps": 1}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    return LightningCLI(
        Line, Points, args=["fit", *words], save_config_callback=RunRecord, trainer_defaults={**defaults, **quiet}
    )


def fit_in(out: Path, *words: str) -> LightningCLI:
    logger = ["--trainer.logger=polyclinic.tracking.RunLogger", f"--trainer.logger.out={out}"]
    return fit(*logger, *words)


def runs(uri: str, experiment: str = "polyclinic") -> list[mlflow.entities.Run]:
    """Return every run, the oldest first."""
    client = mlflow.MlflowClient(uri)
    stored = client.get_experiment_by_name(experiment)
    return client.search_runs([stored.experiment_id], order_by=["attributes.start_time ASC"])


def curves(run: mlflow.entities.Run) -> dict[str, float]:
    """Return the last values of the curves, without those of the machine."""
    return {name: value for name, value in run.data.metrics.items() if not name.startswith("system/")}


def artifact(uri: str, run_id: str, name: str, folder: Path) -> str:
    return Path(mlflow.MlflowClient(uri).download_artifacts(run_id, name, str(folder))).read_text()


@contextmanager
def server(folder: Path, port: int) -> Iterator[str]:
    """Start a real MLflow server."""
    words = ["server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/a"]
    words += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # Its job queue would be three more processes that import MLflow.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            stdout=log, stderr=log, start_new_session=True, cwd=folder, env=environment,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 300
        while True:
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline
            try:
                urlopen(f"{address}/health", timeout=2).close()
                break
            except (URLError, OSError):
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
