"""Callback that fits the linear path of a supervised task before its network is trained."""

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback

from polyclinic.data import CohortDataModule
from polyclinic.system.terminal import remark
from polyclinic.tasks import Downstream
from polyclinic.training.linear_path import fit_linear_path


class FitLinearPath(Callback):
    """Fits the linear path on the first rank, and sends it to the others; a resumed run has it in its checkpoint."""

    def __init__(self) -> None:
        self._measured: dict[str, float] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Fit the path, before the weights are distributed."""
        data = getattr(trainer, "datamodule", None)
        skipped = stage != "fit" or trainer.ckpt_path is not None or getattr(trainer, "fast_dev_run", False)
        if skipped or not isinstance(pl_module, Downstream) or not isinstance(data, CohortDataModule):
            return
        path, held_out = pl_module.linear_path, pl_module.held_out_path
        if path is None or held_out is None:
            return
        if trainer.is_global_zero:
            remark(f"fit: linear model of {', '.join(path.maps)}")
            self._measured = fit_linear_path(path, held_out, data, pl_module.targets.targets, seed=0)
            for name, value in self._measured.items():
                remark(f"fit: {name} {value:.3f}")
        if trainer.world_size > 1:
            for each in (path, held_out):
                each.load_state_dict(trainer.strategy.broadcast(each.state_dict()))

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the quality of the linear model for held-out patients."""
        if self._measured and trainer.logger is not None:
            trainer.logger.log_metrics(self._measured, step=0)
