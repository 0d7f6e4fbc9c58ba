"""Callbacks that record provenance: the cohort in MLflow, the run and its studies in the checkpoint."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn

from polyclinic.cohort.leakage.overlap import Overlap, TrainingExposure
from polyclinic.data import CohortDataModule
from polyclinic.system.terminal import Console
from polyclinic.tracking import RunLogger, RunRecord, log_cohort, log_json, log_text
from polyclinic.tracking.uri import without_password
from polyclinic.training.resume import JOB
from polyclinic.training.transfer import Move, print_account

_MAX_TRUNCATED_SHARE = 0.01
_TRUNCATED_FACT = "/truncated"


class Provenance(Callback):
    """Stores the resolved configuration, the MLflow run and the SLURM job in every checkpoint, as plain strings."""

    def __init__(self) -> None:
        self._record: dict[str, str | None] = {"job": os.environ.get(JOB)}

    @property
    def state_key(self) -> str:
        """Stable checkpoint key, independent of the module path."""
        return "Provenance"

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Collect the configuration and the run, which exist once the run has begun."""
        for callback in getattr(trainer, "callbacks", []):
            if isinstance(callback, RunRecord):
                self._record["config"] = without_password(callback.parser.dump(callback.config, skip_unset=False))
        if isinstance(trainer.logger, RunLogger):
            self._record |= {"run_id": trainer.logger.run_id, "tracking_uri": trainer.logger.tracking_uri}

    def state_dict(self) -> dict[str, Any]:
        """Return the strings that are known."""
        return {key: value for key, value in self._record.items() if value is not None}


class CohortRecord(Callback):
    """Logs the studies of a run: counts, fingerprint, facts of the sources, and broken sources."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the cohort and the facts of its training sources."""
        data = _data(trainer)
        if data is None:
            return
        counts = {split: len(data.cohort.split(split)) for split in ("train", "val", "test")}
        log_cohort(trainer.logger, data.cohort.name, data.cohort.fingerprint, counts)
        _warn_of_truncation(data.facts)
        report = {"fingerprint": data.cohort.fingerprint, "splits": split_hash(data), "studies": counts}
        report |= {"present": data.cohort.present_share(), "facts": data.facts}
        log_json(trainer.logger, report, "cohort.json")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the share of broken sources of the epoch."""
        data = _data(trainer)
        if data is not None:
            pl_module.log("data/broken_share", data.quarantine.share, rank_zero_only=True)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """List the broken sources in the run, and fail if there are too many."""
        self._list(trainer)
        data = _data(trainer)
        if data is not None:
            data.quarantine.refuse_too_many()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """List the broken sources of a failed run, too."""
        self._list(trainer)

    def _list(self, trainer: L.Trainer) -> None:
        data = _data(trainer)
        if data is not None and (entries := data.quarantine.entries()):
            lines = json.dumps([entry._asdict() for entry in entries], indent=1)
            log_text(trainer.logger, lines, "quarantine.json")


class WeightRecord(Callback):
    """Prints and logs the origin of every weight: another run, a local folder, or the initialisation.

    Attributes:
        moved: encoders taken over from another run; set before the fit.
    """

    def __init__(self) -> None:
        self.moved: Move | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the number of weights by origin and log their names."""
        encoders = getattr(pl_module, "encoders", {})
        built = {name: encoder.account for name, encoder in encoders.items() if encoder.account is not None}
        if not trainer.is_global_zero or (self.moved is None and not built):
            return
        console = Console()
        report: dict[str, Any] = {"folders": {name: account._asdict() for name, account in built.items()}}
        for name, account in built.items():
            print_account(account, console, of=name)
        if self.moved is not None:
            print_account(self.moved.account, console)
            for line in self.moved.changed:
                rank_zero_warn(f"a setting differs from the one that the weights were trained with: {line}")
            moved = {key: value for key, value in vars(self.moved).items() if key != "seen"}
            report["checkpoint"] = moved | {"account": self.moved.account._asdict()}
        log_json(trainer.logger, report, "weights.json")


class ExposureRecord(Callback):
    """Stores the training exposure in every checkpoint, and logs its overlap with the splits to MLflow.

    Both attributes are set before the fit, on rank zero only, which writes.

    Attributes:
        seen: training exposure of this run and of those that it started from.
        overlap: studies of the splits of this run that are in the exposure of the earlier ones.
    """

    def __init__(self) -> None:
        self.seen = TrainingExposure()
        self.overlap: Overlap | None = None

    @property
    def state_key(self) -> str:
        """Stable checkpoint key, independent of the module path."""
        return "SeenRecord"

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Log the overlap, also where it is empty."""
        if self.overlap is not None:
            log_json(trainer.logger, self.overlap.as_record(), "overlap.json")

    def state_dict(self) -> dict[str, Any]:
        """Return the exposure; empty where it was not set, as in a run without checkpoints."""
        return self.seen.state() if self.seen.cohorts or self.seen.unknown else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Add the exposure of the resumed run, which includes that of the runs before it."""
        self.seen = self.seen.joined(TrainingExposure.of(state_dict))


def split_hash(data: CohortDataModule) -> str:
    """Return a SHA-256 of the split of every study, equal for two runs with identical splits."""
    studies = [*data.studies("train", training=True), *data.cohort.split("val"), *data.cohort.split("test")]
    splits = sorted([study.study_id, study.split] for study in studies)
    return hashlib.sha256(json.dumps(splits).encode()).hexdigest()


def _warn_of_truncation(facts: Mapping[str, float]) -> None:
    """Warn where more than 1 % of the sources of a modality are truncated."""
    for fact, share in facts.items():
        if fact.endswith(_TRUNCATED_FACT) and share > _MAX_TRUNCATED_SHARE:
            modality = fact.removesuffix(_TRUNCATED_FACT)
            rank_zero_warn(
                f"{share:.1%} of the {modality} sources are truncated; raise the limit or choose a section in "
                f"data.modalities.{modality}"
            )


def _data(trainer: L.Trainer) -> CohortDataModule | None:
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, CohortDataModule) else None
