"""Record of the resolved configuration and the environment in the run."""

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

_CLASS_KEYS = {"objective": "model.objective"}
_VALUE_KEYS = {
    "seed": ("seed_everything",),
    "max_epochs": ("trainer.max_epochs",),
    "batch_size": ("data.batch_size",),
    "lr": ("model.lr", "optimizer.lr"),
    "embedding": ("model.embedding",),
}


class RunRecord(SaveConfigCallback):
    """Record ``config.yaml`` and ``environment.json`` as artifacts of the run, and a few settings as its parameters.

    ``polyclinic fit -c config.yaml`` repeats the run. Without an MLflow logger, both files are written to the log
    folder of the logger, or to a new folder under the trainer's ``default_root_dir``. The callback also passes the run
    id of rank zero to all ranks. Use it as ``LightningCLI(save_config_callback=RunRecord)``.

    Args:
        parser: parser of the running command.
        config: parsed configuration, defaults included.
        config_filename: name of the artifact.
        overwrite: whether ``save_to_log_dir`` replaces an existing file.
        multifile: whether ``save_to_log_dir`` writes one file per configuration file.
        save_to_log_dir: whether Lightning's file is written too; runs with one log folder share it.
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
        """Save the files on rank zero, then share the ids of its run."""
        super().setup(trainer, pl_module, stage)
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                experiment_id, run_id = trainer.strategy.broadcast((logger.experiment_id, logger.run_id))
                logger.adopt(experiment_id=experiment_id, run_id=run_id)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the paths of the checkpoints in the run."""
        self._name_checkpoints(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Record the paths of the checkpoints of a failed run."""
        self._name_checkpoints(trainer)

    def _name_checkpoints(self, trainer: L.Trainer) -> None:
        checkpoints = [("last", getattr(callback, "path", None)) for callback in trainer.checkpoint_callbacks]
        checkpoints += [
            ("best", getattr(callback, "best_model_path", None)) for callback in trainer.checkpoint_callbacks
        ]
        for logger in trainer.loggers:
            for kind, path in checkpoints:
                if path and isinstance(logger, RunLogger):
                    logger.name_checkpoint(kind, Path(path))

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write both files to every MLflow run, or to a folder without MLflow; rank zero only."""
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
    """Return the settings for run comparison: objective, seed, epochs, batch size, learning rate, width, cohort file.

    Args:
        config: resolved configuration as plain values; missing settings are omitted.
    """
    settings = {name: _first(config, keys) for name, keys in _VALUE_KEYS.items()}
    for name, key in _CLASS_KEYS.items():
        entry = _setting(config, key)
        settings[name] = str(entry["class_path"]).rpartition(".")[2] if _has_class(entry) else None
    cohort = _setting(config, "data.cohort")
    settings["cohort"] = None if cohort is None else Path(str(cohort)).name
    return {name: value for name, value in settings.items() if isinstance(value, str | int | float | bool)}


def _first(config: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((value for value in (_setting(config, key) for key in keys) if value is not None), None)


def _setting(config: Any, key: str) -> Any:
    """Return the value under a dotted key; ``class_path`` entries on the way are entered through ``init_args``."""
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
    """Return the folder of the logger's run, which also gets the checkpoints, or create a unique folder."""
    logger = trainer.logger
    folder = getattr(logger, "log_dir", None)
    if folder is None and logger is not None and logger.save_dir and logger.version is not None:
        folder = Path(logger.save_dir, str(logger.name), str(logger.version))
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        return Path(folder)
    root = Path(trainer.default_root_dir)
    root.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"run-{datetime.now():%Y%m%d-%H%M%S}-", dir=root))
