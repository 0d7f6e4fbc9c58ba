"""A callback that ends a run of `polyclinic fit` in a chosen way, for separate processes."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback
from mlflow import MlflowClient


class Ends(Callback):
    """Ends the run at its third step, or while it is set up."""

    def __init__(self, how: str) -> None:
        self.how = how
        # It is ignored where tests are started in the background.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self.how == "sigterm-early":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step < 3:
            return
        if self.how == "exception":
            raise RuntimeError("a step went wrong")
        if self.how in ("sigint", "sigterm", "sigkill"):
            trainer.logger.flush()
            os.kill(os.getpid(), signal.Signals[self.how.upper()])
        if self.how == "resumed":
            run = MlflowClient(trainer.logger.tracking_uri).get_run(trainer.logger.run_id)
            Path("status.txt").write_text(run.info.status)
