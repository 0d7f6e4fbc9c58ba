"""Callback that writes the description of a run, which MLflow shows first."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback

from polyclinic.data import CohortDataModule
from polyclinic.tasks import Downstream
from polyclinic.tracking import RunLogger, log_section
from polyclinic.tracking.note import (
    NEXT,
    QUESTION,
    REPEAT,
    RESULT,
    code,
    code_block,
    metric_list,
    paragraphs,
    picture_list,
)
from polyclinic.training.best_checkpoint import BestCheckpoint
from polyclinic.training.callbacks.provenance import ExposureRecord
from polyclinic.training.checkpoints import LastCheckpoint

_MAX_LABELS = 8
_NO_INTERVAL = (math.nan, math.nan)
_LOSSES = ("val/loss", "train/loss")
_REPEAT = """{}

with `config.yaml` of the artifacts. `environment.json` holds the commit, the versions and the command that ran."""


class RunDescription(Callback):
    """Describes the run in MLflow: what was asked, at its start; result, pictures and next command, at its end.

    MLflow shows the first lines only, so that they hold the question and the best value.

    Args:
        next_commands: command for a checkpoint, with ``{}`` for its path, by class of the task.
    """

    def __init__(self, next_commands: Mapping[type, str]) -> None:
        self._next_commands = next_commands
        self._question = ""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Describe the task, the modalities, the labels, the cohort, and how to repeat the run."""
        data = getattr(trainer, "datamodule", None)
        if not trainer.is_global_zero or not isinstance(data, CohortDataModule):
            return
        labels = _label_words(list(data.labels)) if isinstance(pl_module, Downstream) else ""
        question = f"{task_words(pl_module)} on {_listed(list(data.modalities))}{labels}. {_cohort_words(data)}"
        warnings = [f"**Warning:** {statement}" for statement in _overlap_statements(trainer)]
        self._question = paragraphs(question, *warnings)
        log_section(trainer.logger, QUESTION, self._question)
        log_section(trainer.logger, REPEAT, _REPEAT.format(code_block("polyclinic fit -c config.yaml")))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the best validation, the last losses, the pictures and the next command."""
        logger = trainer.logger
        if not trainer.is_global_zero or not isinstance(logger, RunLogger):
            return
        best = next((each for each in trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)), None)
        metrics = trainer.callback_metrics
        values = {name: float(metrics[name]) for name in _LOSSES if name in metrics}
        text = f"{_count(trainer.current_epoch, 'epoch')}, {_count(trainer.global_step, 'step')}."
        path = _last_checkpoint(trainer)
        if best is not None and best.score is not None:
            headline = f"Best {code(str(best.metric))}: **{best.score:.4g}**, after epoch {best.epoch:,}."
            log_section(logger, QUESTION, paragraphs(self._question, headline))
            values = {f"best/{best.metric}": best.score, **values}
            path = Path(best.best_model_path)
        rows = metric_list({name: (value, _NO_INTERVAL) for name, value in values.items()})
        log_section(logger, RESULT, paragraphs(text, rows, picture_list(logger.pictures)))
        command = self._next_commands.get(type(pl_module))
        if command is not None and path is not None:
            shown = code_block(command.format(logger.relative(path)))
            log_section(logger, NEXT, f"In the folder of the runs:\n\n{shown}")


def task_words(task: L.LightningModule) -> str:
    """Return the name of a task in words, with its objective and those inside it: `Contrastive pretraining (Clip)`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(task).__name__).capitalize()
    names = []
    objective = getattr(task, "objective", None)
    while objective is not None:
        names.append(type(objective).__name__)
        objective = getattr(objective, "objective", None)
    return f"{words} ({' of '.join(names)})" if names else words


def _cohort_words(data: CohortDataModule) -> str:
    studies = data.cohort.studies
    counts = ", ".join(f"{len(data.cohort.split(split)):,} {split}" for split in ("train", "val", "test"))
    patients = len({study.patient_id for study in studies})
    return f"Cohort {code(data.cohort.name)}: {len(studies):,} studies of {patients:,} patients ({counts})."


def _label_words(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_LABELS} more" if len(names) > _MAX_LABELS else ""
    return f", for {', '.join(map(code, names[:_MAX_LABELS]))}{more}"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _overlap_statements(trainer: L.Trainer) -> tuple[str, ...]:
    records = [callback for callback in getattr(trainer, "callbacks", []) if isinstance(callback, ExposureRecord)]
    return tuple(statement for record in records if record.overlap for statement in record.overlap.statements)


def _last_checkpoint(trainer: L.Trainer) -> Path | None:
    paths = [callback.path for callback in trainer.checkpoint_callbacks if isinstance(callback, LastCheckpoint)]
    return paths[0] if paths else None
