"""``polyclinic fit | validate | test``: the Lightning CLI over tasks and cohorts."""

import inspect
import logging
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import yaml
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.model_helpers import is_overridden

from polyclinic import objectives, tasks
from polyclinic.cohort.leakage.overlap import TrainingExposure, cohort_exposure, find_overlap
from polyclinic.data import CohortDataModule
from polyclinic.files.results import refuse_unwritable, write_result
from polyclinic.files.yaml_loader import load_yaml
from polyclinic.modality import Modality, installed_modalities
from polyclinic.system.shell import command_line
from polyclinic.system.terminal import printable
from polyclinic.tracking import RunLogger, RunRecord
from polyclinic.tracking.lifecycle import ended_by_sigterm, exit_of
from polyclinic.training.callbacks.graceful_stop import GracefulStop
from polyclinic.training.callbacks.provenance import CohortRecord, ExposureRecord, Provenance, WeightRecord
from polyclinic.training.callbacks.reconstruction_grid import ReconstructionGrid
from polyclinic.training.callbacks.similarity_matrix import SimilarityMatrixImage
from polyclinic.training.checkpoint_file import exposure_of, load_checkpoint
from polyclinic.training.checkpoints import AtomicCheckpoints, LastCheckpoint
from polyclinic.training.resume import RandomStates, found, refuse_changed_cohort, requeued, resume
from polyclinic.training.transfer import move_encoders

__all__ = ["PolyclinicCLI", "main", "objectives", "tasks"]

_MLFLOW_UI = ("mlflow", "ui", "--backend-store-uri")
_NAMED = ("last", "best", "hpc", "registry")
_PLUGIN_ARGUMENT = re.compile(r"--data\.modalities\.(\w+)(?:\.class_path)?[ =]([\w.]+)")


_NEXT = defaultdict(
    lambda: "compare runs in the MLflow UI",
    {
        tasks.ContrastivePretraining: "polyclinic evaluate zeroshot {} PROMPTS.yaml",
        tasks.Downstream: "polyclinic evaluate classifier {}",
        tasks.MaskedPretraining: "polyclinic evaluate reconstruction {}",
    },
)


class PolyclinicCLI(LightningCLI):
    """Lightning's CLI with our data module, tracking by default, and modalities configured in one place."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Hand the model the very plugin objects that the data module fits."""
        parser.link_arguments("data.modalities", "model.init_args.modalities", apply_on="instantiate")
        parser.link_arguments("data.targets", "model.init_args.targets", apply_on="instantiate")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.add_argument(
            "--json", type=Path | None, help="file to write the checkpoint, run and seconds of `fit` to"
        )
        parser.add_argument(
            "--weights", type=Path | None, help="checkpoint of another run whose encoders `fit` starts from"
        )
        parser.add_argument(
            "--allow_overlap",
            type=bool,
            default=False,
            help="whether to go on when `--weights`, or the checkpoint that is resumed or measured, was made from "
            "studies that this cohort tests or chooses on; MLflow says so",
        )
        parser.add_argument(
            "--new_run",
            type=bool,
            default=False,
            help="whether `fit --ckpt_path` goes on in a run of its own, and leaves the checkpoint's run as it is",
        )
        parser.add_lightning_class_args(ReconstructionGrid, "pictures")
        parser.add_lightning_class_args(LastCheckpoint, "last")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse what ``main`` was given, which is the command line or what a program calls it with."""
        self.config = parser.parse_args(args)
        asked = self.config[self.config.subcommand].ckpt_path
        if asked not in (None, *_NAMED):
            # Lightning reads it next, and tells of any other file in a traceback.
            load_checkpoint(Path(asked))

    def _parse_ckpt_path(self) -> None:
        """Take no setting from a checkpoint: Lightning would import the class that its ``hyper_parameters`` name."""

    def instantiate_classes(self) -> None:
        """Build everything, and refuse before a run is opened what would end it."""
        super().instantiate_classes()
        if type(self.trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            self.trainer.strategy.checkpoint_io = AtomicCheckpoints()
        self._resumed = self._resume()
        refuse_unwritable(self.config[self.config.subcommand].json)
        if self.datamodule is not None:
            _ = self.datamodule.cohort
            if self.config.subcommand == "fit":
                self.datamodule.refuse_order()
                self._check_labels()
            self._refuse_overlap(self._take_weights())
            if self.config.subcommand == "fit" and self._resumed is not None:
                refuse_changed_cohort(self._resumed, self.datamodule.cohort, new_run=self.config.fit.new_run)
        if self.config.subcommand == "test" and not is_overridden("test_step", self.model):
            task = type(self.model)
            raise ValueError(f"got `test` of {task.__name__}, which has none; use {_NEXT[task].format('CHECKPOINT')}")

    def before_fit(self) -> None:
        """Start the clock, and note which studies are about to be seen."""
        self._started = time.monotonic()
        self._record_seen()

    def after_fit(self) -> None:
        """Say where the result is and what to run next."""
        kept = _kept(self.trainer)
        if not self.trainer.is_global_zero or not kept:
            return
        path, logger = _shown(kept[0]), self.trainer.logger
        result = {
            "checkpoint": str(path),
            "last": str(_shown(kept[-1])),
            "seconds": round(time.monotonic() - self._started, 1),
        }
        if isinstance(logger, RunLogger):
            result |= {"mlflow_run_id": logger.run_id, "tracking_uri": logger.tracking_uri}
            address = logger.tracking_uri
            started = address if address.startswith("http") else command_line(*_MLFLOW_UI, address)
            print(f"runs: {started}")  # noqa: T201
        if self.config.fit.json is not None:
            write_result(self.config.fit.json, result)
        print(f"next: {_NEXT[type(self.model)].format(command_line(path))}")  # noqa: T201

    def _resume(self) -> Path | None:
        """Find the checkpoint that a command starts from, and have `fit` take its run up; None for a fresh start.

        The configuration that `fit` keeps names no checkpoint: fed back, it repeats the run from its beginning.
        """
        command = self.config.subcommand
        settings = self.config[command]
        asked = settings.ckpt_path
        if command == "fit":
            settings.ckpt_path = None
        config = yaml.safe_load(self._parser(command).dump(settings, skip_unset=False))
        if command != "fit":
            path = None if asked is None else found(str(asked), self.trainer, config)
        elif (again := asked or requeued(self.trainer, config)) is not None:
            path = resume(str(again), self.trainer, config, new_run=settings.new_run)
        else:
            path = None
        self.config_init[command].ckpt_path = None if path is None else str(path)
        return path

    def _check_labels(self) -> None:
        """Stop where a label cannot be learned, and warn of cells that were not understood."""
        if isinstance(self.model, tasks.Downstream):
            self.datamodule.refuse_unknown_labels()
        if self.trainer.is_global_zero:
            for statement in self.datamodule.label_warnings():
                print(f"warning: {statement}")  # noqa: T201

    def _take_weights(self) -> TrainingExposure:
        """Start from the encoders of another run, where the user wants that; what these saw."""
        weights = self.config[self.config.subcommand].weights
        if weights is None:
            return TrainingExposure()
        moved = move_encoders(weights, self.model, self.datamodule)
        for callback in getattr(self.trainer, "callbacks", []):
            if isinstance(callback, WeightRecord):
                callback.moved = moved
        return moved.seen

    def _refuse_overlap(self, seen: TrainingExposure) -> None:
        """Stop before a run is opened when what it starts from saw the studies that it is to be measured by."""
        command = self.config.subcommand
        if self._resumed is not None:
            seen = seen.joined(exposure_of(load_checkpoint(self._resumed)))
        seen = seen.joined(TrainingExposure(unknown=_folders(self.model)))
        record = self._seen_record()
        if record is None:
            return
        record.seen, data, config = seen, self.datamodule, self.config[command]
        record.overlap = find_overlap(
            seen, data.cohort, data.modalities, tested=("test",) if command in ("fit", "test") else (),
            chosen=("val",) if command in ("fit", "validate") else (), allowed=config.allow_overlap,
            folder=data.prepared_folder,
        )  # fmt: skip
        record.overlap.refuse()
        for statement in record.overlap.statements:
            print(f"warning: {printable(statement)}")  # noqa: T201

    def _record_seen(self) -> None:
        """Hash the studies of this run, for its checkpoints: before the run starts, so that no rank waits in it."""
        record, data = self._seen_record(), self.datamodule
        if (
            record is None
            or data is None
            or getattr(self.trainer, "fast_dev_run", False)
            or not self.trainer.checkpoint_callbacks
        ):
            return
        own = cohort_exposure(
            data.cohort,
            data.modalities,
            trained={study.study_id for study in data.studies("train", training=True)},
            selected={study.study_id for study in data.cohort.split("val")},
            folder=data.prepared_folder,
        )
        record.seen = TrainingExposure(cohorts=(own,)).joined(record.seen)

    def _seen_record(self) -> ExposureRecord | None:
        """The callback that keeps what is seen; on rank zero alone, which reads the files for all."""
        found = [one for one in getattr(self.trainer, "callbacks", []) if isinstance(one, ExposureRecord)]
        return found[0] if found and self.trainer.is_global_zero else None


def _folders(model: L.LightningModule) -> tuple[str, ...]:
    """Encoders that start from weights of a folder, which say nothing of who they were trained on."""
    accounts = {name: one.account for name, one in getattr(model, "encoders", {}).items()}
    return tuple(
        f"the encoder of {name} starts from the folder {account.source}"
        for name, account in accounts.items()
        if account is not None
    )


def _kept(trainer: L.Trainer) -> list[Path]:
    """The checkpoints that a run leaves: the best one where a metric chooses, and the last one."""
    best = [Path(one.best_model_path) for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
    last = [one.path for one in trainer.checkpoint_callbacks if isinstance(one, LastCheckpoint)]
    return [path for path in [*best, *last] if path is not None and path.is_file()]


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main(argv: Sequence[str]) -> None:
    """Parse and run one of the Lightning subcommands.

    Raises:
        SystemExit: SIGTERM ended it; with 143, where Lightning would leave with 0.
        KeyboardInterrupt: Ctrl-C ended it.
    """
    try:
        with ended_by_sigterm():
            _run(argv)
    except SystemExit as end:
        raise exit_of(end) from None


def _run(argv: Sequence[str]) -> None:
    load_plugins(argv)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)
    PolyclinicCLI(
        L.LightningModule,
        CohortDataModule,
        subclass_mode_model=True,
        save_config_callback=RunRecord,
        seed_everything_default=0,
        trainer_defaults={
            "logger": {"class_path": f"{RunLogger.__module__}.{RunLogger.__qualname__}"},
            "callbacks": [
                RandomStates(),
                GracefulStop(),
                CohortRecord(),
                Provenance(),
                WeightRecord(),
                ExposureRecord(),
                SimilarityMatrixImage(),
            ],
            "use_distributed_sampler": False,
            "deterministic": True,
        },
        parser_kwargs={"exit_on_error": False},
        args=list(argv),
    )


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    """Lightning praises a cloud service at every start; a hospital's log has no use for that."""
    return "litlogger" not in record.getMessage() and "litmodels" not in record.getMessage()


def load_plugins(argv: Sequence[str]) -> None:
    """Import every installed plugin, so that its short class name can be used, and check those that are named.

    Raises:
        ValueError: a configuration file or an argument names a plugin that nobody provides.
    """
    installed = installed_modalities()
    known = {cls.__name__ for cls in [*installed.values(), *Modality.__subclasses__()] if not inspect.isabstract(cls)}
    named = [("command line", name, plugin) for name, plugin in _PLUGIN_ARGUMENT.findall(" ".join(argv))]
    for path in _config_files(argv):
        for name, entry in _configured_modalities(path).items():
            named.append((path.name, name, entry.get("class_path") if isinstance(entry, dict) else entry))
    for where, name, plugin in named:
        if isinstance(plugin, str) and "." not in plugin and plugin not in known:
            raise ValueError(
                f"{where}: `data.modalities.{name}` names plugin {plugin!r}; the known ones are {sorted(known)}"
            )


def _config_files(argv: Sequence[str]) -> list[Path]:
    flags = ("-c", "--config")
    given = [value for flag, value in pairwise(argv) if flag in flags]
    given += [value.split("=", 1)[1] for value in argv if value.startswith("--config=")]
    return [Path(value) for value in given if Path(value).is_file()]


def _configured_modalities(path: Path) -> dict[str, Any]:
    config = load_yaml(path.read_bytes(), name=path.name)
    if not isinstance(config, dict):
        return {}
    config = config.get("fit", config)
    modalities = (config.get("data") or {}).get("modalities") if isinstance(config.get("data"), dict) else None
    return modalities if isinstance(modalities, dict) else {}
