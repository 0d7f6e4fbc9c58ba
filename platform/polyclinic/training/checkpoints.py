"""Checkpoint writing: atomic, readable without pickle, and a ``last.ckpt`` at regular steps and on termination."""

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from polyclinic.files.atomic import atomic_file
from polyclinic.tracking import RunLogger, log_tags
from polyclinic.training.checkpoint_file import load_checkpoint, seal

LAST = "last.ckpt"
_LOCK = ".training.lock"


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file and renames it, so that a kill or a full disk keeps the previous one.

    Objects that need a pickle to be read back are refused on writing.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint file with its checksum.

        Raises:
            ValueError: it cannot be written, or holds an object that needs a pickle to be read back.
        """
        target = Path(path)
        try:
            with atomic_file(target) as partial:
                _write(checkpoint, partial)
                _refuse_pickle(partial, target.name)
        except OSError as error:
            raise ValueError(
                f"checkpoint {target.name} could not be written ({error.strerror or type(error).__name__}), the "
                "previous one is complete; free some space, or set `trainer.logger.init_args.out` to a folder with "
                "more of it, and resume with `--ckpt_path last`"
            ) from None
        _flush_folder(target.parent)

    def load_checkpoint(
        self, path: str | Path, map_location: Callable[..., Any] | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint to the CPU after verifying its checksum, without executing its content.

        Raises:
            ValueError: see ``polyclinic.training.checkpoint_file.load_checkpoint``.
        """
        return load_checkpoint(Path(path))


class LastCheckpoint(Checkpoint):
    """Saves ``last.ckpt`` every few steps, after every epoch and at the end, regardless of any metric.

    It is written between two batches, once the validation and logging of the first are done, and never in the middle
    of an accumulated step.

    Args:
        every_n_steps: number of optimizer steps per checkpoint; 0 for the ends of epochs only.

    Raises:
        ValueError: ``every_n_steps`` is negative.
    """

    def __init__(self, every_n_steps: int = 500) -> None:
        if every_n_steps < 0:
            raise ValueError(f"got every_n_steps {every_n_steps}, expected 0 or more; set `last.every_n_steps`")
        self.path: Path | None = None
        self._every = every_n_steps
        self._saved = 0
        self._between_batches, self._ended = False, False
        self._lock: int | None = None

    @property
    def state_key(self) -> str:
        """Stable checkpoint key, independent of the module path."""
        return "LastCheckpoint"

    def claim(self, folder: Path) -> None:
        """Lock a folder against training by other processes; the lock ends with this process.

        Raises:
            ValueError: the folder is locked by another process, or cannot be written to.
        """
        if self._lock is not None:
            return
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ValueError(
                f"checkpoints cannot be written ({error.strerror}); set `trainer.logger.init_args.out` to a writable "
                "folder"
            ) from None
        try:
            # lockf belongs to this process, where flock would be inherited by loader workers, which outlive a killed
            # trainer by seconds.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise ValueError(
                "another process is training this run; wait for it, or set `--new_run true` to continue in a separate "
                "run from the same checkpoint"
            ) from None
        except OSError:  # The file system has no locks.
            pass
        self._lock = lock

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Choose the folder of the run and lock it."""
        if stage != "fit" or getattr(trainer, "fast_dev_run", False):
            return
        folder = Path(trainer.strategy.broadcast(str(checkpoint_folder(trainer))))
        self.path = folder / LAST
        if trainer.is_global_zero:
            self.claim(folder)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the first step, and correct Lightning's counters after a resume."""
        self._saved, self._ended = trainer.global_step, False
        if self._between_batches:
            _reset_fetched_batch(trainer)
            self._between_batches = False

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save the state after the previous batch, when due."""
        step = trainer.global_step
        if step > self._saved and (batch_idx == 0 or (self._every and step % self._every == 0)):
            self._save(trainer, between_batches=True)

    def save_between_batches(self, trainer: L.Trainer) -> None:
        """Save the current step; every rank must call it, before a batch that begins a step."""
        if trainer.global_step > self._saved:
            self._save(trainer, between_batches=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the final state."""
        self._ended = True
        if trainer.global_step > self._saved:
            self._save(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Save the state of a terminated process; not of several ranks, which may be at different steps."""
        loop = trainer.fit_loop.epoch_loop
        progress = loop.batch_progress.current
        step_complete = progress.ready == progress.completed > 0 and not loop._should_accumulate()
        if isinstance(exception, SIGTERMException) and step_complete and trainer.world_size == 1:
            epoch_over = loop._num_ready_batches_reached()
            if trainer.global_step > self._saved and not epoch_over:
                self._save(trainer, between_batches=True)
        self._release()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Release the lock of the folder."""
        self._release()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store the epoch of the weights: at the end Lightning has already increased its counter."""
        if self._ended:
            checkpoint["epoch"] = max(0, trainer.current_epoch - 1)

    def state_dict(self) -> dict[str, Any]:
        """Return whether the checkpoint is written between two batches."""
        return {"between_batches": self._between_batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore that position until training starts."""
        self._between_batches = state_dict["between_batches"]

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def _save(self, trainer: L.Trainer, *, between_batches: bool = False) -> None:
        if self.path is None:
            return
        self._between_batches = between_batches
        try:
            save_named(trainer, self.path, "last")
        finally:
            self._between_batches = False
        self._saved = trainer.global_step


def save_named(trainer: L.Trainer, path: Path, kind: str) -> None:
    """Save a checkpoint, and record its path as the tag ``checkpoint.<kind>`` of the run; every rank must call it."""
    for logger in trainer.loggers:
        if isinstance(logger, RunLogger):
            logger.secure()
        log_tags(logger, {f"checkpoint.{kind}": _relative_path(path, logger)})
    # Writes the optimizer, too; it does not concern reading. Unset, Lightning logs a line at every checkpoint.
    trainer.save_checkpoint(path, weights_only=False)


def _relative_path(path: Path, logger: Logger) -> str:
    """Return the path relative to the folder of the runs, as absolute paths are private."""
    root = Path(logger.save_dir or path.parent).absolute()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _write(checkpoint: dict[str, Any], partial: Path) -> None:
    """Write a checkpoint with its checksum, and flush it to the disk.

    Raises:
        OSError: the error of the file system, which torch hides behind a RuntimeError.
    """
    try:
        with partial.open("w+b") as file:
            torch.save(checkpoint, file)
            seal(file)
            file.flush()
            os.fsync(file.fileno())
    except RuntimeError as error:
        cause = error.__context__
        raise (cause if isinstance(cause, OSError) else error) from None


def _refuse_pickle(partial: Path, name: str) -> None:
    try:
        torch.load(partial, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if "GLOBAL" in line), type(error).__name__)
        raise ValueError(
            f"checkpoint {name} would need a pickle to be read ({reason}); keep only plain values and tensors in "
            "hyperparameters and in the states of callbacks"
        ) from None


def _flush_folder(folder: Path) -> None:
    """Make a rename durable against a loss of power, where the file system supports it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def checkpoint_folder(trainer: L.Trainer) -> Path:
    """Return the folder of the checkpoints of the run."""
    root = Path(trainer.default_root_dir)
    if trainer.loggers:
        logger = trainer.loggers[0]
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        root = Path(logger.save_dir or root) / str(logger.name) / version
    return (root / "checkpoints").absolute()


def _reset_fetched_batch(trainer: L.Trainer) -> None:
    """Reset Lightning's counters of the batch that was fetched, but not trained on, when the checkpoint was written.

    Lightning counts that batch as trained on, so validation and logging would be one step ahead.
    """
    loop = trainer.fit_loop.epoch_loop
    progress = loop.batch_progress
    progress.total.ready, progress.current.ready = progress.total.completed, progress.current.completed
    progress.is_last_batch = False
    loop.reset_restart_stage()
    # The loop adds one on a restart, as if the checkpoint had been written before this step was counted.
    loop._batches_that_stepped -= 0 if loop._should_accumulate() else 1
