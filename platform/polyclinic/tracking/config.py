"""The resolved configuration and the environment, kept with the run they belong to."""

import json
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

from polyclinic.tracking.environment import describe_environment
from polyclinic.tracking.logger import RunLogger
from polyclinic.tracking.record import is_tracked, log_text
from polyclinic.tracking.uri import without_password

_CLASSES = {"objective": "model.objective"}
_VALUES = {
    "seed": ("seed_everything",),
    "max_epochs": ("trainer.max_epochs",),
    "batch_size": ("data.batch_size",),
    "lr": ("model.lr", "optimizer.lr"),
    "embedding": ("model.embedding",),
}


class RunRecord(SaveConfigCallback):
    """Keeps ``config.yaml`` and ``environment.json`` as artifacts of the run, and a few settings as its parameters.

    ``polyclinic fit -c config.yaml`` repeats the run. Without an MLflow logger the two files go to the logger's
    own folder, or to a new one under the trainer's ``default_root_dir``. It also gives every rank the run id of
    rank zero. Meant for ``LightningCLI(save_config_callback=RunRecord)``.

    Args:
        parser: of the command that runs.
        config: as parsed, defaults included.
        config_filename: name of the artifact.
        overwrite: of the file in the log folder, with ``save_to_log_dir``.
        multifile: of the file in the log folder, with ``save_to_log_dir``.
        save_to_log_dir: whether Lightning's own file is written too; runs of one folder share it.
    """

    def __init__(
        self,
        parser: LightningArgumentParser,
        config: Namespace,
        config_filename: str = "config.yaml",
        overwrite: bool = False,
        multifile: bool = False,
        save_to_log_dir: bool = False,
    ) -> None:
        super().__init__(parser, config, config_filename, overwrite, multifile, save_to_log_dir)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Save on rank zero, then share the ids of its run."""
        super().setup(trainer, pl_module, stage)
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                experiment_id, run_id = trainer.strategy.broadcast((logger.experiment_id, logger.run_id))
                logger.adopt(experiment_id=experiment_id, run_id=run_id)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Name the checkpoints in the run."""
        self._name_checkpoints(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Name those of a run that fails as well."""
        self._name_checkpoints(trainer)

    def _name_checkpoints(self, trainer: L.Trainer) -> None:
        named = [("last", getattr(one, "path", None)) for one in trainer.checkpoint_callbacks]
        named += [("best", getattr(one, "best_model_path", None)) for one in trainer.checkpoint_callbacks]
        for logger in trainer.loggers:
            for kind, path in named:
                if path and isinstance(logger, RunLogger):
                    logger.name_checkpoint(kind, Path(path))

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write both files to every MLflow run, or to a folder when there is none; rank zero only."""
        text = without_password(self.parser.dump(self.config, skip_unset=False))
        environment = json.dumps(describe_environment(Path.cwd()), indent=2) + "\n"
        files = {self.config_filename: text, "environment.json": environment}
        tracked = [logger for logger in trainer.loggers if is_tracked(logger)]
        for logger in tracked:
            for name, content in files.items():
                log_text(logger, content, name)
            logger.log_hyperparams({"model": type(pl_module).__name__, **main_settings(yaml.safe_load(text))})
        if not tracked:
            folder = _folder_without_mlflow(trainer)
            for name, content in files.items():
                (folder / name).write_text(content, encoding="utf-8")


def main_settings(config: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """The few settings by which runs are compared: objective, seed, epochs, batch size, rate, width, cohort file.

    Args:
        config: a resolved configuration as plain values; what it lacks is left out.
    """
    found = {name: _first(config, keys) for name, keys in _VALUES.items()}
    for name, key in _CLASSES.items():
        chosen = _setting(config, key)
        found[name] = str(chosen["class_path"]).rpartition(".")[2] if _has_class(chosen) else None
    cohort = _setting(config, "data.cohort")
    found["cohort"] = None if cohort is None else Path(str(cohort)).name
    return {name: value for name, value in found.items() if isinstance(value, str | int | float | bool)}


def _first(config: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((value for value in (_setting(config, key) for key in keys) if value is not None), None)


def _setting(config: Any, key: str) -> Any:
    """The value under a dotted key, whether or not the parts on the way are written as a class."""
    for part in key.split("."):
        if _has_class(config):
            config = config.get("init_args")
        if not isinstance(config, Mapping):
            return None
        config = config.get(part)
    return config


def _has_class(value: Any) -> bool:
    return isinstance(value, Mapping) and "class_path" in value


def _folder_without_mlflow(trainer: L.Trainer) -> Path:
    """The logger's own folder, or a new one that no other run shares."""
    if own := getattr(trainer.logger, "log_dir", None):
        folder = Path(own)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    root = Path(trainer.default_root_dir)
    root.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"run-{datetime.now():%Y%m%d-%H%M%S}-", dir=root))
