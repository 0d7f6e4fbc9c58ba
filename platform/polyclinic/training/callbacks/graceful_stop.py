"""How several ranks end when one of them is told to."""

import os
import signal
import threading
from types import FrameType
from typing import Any

import lightning.pytorch as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from polyclinic.training.checkpoints import LastCheckpoint


class GracefulStop(Callback):
    """Lets SIGTERM end all ranks after the same whole step, whichever of them gets it, with that step saved.

    Lightning's own handler sends the other ranks a message from wherever the signal meets it. They may be waiting for
    another one at that moment, and take this one for it. Here the signal is but noted, and the ranks ask each other
    between two steps. A validation is finished first.
    """

    def __init__(self) -> None:
        self._told = False

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the place of Lightning's handler, which is there by now; its teardown puts back what was before."""
        self._listen(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Likewise, where no check comes first."""
        self._listen(trainer)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Ask, save and end.

        Raises:
            SIGTERMException: a rank was told to end; all raise it.
        """
        if trainer.world_size == 1 or batch_idx % trainer.accumulate_grad_batches:
            return
        told = torch.tensor(int(self._told), device=pl_module.device)
        dist.all_reduce(told, op=dist.ReduceOp.MAX)
        if not told:
            return
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, LastCheckpoint):
                callback.save_between_batches(trainer)
        raise SIGTERMException

    def _listen(self, trainer: L.Trainer) -> None:
        if trainer.world_size == 1 or threading.current_thread() is not threading.main_thread():
            return
        owner = os.getpid()

        def note(number: int, frame: FrameType | None) -> None:
            if os.getpid() != owner:  # A loader worker that was forked.
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGTERM)
            self._told = True

        signal.signal(signal.SIGTERM, note)
