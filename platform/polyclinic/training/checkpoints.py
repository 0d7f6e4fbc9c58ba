"""How checkpoints are written: whole or not at all, readable without pickle, and the last one whatever happens."""

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
    """Writes a checkpoint beside its place and renames it, so that a kill or a full disk leaves the one before whole.

    What could not be read back without running code is refused when it is written, not when it is needed.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a file.

        Raises:
            ValueError: it cannot be written, or holds an object that only a pickle could bring back.
        """
        place = Path(path)
        try:
            with atomic_file(place) as partial:
                _write(checkpoint, partial)
                _refuse_pickle(partial, place.name)
        except OSError as error:
            raise ValueError(
                f"checkpoint {place.name} could not be written ({error.strerror or type(error).__name__}), the one "
                "before it is whole; make room, or set `trainer.logger.init_args.out` to a folder that has it, and go "
                "on with `--ckpt_path last`"
            ) from None
        _flush_folder(place.parent)

    def load_checkpoint(
        self, path: str | Path, map_location: Callable[..., Any] | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a file to the CPU, compare it with its checksum, and never run what is in it.

        Raises:
            ValueError: see ``polyclinic.training.checkpoint_file.load_checkpoint``.
        """
        return load_checkpoint(Path(path))


class LastCheckpoint(Checkpoint):
    """Keeps ``last.ckpt``: the state after so many steps, after every epoch and at the end, whatever a metric says.

    It is written between two batches, once everything that follows from the first of them is done and logged, and
    never in the middle of an accumulated step.

    Args:
        every_n_steps: how many optimizer steps lie between two; 0 for the ends of epochs alone.

    Raises:
        ValueError: a negative number.
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
        """A name that does not change when this module moves."""
        return "LastCheckpoint"

    def claim(self, folder: Path) -> None:
        """Make sure that no other process trains into a folder; the claim ends with this process.

        Raises:
            ValueError: one does.
        """
        if self._lock is not None:
            return
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ValueError(
                f"checkpoints cannot be written ({error.strerror}); set `trainer.logger.init_args.out` to a "
                "folder that can be"
            ) from None
        try:
            # Of this process: not inherited by loader workers, which outlive a killed trainer by seconds.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise ValueError(
                "another process is training this run; wait for it, or set `--new_run true` to go on in a run of your "
                "own from the same checkpoint"
            ) from None
        except OSError:  # A file system without locks.
            pass
        self._lock = lock

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Choose the folder: that of the run."""
        if stage != "fit" or getattr(trainer, "fast_dev_run", False):
            return
        folder = Path(trainer.strategy.broadcast(str(_folder(trainer))))
        self.path = folder / LAST
        if trainer.is_global_zero:
            self.claim(folder)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note where training begins, and set Lightning's counters straight after a resume."""
        self._saved, self._ended = trainer.global_step, False
        if self._between_batches:
            _stand_between_batches(trainer)
            self._between_batches = False

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save what the batch before led to, when it is time."""
        step = trainer.global_step
        if step > self._saved and (batch_idx == 0 or (self._every and step % self._every == 0)):
            self._save(trainer, between_batches=True)

    def save_between_batches(self, trainer: L.Trainer) -> None:
        """Save what all ranks have reached; called by all of them, before a batch that begins a step."""
        if trainer.global_step > self._saved:
            self._save(trainer, between_batches=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the end."""
        self._ended = True
        if trainer.global_step > self._saved:
            self._save(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Save what a terminated process has reached; several ranks may not have reached the same."""
        loop = trainer.fit_loop.epoch_loop
        progress = loop.batch_progress.current
        whole = progress.ready == progress.completed > 0 and not loop._should_accumulate()
        if isinstance(exception, SIGTERMException) and whole and trainer.world_size == 1:
            over = loop._num_ready_batches_reached()
            if trainer.global_step > self._saved and not over:
                self._save(trainer, between_batches=True)
        self._release()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the folder up."""
        self._release()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say which epoch the weights are of: at the end Lightning has counted on."""
        if self._ended:
            checkpoint["epoch"] = max(0, trainer.current_epoch - 1)

    def state_dict(self) -> dict[str, Any]:
        """Where in a loop the checkpoint was written."""
        return {"between_batches": self._between_batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember it until training starts."""
        self._between_batches = state_dict["between_batches"]

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def _told(self, logger: Logger) -> str:
        """The path below the folder of the runs, whose own place is nobody's business."""
        assert self.path is not None
        root = Path(logger.save_dir or self.path.parent).absolute()
        return self.path.relative_to(root).as_posix() if self.path.is_relative_to(root) else self.path.name

    def _save(self, trainer: L.Trainer, *, between_batches: bool = False) -> None:
        if self.path is None:
            return
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.secure()
            log_tags(logger, {"checkpoint.last": self._told(logger)})
        self._between_batches = between_batches
        try:
            trainer.save_checkpoint(self.path)
        finally:
            self._between_batches = False
        self._saved = trainer.global_step


def _write(checkpoint: dict[str, Any], part: Path) -> None:
    """Write with a checksum, and flush to the disk.

    Raises:
        OSError: what the file system says, which torch hides behind errors of its own.
    """
    try:
        with part.open("w+b") as file:
            torch.save(checkpoint, file)
            seal(file)
            file.flush()
            os.fsync(file.fileno())
    except RuntimeError as error:
        cause = error.__context__
        raise (cause if isinstance(cause, OSError) else error) from None


def _refuse_pickle(part: Path, name: str) -> None:
    try:
        torch.load(part, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if "GLOBAL" in line), type(error).__name__)
        raise ValueError(
            f"checkpoint {name} would need a pickle to be read ({reason}); keep plain values and tensors alone in "
            "hyperparameters and in the states of callbacks"
        ) from None


def _flush_folder(folder: Path) -> None:
    """Make the rename last through a loss of power, where the file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _folder(trainer: L.Trainer) -> Path:
    """Where Lightning's own checkpoints of the run lie."""
    root = Path(trainer.default_root_dir)
    if trainer.loggers:
        logger = trainer.loggers[0]
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        root = Path(logger.save_dir or root) / str(logger.name) / version
    return (root / "checkpoints").absolute()


def _stand_between_batches(trainer: L.Trainer) -> None:
    """Undo what Lightning counted of the batch that was fetched when the checkpoint was written.

    It takes that batch for one that had been trained on: validation and logging would be a step ahead.
    """
    loop = trainer.fit_loop.epoch_loop
    progress = loop.batch_progress
    progress.total.ready, progress.current.ready = progress.total.completed, progress.current.completed
    progress.is_last_batch = False
    loop.reset_restart_stage()
    # The loop is about to add one, as for a checkpoint that was written before it had.
    loop._batches_that_stepped -= 0 if loop._should_accumulate() else 1
