"""Rebuild a task and its data from a checkpoint, outside the command line that trained it."""

import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import lightning.pytorch as L
from torch import nn

from polyclinic import data as data_package
from polyclinic import tasks
from polyclinic.cohort.folds import Folds
from polyclinic.cohort.leakage.overlap import TrainingExposure
from polyclinic.cohort.schema import read_spec
from polyclinic.data import CohortDataModule, LabelPolicy, OrderStrategy, Target
from polyclinic.data.labels import target_record
from polyclinic.modality import installed_modalities
from polyclinic.models.build import Builder, first_line, largest_model
from polyclinic.models.class_table import KINDS, MODULES, ClassTable
from polyclinic.training.checkpoint_file import configuration, exposure_of, load_checkpoint, provenance

__all__ = ["Restored", "build", "restore", "tasks"]

Task = TypeVar("Task", bound=L.LightningModule)

OWN_MODULES = "POLYCLINIC_MODULES"
"""Environment variable with user modules, separated by commas, whose classes a checkpoint may name."""

_MODULES = (*MODULES, data_package, tasks)
_KINDS = (*KINDS, L.LightningModule, LabelPolicy, OrderStrategy)
LINKED = frozenset({"modalities", "targets"})
"""Settings of the model that are linked to ``data``."""


class Built(NamedTuple):
    """A data module, and the task that is linked to it."""

    data: CohortDataModule
    model: L.LightningModule


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A trained task in evaluation mode, its data module with fitted modalities, and its run.

    Attributes:
        settings: resolved settings of the task.
        trained_on: fingerprint of the cohort of the run.
        seen: training exposure of the weights.
    """

    task: L.LightningModule
    data: CohortDataModule
    settings: Mapping[str, Any]
    trained_on: str
    seen: TrainingExposure
    run_id: str | None
    tracking_uri: str | None

    @property
    def encoders(self) -> nn.ModuleDict:
        """Encoders of the task, by modality."""
        encoders = self.task.get_submodule("encoders")
        assert isinstance(encoders, nn.ModuleDict)
        return encoders

    def task_of(self, kind: type[Task]) -> Task:
        """Return the task if it is an instance of a class.

        Raises:
            ValueError: it is not.
        """
        if not isinstance(self.task, kind):
            raise ValueError(f"got a checkpoint of {type(self.task).__name__}, expected one of {kind.__name__}")
        return self.task


def restore(checkpoint: Path, *, cohort: Path | None = None, trained: bool = True) -> Restored:
    """Load a checkpoint of ``polyclinic fit`` without reading a pickle or importing a module that it names.

    Args:
        checkpoint: ``.ckpt`` file.
        cohort: cohort to use in place of the one trained on.
        trained: whether to load the weights, too; without them the task is as it was before training.

    Raises:
        ValueError: the file is missing, damaged, not weights-only or without a configuration, or names classes or
            settings that are not declared here.
    """
    content = load_checkpoint(checkpoint)
    record = provenance(content)
    if "config" not in record:
        raise ValueError(f"{checkpoint.name} holds no configuration; expected a checkpoint of `polyclinic fit`")
    try:
        return _restored(content, configuration(record["config"]), cohort=cohort, trained=trained)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"{checkpoint.name} cannot be restored ({type(error).__name__}: {first_line(error)}); use the version that "
            "wrote it"
        ) from None


def _restored(content: dict[str, Any], config: dict[str, Any], *, cohort: Path | None, trained: bool) -> Restored:
    state, weights = content[CohortDataModule.__name__], content["state_dict"]
    data, model = dict(config["data"]), config["model"]
    if cohort is not None:
        data["cohort"] = str(cohort)
        if not isinstance(read_spec(cohort).split, Folds):
            data.pop("fold", None)
    if _class(model) is tasks.Downstream:
        data["labels"] = state["labels"]
    settings = deepcopy(model.get("init_args") or {})
    with largest_model(sum(value.numel() for value in weights.values())):
        built = build({"model": model, "data": data}, state)
        if isinstance(built.model, tasks.Downstream):
            _refuse_changed_labels(state.get("targets", []), built.data.targets)
            built.model.on_load_checkpoint(content)
        built.model.configure_model()
    if trained:
        built.model.load_state_dict(weights, strict=True)
    built.model.eval()
    record = provenance(content)
    return Restored(
        task=built.model,
        data=built.data,
        settings=settings,
        trained_on=state["fingerprint"],
        seen=exposure_of(content),
        run_id=record.get("run_id"),
        tracking_uri=record.get("tracking_uri"),
    )


def _refuse_changed_labels(trained: Sequence[Mapping[str, Any]], targets: Sequence[Target]) -> None:
    """Refuse a cohort whose labels have another meaning than in training; earlier releases did not record it.

    Raises:
        ValueError: a label is of another kind, or has other classes, levels or another unit.
    """
    for record, target in zip(trained, targets, strict=False):
        if (found := target_record(target)) != record:
            key = next(key for key, value in found.items() if value != record.get(key))
            raise ValueError(
                f"got label {target.name!r} with {key} {found[key]!r}, expected {record.get(key)!r} as in training; "
                f"correct `labels.{target.name}` of the cohort file"
            )


def _class(model: Mapping[str, Any]) -> type | None:
    """Return the class of a configured task; None where it is not one of ``polyclinic.tasks``."""
    return getattr(tasks, str(model.get("class_path")).rpartition(".")[2], None)


def build(config: Mapping[str, Any], state: dict[str, Any] | None = None) -> Built:
    """Instantiate ``data`` and ``model`` of a configuration, linked as ``fit`` links them.

    Args:
        config: settings of ``data`` and ``model``.
        state: state of the data module, on which the sizes of encoders may depend; none is loaded unless given.

    Raises:
        ValueError: a class is not declared, or does not accept a setting.
    """
    classes = builder()
    model = classes.plan(config["model"], L.LightningModule, "model", given=LINKED)
    data: CohortDataModule = classes.plan_settings(CohortDataModule, config["data"], "data").make()
    if state is not None:
        data.load_state_dict(state)
    linked = LINKED & signature(model.cls).parameters.keys()
    return Built(data=data, model=model.make(**{name: getattr(data, name) for name in linked}))


def builder() -> Builder:
    """Return the builder that checks the configuration of a checkpoint.

    It accepts classes that Polyclinic and the installed plugins declare, and those that this process has already
    imported. The modules that ``POLYCLINIC_MODULES`` names are imported first.

    Raises:
        ValueError: a plugin, or a module that the variable names, cannot be imported.
    """
    installed_modalities()
    _import_own_modules()
    return Builder(table=ClassTable(modules=_MODULES, kinds=_KINDS, loaded=True), files=True)


def _import_own_modules() -> None:
    """Import the modules that the user names; a checkpoint cannot add to them.

    Raises:
        ValueError: a module cannot be imported.
    """
    for name in filter(None, os.environ.get(OWN_MODULES, "").split(",")):
        try:
            import_module(name.strip())
        except ImportError:
            raise ValueError(
                f"{OWN_MODULES} names module {name.strip()!r}, which cannot be imported; correct it, or PYTHONPATH"
            ) from None
