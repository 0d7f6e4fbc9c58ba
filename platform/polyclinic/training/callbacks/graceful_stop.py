"""Callback that stops all ranks together on SIGTERM."""

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
    """Ends all ranks after the same complete step, and saves it, when any of them receives SIGTERM.

    Lightning's handler calls a collective from the signal handler. The other ranks may be in a different collective at
    that moment, and the two get mixed up. Here the handler only sets a flag, which the ranks reduce between two steps.
    A running validation is finished first.
    """

    def __init__(self) -> None:
        self._terminated = False

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Replace Lightning's handler, which is installed by now; its teardown restores the original one."""
        self._listen(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Replace Lightning's handler where there is no sanity check."""
        self._listen(trainer)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop if any rank has received SIGTERM.

        Raises:
            SIGTERMException: a rank has received SIGTERM; all ranks raise it.
        """
        if trainer.world_size == 1 or batch_idx % trainer.accumulate_grad_batches:
            return
        terminated = torch.tensor(int(self._terminated), device=pl_module.device)
        dist.all_reduce(terminated, op=dist.ReduceOp.MAX)
        if not terminated:
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
            if os.getpid() != owner:  # A forked loader worker inherits this handler and has to end at once.
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGTERM)
            self._terminated = True

        signal.signal(signal.SIGTERM, note)
