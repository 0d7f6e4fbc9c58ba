"""Rebuild a task and its data from a checkpoint, outside the command line that trained it."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import lightning.pytorch as L
import yaml
from jsonargparse import ArgumentParser
from torch import nn

from polyclinic import tasks
from polyclinic.checkpoint import load_checkpoint, provenance, seen_by
from polyclinic.cohort.overlap import Seen
from polyclinic.data import CohortDataModule
from polyclinic.modality import installed_modalities

__all__ = ["Restored", "build", "restore", "tasks"]

Task = TypeVar("Task", bound=L.LightningModule)


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A trained task in evaluation mode, its data module with fitted modalities, and the run it came from.

    Attributes:
        settings: with which the task was built, as the run resolved them.
        trained_on: fingerprint of the cohort that the run saw.
        seen: every study that its weights were made from.
    """

    task: L.LightningModule
    data: CohortDataModule
    settings: Mapping[str, Any]
    trained_on: str
    seen: Seen
    run_id: str | None
    tracking_uri: str | None

    @property
    def encoders(self) -> nn.ModuleDict:
        """The task's encoders, by modality."""
        found = self.task.get_submodule("encoders")
        assert isinstance(found, nn.ModuleDict)
        return found

    def task_of(self, kind: type[Task]) -> Task:
        """The task, if it is of a kind.

        Raises:
            ValueError: it is another.
        """
        if not isinstance(self.task, kind):
            raise ValueError(f"got a checkpoint of {type(self.task).__name__}, expected one of {kind.__name__}")
        return self.task


def restore(checkpoint: Path, *, cohort: Path | None = None, trained: bool = True) -> Restored:
    """Load a checkpoint that ``polyclinic fit`` wrote; no pickle is read.

    Args:
        checkpoint: a ``.ckpt`` file.
        cohort: a cohort in place of the one trained on.
        trained: whether to take the weights, too; without them the task is as it was before training.

    Raises:
        ValueError: no such file, not weights-only, or without the configuration that our runs put in.
    """
    content = load_checkpoint(checkpoint)
    told = provenance(content)
    if "config" not in told:
        raise ValueError(f"{checkpoint.name} holds no configuration; expected a checkpoint of `polyclinic fit`")
    config = yaml.safe_load(told["config"])
    if cohort is not None:
        config["data"]["cohort"] = str(cohort)
    if _class(config["model"]) is tasks.Downstream:
        config["data"]["labels"] = content["CohortDataModule"]["labels"]
    # A copy, because the parser turns what it is given into objects of its own.
    settings = deepcopy(config["model"].get("init_args") or {})
    built = build({"model": config["model"], "data": config["data"]})
    data, task = built.data, built.model
    data.load_state_dict(content["CohortDataModule"])
    task.configure_model()
    if trained:
        task.load_state_dict(content["state_dict"], strict=True)
    task.eval()
    return Restored(
        task=task,
        data=data,
        settings=settings,
        trained_on=content["CohortDataModule"]["fingerprint"],
        seen=seen_by(content),
        run_id=told.get("run_id"),
        tracking_uri=told.get("tracking_uri"),
    )


def _class(model: Mapping[str, Any]) -> type | None:
    """The task of a configuration, where it is one of ours."""
    return getattr(tasks, str(model["class_path"]).rpartition(".")[2], None)


def build(config: dict[str, Any]) -> Any:
    """Instantiate ``data`` and ``model`` of a configuration, linked as ``fit`` links them."""
    installed_modalities()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(CohortDataModule, "data")
    parser.add_subclass_arguments(L.LightningModule, "model")
    parser.link_arguments("data.modalities", "model.init_args.modalities", apply_on="instantiate")
    parser.link_arguments("data.targets", "model.init_args.targets", apply_on="instantiate")
    return parser.instantiate(parser.parse_object(config))
