"""``polyclinic fit | validate | test``: the Lightning CLI for tasks and cohorts."""

import inspect
import logging
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as L
import yaml
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint, ModelSummary
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.utilities.model_helpers import is_overridden

from polyclinic import objectives, tasks
from polyclinic.cli.configurations import configuration_files, read_configuration
from polyclinic.cli.default_plugins import with_default_plugins
from polyclinic.cli.encoder_help import EncoderHelpFormatter, encoder_help
from polyclinic.cli.fit_help import fit_help
from polyclinic.cli.narrow import fitted
from polyclinic.cli.parser import with_underscores
from polyclinic.cohort.leakage.overlap import TrainingExposure, cohort_exposure, find_overlap
from polyclinic.data import AUTO, CohortDataModule
from polyclinic.files.results import refuse_unwritable, write_result
from polyclinic.modality import Modality, installed_modalities
from polyclinic.system.names import expected_name
from polyclinic.system.shell import command_line
from polyclinic.system.terminal import Console, is_quiet, printable, remark
from polyclinic.tracking import RunLogger, RunRecord
from polyclinic.tracking.exit_status import ended_by_sigterm, exit_of
from polyclinic.training.automatic import choose
from polyclinic.training.best_checkpoint import BestCheckpoint
from polyclinic.training.callbacks.average_weights import AverageWeights
from polyclinic.training.callbacks.description import RunDescription
from polyclinic.training.callbacks.graceful_stop import GracefulStop
from polyclinic.training.callbacks.linear_path import FitLinearPath
from polyclinic.training.callbacks.progress import ProgressLines
from polyclinic.training.callbacks.provenance import CohortRecord, ExposureRecord, Provenance, WeightRecord
from polyclinic.training.callbacks.reconstruction_grid import ReconstructionGrid
from polyclinic.training.callbacks.similarity_matrix import SimilarityMatrixImage
from polyclinic.training.checkpoint_file import exposure_of, load_checkpoint
from polyclinic.training.checkpoints import AtomicCheckpoints, LastCheckpoint
from polyclinic.training.restore import LINKED
from polyclinic.training.resume import RandomStates, evaluated_checkpoint, refuse_changed_cohort, requeued, resume
from polyclinic.training.transfer import adopt_states, move_encoders, untrained_readouts

__all__ = ["PolyclinicCLI", "main", "objectives", "tasks"]

_CHECKPOINT_KEYWORDS = ("last", "best", "hpc", "registry")
_PLUGIN_ARGUMENT = re.compile(r"--data\.modalities\.(\w+)(?:\.class_path)?[ =]([\w.]+)")
_LOGGER_PACKAGES = {
    "CometLogger": ("comet_ml",), "TensorBoardLogger": ("tensorboard", "tensorboardX"), "WandbLogger": ("wandb",),
}  # fmt: skip
_NEXT_COMMANDS = defaultdict(
    lambda: "polyclinic runs",
    {
        tasks.ContrastivePretraining: "polyclinic evaluate zeroshot {} PROMPTS.yaml",
        tasks.Downstream: "polyclinic evaluate classifier {}",
        tasks.MaskedPretraining: "polyclinic evaluate reconstruction {}",
    },
)


class PolyclinicCLI(LightningCLI):
    """Lightning CLI with the cohort data module, default tracking, and one configuration of the modalities."""

    def __init__(self, command: str, *args: Any, **kwargs: Any) -> None:
        self._command = command
        super().__init__(*args, **kwargs)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # called on the instance
        """Return only the command to run: the parser of each Lightning subcommand takes a quarter of a second."""
        return {self._command: LightningCLI.subcommands()[self._command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add options, and link the plugin objects of the data module to the model."""
        parser.epilog = encoder_help(installed_modalities())
        for name in sorted(LINKED - {"modalities"}):
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        parser.link_arguments(
            "data", "model.init_args.modalities", compute_fn=self._adapted_modalities, apply_on="instantiate"
        )
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.add_argument("--json", type=Path | None, help="file for the checkpoint, run and seconds of `fit`")
        parser.add_argument(
            "--weights", type=Path | None, help="checkpoint of another run, whose encoders initialise those of `fit`"
        )
        parser.add_argument(
            "--allow_overlap",
            type=bool,
            default=False,
            help="whether to continue if `--weights`, or the resumed or measured checkpoint, was trained or selected "
            "on studies with which this cohort tests or selects; MLflow records the overlap",
        )
        parser.add_argument(
            "--new_run",
            type=bool,
            default=False,
            help="whether `fit --ckpt_path` continues in a new run, and leaves the run of the checkpoint unchanged",
        )
        parser.add_lightning_class_args(ReconstructionGrid, "pictures")
        parser.add_lightning_class_args(LastCheckpoint, "last")
        parser.add_lightning_class_args(BestCheckpoint, "best")
        parser.add_lightning_class_args(AverageWeights, "average")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments of ``main``, and check a checkpoint that they name."""
        self.config = parser.parse_args(with_underscores(args, self._parser(self._command)))
        path = self.config[self.config.subcommand].ckpt_path
        if path not in (None, *_CHECKPOINT_KEYWORDS):
            # Lightning would report a file that is not a checkpoint by a traceback.
            load_checkpoint(Path(path))

    def _parse_ckpt_path(self) -> None:
        """Read no settings from a checkpoint: Lightning would import the class that its ``hyper_parameters`` name."""

    def instantiate_classes(self) -> None:
        """Build all objects, and refuse invalid inputs before a run is opened."""
        limits = self.config[self.config.subcommand].trainer
        open_ended = limits.max_epochs is None and limits.max_steps == -1 and limits.max_time is None
        if open_ended:
            limits.max_epochs = 1  # Lightning would take a thousand, with a warning.
        _refuse_missing_packages(limits.logger)
        with _reasons():
            super().instantiate_classes()
        if isinstance(self.trainer.strategy.launcher, _MultiProcessingLauncher):
            raise ValueError(
                "got a `trainer.strategy` that forks or spawns ranks, whose results do not reach the command; set "
                "`--trainer.strategy ddp`"
            )
        if type(self.trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            self.trainer.strategy.checkpoint_io = AtomicCheckpoints()
        refuse_unwritable(self.config[self.config.subcommand].json)
        if self.datamodule is not None:
            _ = self.datamodule.cohort
            if self.config.subcommand == "fit":
                self._choose(open_ended=open_ended)
        self._resumed = self._resume()
        if self.datamodule is not None:
            if self.config.subcommand == "fit":
                self.datamodule.refuse_order()
                self._check_labels()
            self._refuse_overlap(self._take_weights())
            if self.config.subcommand == "fit" and self._resumed is not None:
                refuse_changed_cohort(self._resumed, self.datamodule.cohort, new_run=self.config.fit.new_run)
        if self.config.subcommand == "test" and not is_overridden("test_step", self.model):
            task = type(self.model)
            command = _NEXT_COMMANDS[task].format("CHECKPOINT")
            raise ValueError(f"got `test` of {task.__name__}, which has no test step; use {command}")

    def instantiate_trainer(self, **settings: Any) -> L.Trainer:
        """Build the trainer: without a bar unless the output is a terminal, and without a table if it is quiet."""
        trainer: Any = super().instantiate_trainer(**settings)
        if is_quiet():
            trainer.callbacks = [each for each in trainer.callbacks if not isinstance(each, ModelSummary)]
        if trainer.progress_bar_callback is not None and (is_quiet() or not sys.stdout.isatty()):
            trainer.progress_bar_callback.disable()
        return cast(L.Trainer, trainer)

    def _adapted_modalities(self, data: CohortDataModule) -> dict[str, Modality]:
        """Return the modalities as the default encoders need them: with the state of a named checkpoint, or adapted."""
        settings = self.config[self.config.subcommand]
        for path in (settings.weights, settings.ckpt_path):
            if path is not None and path not in _CHECKPOINT_KEYWORDS:
                fitted = load_checkpoint(Path(path)).get(CohortDataModule.__name__, {})
                adopt_states(data, fitted, data.modalities, Path(path).name)
        return data.adapt()

    def before_fit(self) -> None:
        """Start the clock, and record the training exposure."""
        self._started = time.monotonic()
        self._record_exposure()

    def after_fit(self) -> None:
        """Print and write the checkpoint and the run, and print the next command."""
        checkpoints = _checkpoints(self.trainer)
        if not self.trainer.is_global_zero or not checkpoints:
            return
        path, logger = _relative(checkpoints[0]), self.trainer.logger
        result: dict[str, Any] = {
            "checkpoint": str(path),
            "last": str(_relative(checkpoints[-1])),
            "seconds": round(time.monotonic() - self._started, 1),
        }
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, BestCheckpoint) and callback.score is not None:
                result["best"] = {"metric": callback.metric, "value": callback.score, "epoch": callback.epoch}
        if isinstance(logger, RunLogger):
            result |= {"mlflow_run_id": logger.run_id, "tracking_uri": logger.tracking_uri}
            remark(f"run: {logger.place}")
        if self.config.fit.json is not None:
            write_result(self.config.fit.json, result)
        Console(highlight=False).print(f"checkpoint: {path}", soft_wrap=True)
        remark(f"next: {_NEXT_COMMANDS[type(self.model)].format(command_line(path))}")

    def _choose(self, *, open_ended: bool) -> None:
        """Choose the settings that the configuration leaves open; the run records what they became."""
        settings, data = self.config.fit, self.datamodule
        data.trainer = self.trainer  # for the number of ranks
        chosen = choose(self.trainer, data, cache=str(settings.data.prepared) == AUTO, epochs=open_ended)
        prepared = None if chosen.prepared is None else str(_relative(chosen.prepared))
        settings.data.batch_size, settings.data.prepared = chosen.batch_size, prepared
        if chosen.max_epochs is not None:
            settings.trainer.max_epochs = chosen.max_epochs
        if self.trainer.is_global_zero:
            epochs = f"at most {chosen.max_epochs} epochs, " if chosen.max_epochs else ""
            kept = f"prepared items in {printable(prepared)}" if prepared else "no cache of prepared items"
            remark(f"fit: {epochs}batches of {chosen.batch_size}, {kept}")

    def _resume(self) -> Path | None:
        """Return the checkpoint that a command starts from, and make `fit` continue its run; None for a new start.

        The configuration that `fit` records has no checkpoint, so that it repeats the run from the beginning.
        """
        command = self.config.subcommand
        settings = self.config[command]
        requested = settings.ckpt_path
        if command == "fit":
            settings.ckpt_path = None
        config = yaml.safe_load(self._parser(command).dump(settings, skip_unset=False))
        if command != "fit":
            path = None if requested is None else evaluated_checkpoint(str(requested), self.trainer, config)
            if path is not None and self.trainer.is_global_zero:
                remark(f"checkpoint: {_relative(path)}")
        elif (start := requested or requeued(self.trainer, config)) is not None:
            path = resume(str(start), self.trainer, config, new_run=settings.new_run)
        else:
            path = None
        self.config_init[command].ckpt_path = None if path is None else str(path)
        return path

    def _check_labels(self) -> None:
        """Refuse labels that cannot be learned, and warn of invalid label cells."""
        if isinstance(self.model, tasks.Downstream):
            self.datamodule.refuse_unknown_labels()
        if self.trainer.is_global_zero:
            for statement in self.datamodule.label_warnings():
                remark(f"warning: {statement}")

    def _take_weights(self) -> TrainingExposure:
        """Load encoders of another run if ``--weights`` is set, and return their training exposure."""
        weights = self.config[self.config.subcommand].weights
        if weights is None:
            return TrainingExposure()
        moved = move_encoders(weights, self.model, self.datamodule)
        if self.trainer.is_global_zero and (names := untrained_readouts(self.model, moved.account)):
            setting = "adapter" if isinstance(self.model, tasks.Downstream) else f"adapters.{names[0]}"
            remark(
                f"warning: {weights.name} has no readout of {', '.join(names)}, which stays at its initial values; set "
                f"`model.{setting}` to {{class_path: Frozen, init_args: {{readout: true}}}} to train it"
            )
        for callback in getattr(self.trainer, "callbacks", []):
            if isinstance(callback, WeightRecord):
                callback.moved = moved
        return moved.seen

    def _refuse_overlap(self, exposure: TrainingExposure) -> None:
        """Refuse, before a run is opened, initial weights whose exposure overlaps with the evaluated studies."""
        command = self.config.subcommand
        if self._resumed is not None:
            exposure = exposure.joined(exposure_of(load_checkpoint(self._resumed)))
        exposure = exposure.joined(TrainingExposure(unknown=_unknown_weights(self.model)))
        record = self._exposure_record()
        if record is None:
            return
        record.seen, data, config = exposure, self.datamodule, self.config[command]
        record.overlap = find_overlap(
            exposure, data.cohort, data.modalities, tested=("test",) if command in ("fit", "test") else (),
            chosen=("val",) if command in ("fit", "validate") else (), allowed=config.allow_overlap,
            folder=data.content_index_folder,
        )  # fmt: skip
        record.overlap.refuse()
        for statement in record.overlap.statements:
            remark(f"warning: {statement}")

    def _record_exposure(self) -> None:
        """Hash the studies of this run for its checkpoints, before the run starts, so that no rank waits during it."""
        record, data = self._exposure_record(), self.datamodule
        if (
            record is None
            or data is None
            or getattr(self.trainer, "fast_dev_run", False)
            or not self.trainer.checkpoint_callbacks
        ):
            return
        exposure = cohort_exposure(
            data.cohort,
            data.modalities,
            trained={study.study_id for study in data.studies("train", training=True)},
            selected={study.study_id for study in data.cohort.split("val")},
            folder=data.prepared_folder,
        )
        record.seen = TrainingExposure(cohorts=(exposure,)).joined(record.seen)

    def _exposure_record(self) -> ExposureRecord | None:
        """Return the callback that records the exposure; None on ranks other than zero, which reads the files."""
        callbacks = getattr(self.trainer, "callbacks", [])
        records = [callback for callback in callbacks if isinstance(callback, ExposureRecord)]
        return records[0] if records and self.trainer.is_global_zero else None


def _refuse_missing_packages(loggers: Any) -> None:
    """Refuse a configured logger whose package is not installed."""
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        name = str(getattr(logger, "class_path", "")).rpartition(".")[2]
        packages = _LOGGER_PACKAGES.get(name, ())
        if packages and not any(find_spec(package) for package in packages):
            raise ValueError(
                f"got logger {name}, which needs the package {packages[0]}, expected an installed one; "
                f"pip install {packages[0]}, or set another `trainer.logger`"
            )


@contextmanager
def _reasons() -> Iterator[None]:
    """Raise the reasons of errors that the construction of objects wraps, and name the package that a class needs."""
    try:
        yield
    except ValueError as error:
        # jsonargparse puts the message of a link between the names of its arguments.
        raise (error.__cause__ if "compute_fn" in str(error) and error.__cause__ else error) from None
    except ModuleNotFoundError as error:
        raise ValueError(
            f"got a class that needs a package which is not installed, expected {' '.join(str(error).split())}; "
            "install it, or set another class"
        ) from None


def _unknown_weights(model: L.LightningModule) -> tuple[str, ...]:
    """Return a statement for each encoder initialised from a folder, whose training exposure is unknown."""
    accounts = {name: encoder.account for name, encoder in getattr(model, "encoders", {}).items()}
    return tuple(
        f"the encoder of {name} starts from the folder {account.source}"
        for name, account in accounts.items()
        if account is not None
    )


def _checkpoints(trainer: L.Trainer) -> list[Path]:
    """Return the checkpoints of a run: the best one if there was a validation, and the last one."""
    callbacks = trainer.checkpoint_callbacks
    kinds = (ModelCheckpoint, BestCheckpoint)
    best = [Path(callback.best_model_path) for callback in callbacks if isinstance(callback, kinds)]
    last = [callback.path for callback in callbacks if isinstance(callback, LastCheckpoint)]
    return [path for path in [*best, *last] if path is not None and path.is_file()]


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main(argv: Sequence[str]) -> None:
    """Parse and run one of the Lightning subcommands.

    Raises:
        SystemExit: SIGTERM ended the run; with code 143, where Lightning exits with 0.
        KeyboardInterrupt: Ctrl-C ended the run.
    """
    if {"-h", "--help"} & {*argv[1:]}:
        print(fitted(fit_help(argv[0])), end="")  # noqa: T201
        return
    try:
        with ended_by_sigterm():
            _run(["--help" if word == "--help-all" else word for word in argv])
    except SystemExit as end:
        raise exit_of(end) from None


def _run(argv: Sequence[str]) -> None:
    load_plugins(argv)
    argv = with_default_plugins(argv)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_not_advertisement)
    PolyclinicCLI(
        argv[0],
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
                FitLinearPath(),
                ProgressLines(),
                RunDescription(_NEXT_COMMANDS),
            ],
            "use_distributed_sampler": False,
            "deterministic": True,
        },
        parser_kwargs={"exit_on_error": False, "formatter_class": EncoderHelpFormatter},
        args=list(argv),
    )


def _is_not_advertisement(record: logging.LogRecord) -> bool:
    """Filter Lightning's advertisements of its cloud service from the log."""
    return "litlogger" not in record.getMessage() and "litmodels" not in record.getMessage()


def load_plugins(argv: Sequence[str]) -> None:
    """Import all installed plugins, so that short class names work, and check the configured ones.

    Raises:
        ValueError: a configuration file or an argument names a plugin that is not installed.
    """
    installed = installed_modalities()
    available = {
        cls.__name__ for cls in [*installed.values(), *Modality.__subclasses__()] if not inspect.isabstract(cls)
    }
    configured = [("command line", name, plugin) for name, plugin in _PLUGIN_ARGUMENT.findall(" ".join(argv))]
    for path in configuration_files(argv):
        for name, entry in _configured_modalities(path).items():
            configured.append((path.name, name, entry.get("class_path") if isinstance(entry, dict) else entry))
    for where, name, plugin in configured:
        if isinstance(plugin, str) and "." not in plugin and plugin not in available:
            raise ValueError(
                f"{where}: `data.modalities.{name}` names plugin {plugin!r}, "
                f"{expected_name(plugin, sorted(available))}; set it"
            )


def _configured_modalities(path: Path) -> dict[str, Any]:
    config = read_configuration(path)
    config = config.get("fit", config)
    modalities = (config.get("data") or {}).get("modalities") if isinstance(config.get("data"), dict) else None
    return modalities if isinstance(modalities, dict) else {}
