"""Resume a stopped run: find its checkpoint, its MLflow run and its random states."""

import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from polyclinic.cohort import SPLITS, Cohort
from polyclinic.system.terminal import printable
from polyclinic.tracking import RunLogger
from polyclinic.tracking.uri import without_password
from polyclinic.training.checkpoint_file import configuration, load_checkpoint, provenance
from polyclinic.training.checkpoints import LAST, LastCheckpoint

# Settings of `data` without an effect on results, and those of `trainer` with one.
_NEUTRAL_DATA = ("num_workers", "prepared")
_DECIDING_TRAINER = ("accumulate_grad_batches", "precision", "gradient_clip_val", "gradient_clip_algorithm")
_MAX_LISTED = 3
_KEY = "random_states"
JOB = "SLURM_JOB_ID"


class RandomStates(Callback):
    """Saves the random states of all ranks in a checkpoint, and restores them before the first batch after it."""

    def __init__(self) -> None:
        self._loaded: list[dict[str, Any]] = []

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store the states of all ranks; every rank must call it."""
        states = [_states()] * trainer.world_size
        if trainer.world_size > 1:
            dist.all_gather_object(states, states[0])
        checkpoint[_KEY] = states

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Hold the states until the start of the run has made its own draws."""
        self._loaded = checkpoint.get(_KEY, [])

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Restore the states before the first batch."""
        if self._loaded and len(self._loaded) == trainer.world_size:
            _restore_states(self._loaded[trainer.global_rank])
        elif self._loaded:
            rank_zero_warn(
                f"the checkpoint was written by {len(self._loaded)} processes, and this run has {trainer.world_size}: "
                "its random draws will differ from those of the original run"
            )
        self._loaded = []


def requeued(trainer: L.Trainer, config: Mapping[str, Any]) -> Path | None:
    """Return the newest checkpoint that a requeued SLURM job wrote.

    That is the one saved at preemption, or the ``last.ckpt`` of its run, if that is newer or a node failed; None for
    any other job, and for one without a checkpoint.

    Args:
        trainer: trainer before training.
        config: configuration of this run, as plain values.
    """
    job = os.environ.get(JOB)
    if job is None or not SLURMEnvironment.detect():
        return None
    preempted = trainer._checkpoint_connector._hpc_resume_path
    if preempted is None and int(os.environ.get("SLURM_RESTART_COUNT") or 0) == 0:
        return None
    lasts = [path for path in _newest(run_folder(trainer)) if _is_of(job, path) and not differences(path, config)]
    written = [*lasts[:1], *([] if preempted is None else [Path(preempted)])]
    return max(written, key=lambda path: path.stat().st_mtime, default=None)


def evaluated_checkpoint(requested: str, trainer: L.Trainer, config: Mapping[str, Any]) -> Path:
    """Return the checkpoint to evaluate.

    Args:
        requested: path, or ``last``.
        trainer: trainer of the evaluation.
        config: configuration of this run, as plain values.

    Raises:
        ValueError: ``requested`` is ``last`` and there is none.
    """
    if requested != "last":
        return Path(requested)
    path, reason = find_last(run_folder(trainer), config)
    if path is None:
        raise ValueError(f"got `--ckpt_path last`, but {reason}; set it to a checkpoint")
    return path


def resume(requested: str, trainer: L.Trainer, config: Mapping[str, Any], *, new_run: bool) -> Path | None:
    """Find the checkpoint to resume from, and attach the trainer to its run.

    Args:
        requested: path, or ``last``.
        trainer: trainer before training.
        config: configuration of this run, as plain values.
        new_run: whether to log to a new run and leave that of the checkpoint unchanged.

    Returns:
        The checkpoint; None where ``requested`` is ``last`` and this is the first start.

    Raises:
        ValueError: there is no such checkpoint, or its run is tracked elsewhere or being trained.
    """
    path, reason = find_last(run_folder(trainer), config) if requested == "last" else (Path(requested).absolute(), "")
    if path is None:
        rank_zero_info(f"starting from the beginning: {reason}")
        return None
    record = provenance(load_checkpoint(path))
    if requested != "last" and (different := differences(path, config)):
        rank_zero_warn(f"the run continues under another configuration: {', '.join(different)}")
    if not new_run:
        _attach_run(trainer, record)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, LastCheckpoint) and trainer.is_global_zero:
                callback.claim(path.parent)
    return path


def refuse_changed_cohort(checkpoint: Path, cohort: Cohort, *, new_run: bool) -> None:
    """Refuse to continue a run on other studies than it began with, which its record could not show.

    Args:
        checkpoint: checkpoint to resume from.
        cohort: cohort of the resumed training.
        new_run: whether training continues in a new run, which records the current cohort.

    Raises:
        ValueError: the cohort differs from that of the checkpoint.
    """
    data = load_checkpoint(checkpoint).get("CohortDataModule") or {}
    if data.get("fingerprint") in (None, cohort.fingerprint):
        return
    then, now = data.get("studies") or {}, {split: len(cohort.split(split)) for split in SPLITS}
    counts = ", ".join(f"{split} {then.get(split, 'unknown')} then and {now[split]} now" for split in SPLITS)
    changed = f"the cohort has changed since the checkpoint was written (studies: {counts})"
    if not new_run:
        raise ValueError(
            f"{changed}; restore the table and its files, or set `--new_run true` to continue from these weights in a "
            "separate run"
        )
    rank_zero_warn(f"{changed}; the new run records the current cohort")


def find_last(out: Path, config: Mapping[str, Any]) -> tuple[Path | None, str]:
    """Find the newest ``last.ckpt`` of a run with the same experiment, model, data and seed.

    Args:
        out: folder of the runs.
        config: configuration of this run, as plain values.

    Returns:
        The checkpoint and an empty string, or None and the reason.
    """
    reason = f"no {LAST} lies below {out.name}"
    for number, path in enumerate(_newest(out)):
        different = differences(path, config)
        if not different:
            return path, ""
        if number == 0:
            reason = f"the newest {LAST} is of another configuration ({', '.join(different[:_MAX_LISTED])})"
    return None, reason


def differences(checkpoint: Path, config: Mapping[str, Any]) -> list[str]:
    """List the settings with an effect on results that differ from a checkpoint's, as ``key: then, now value``."""
    text = provenance(load_checkpoint(checkpoint)).get("config")
    if text is None:
        return ["it holds no configuration"]
    then, now = _deciding(configuration(text)), _deciding(config)
    return [
        printable(f"{key}: {then.get(key)}, now {now.get(key)}")
        for key in dict.fromkeys([*then, *now])
        if then.get(key) != now.get(key)
    ]


def _newest(out: Path) -> list[Path]:
    """List every ``last.ckpt`` below a folder of runs, the newest first."""
    lasts = [*out.glob(f"*/*/checkpoints/{LAST}"), *out.glob(f"checkpoints/{LAST}")]
    return sorted((path for path in lasts if path.is_file()), key=lambda path: path.stat().st_mtime, reverse=True)


def _is_of(job: str, checkpoint: Path) -> bool:
    return provenance(load_checkpoint(checkpoint)).get("job") == job


def run_folder(trainer: L.Trainer) -> Path:
    """Return the folder of the runs."""
    saved = trainer.loggers[0].save_dir if trainer.loggers else None
    return Path(saved or trainer.default_root_dir)


def _attach_run(trainer: L.Trainer, record: Mapping[str, Any]) -> None:
    """Log to the run of a checkpoint.

    Raises:
        ValueError: the run is at another tracking URI than that of this session.
    """
    logger, run_id = trainer.logger, record.get("run_id")
    if not isinstance(logger, RunLogger) or run_id is None:
        return
    address = without_password(str(record.get("tracking_uri")))
    if address != logger.tracking_uri:
        raise ValueError(
            f"the checkpoint's run is at {address}, but this session tracks to {logger.tracking_uri}; set "
            "MLFLOW_TRACKING_URI or `trainer.logger.init_args.tracking_uri`, or `--new_run true`"
        )
    logger.adopt(experiment_id=None, run_id=run_id)


def _deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with an effect on results, under dotted keys."""
    trainer = config.get("trainer") or {}
    logger = trainer.get("logger")
    data = {key: value for key, value in (config.get("data") or {}).items() if key not in _NEUTRAL_DATA}
    experiment = (logger.get("init_args") or {}).get("experiment") if isinstance(logger, Mapping) else None
    return _flat(
        {
            "experiment": experiment,
            "seed_everything": config.get("seed_everything"),
            "model": config.get("model"),
            "data": data,
            "trainer": {key: trainer.get(key) for key in _DECIDING_TRAINER},
        }
    )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    start = f"{prefix}." if prefix else ""
    return {key: leaf for name, inner in value.items() for key, leaf in _flat(inner, f"{start}{name}").items()}


def _states() -> dict[str, Any]:
    """Return the random states of this process, as tensors and plain values."""
    name, keys, *rest = np.random.get_state(legacy=True)
    states = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    return states | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else {})


def _restore_states(states: Mapping[str, Any]) -> None:
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(states["cuda"])
