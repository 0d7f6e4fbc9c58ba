"""A bundle of the trained heads of several folds, whose predictions are averaged."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polyclinic.cohort import Study
from polyclinic.data import Batch
from polyclinic.data.batch import collate
from polyclinic.data.dataset import StudyDataset
from polyclinic.data.labels import target_record
from polyclinic.deploy.bundle.format import Architecture, Member
from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.scorers import FoldedScorer, TrainedScorer, only
from polyclinic.export.architecture import describe_architecture
from polyclinic.export.runs import Examples, HeadRun, head_columns, without_held_out
from polyclinic.files.digest import file_sha256
from polyclinic.files.kinds import FOLDS_REPORT, refuse_other_kind
from polyclinic.models.class_table import shown
from polyclinic.models.ensemble import joined_parts
from polyclinic.tasks import Downstream
from polyclinic.training.restore import Restored

FOLDS = ".json"
"""Suffix by which the report of a cross-validation differs from a checkpoint."""

_EXAMPLES = 8
_FEWEST = 2


class FoldsRun(HeadRun):
    """The runs of ``Downstream`` on the folds of a cohort.

    Rules come from the validation studies of every fold and performance from its test studies, each by the model of the
    fold, which was not trained on them. The bundle averages the models.

    Args:
        checkpoints: checkpoints of the folds.
        folds: the same, restored.
        query: input modalities; all by default.

    Raises:
        ValueError: folds test the same study, or differ in labels, modalities or model.
    """

    def __init__(self, checkpoints: Sequence[Path], folds: Sequence[Restored], query: Sequence[str] | None) -> None:
        super().__init__(folds[0], query)
        self._checkpoints, self._folds = checkpoints, folds
        _refuse_different(checkpoints, folds)

    def scorer(self) -> TrainedScorer:
        """Return a scorer of each fold's studies by its model."""
        return FoldedScorer(self._folds, self.query)

    def weights(self) -> dict[str, Tensor]:
        """Return the weights of every fold's task."""
        return {
            f"members.{place}.{key}": value
            for place, restored in enumerate(self._folds)
            for key, value in without_held_out(restored.task.state_dict()).items()
        }

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Replace weights of the tasks."""
        for place, restored in enumerate(self._folds):
            prefix = f"members.{place}."
            own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
            restored.task.load_state_dict({**restored.task.state_dict(), **own})

    def architecture(self, weights: str) -> Architecture:
        """Describe the model of the first fold, and what the plugins of the others learned."""
        members = [
            Member(
                checkpoint_sha256=file_sha256(checkpoint),
                states={name: restored.data.modalities[name].state() for name in self.modalities},
            )
            for checkpoint, restored in zip(self._checkpoints[1:], self._folds[1:], strict=True)
        ]
        return replace(super().architecture(weights), members=members)

    def examples(self, scorer: TrainedScorer, validation: EmbeddedSplit) -> Examples:
        """Return validation studies of the first fold with the mean outputs of all folds."""
        studies = self.restored.data.studies("val")[:_EXAMPLES]
        batches = [_batch(restored, studies) for restored in self._folds]
        with torch.inference_mode():
            outputs = [
                task.fuse(task.features(batch), only(batch.present, scorer.modalities))
                for task, batch in zip((each.task_of(Downstream) for each in self._folds), batches, strict=True)
            ]
        mean, labels = torch.stack(outputs).mean(dim=0), batches[0].labels
        inputs = {name: joined_parts([batch.inputs[name] for batch in batches]) for name in batches[0].inputs}
        return Examples(inputs, batches[0].present, head_columns(mean, labels, scorer))


def read_folds(path: Path) -> list[Path]:
    """Return the checkpoints in a report of ``polyclinic crossval``.

    Raises:
        ValueError: the file is not such a report, or has fewer than two checkpoints.
    """
    refuse_other_kind(path, FOLDS_REPORT, "name the file of its `--json`")
    try:
        found = json.loads(path.read_bytes())["checkpoints"]
        checkpoints = [Path(checkpoint) for checkpoint in found]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path.name} is not a report of `polyclinic crossval` ({type(error).__name__}), expected JSON with the "
            "key 'checkpoints'; name the file of its `--json`"
        ) from None
    if len(checkpoints) < _FEWEST:
        raise ValueError(
            f"{path.name} has {len(checkpoints)} checkpoints, expected at least {_FEWEST}; export the checkpoint itself"
        )
    return checkpoints


def _refuse_different(checkpoints: Sequence[Path], folds: Sequence[Restored]) -> None:
    """Refuse checkpoints that cannot be averaged.

    Raises:
        ValueError: folds test the same study, or differ in labels, modalities or model.
    """
    tested = [study.study_id for restored in folds for study in restored.data.studies("test")]
    if twice := [study for study, count in Counter(tested).items() if count > 1]:
        raise ValueError(
            f"got {len(twice)} studies that several folds test, expected each in one; export folds of one `polyclinic "
            "crossval`"
        )
    first = _description(folds[0])
    for checkpoint, restored in zip(checkpoints[1:], folds[1:], strict=True):
        for what, value in _description(restored).items():
            if value != first[what]:
                raise ValueError(
                    f"the folds disagree on {what}: {checkpoint.name} has {shown(value)}, {checkpoints[0].name} has "
                    f"{shown(first[what])}; export folds of one `polyclinic crossval`"
                )


def _description(restored: Restored) -> dict[str, Any]:
    """Return what must be the same in every fold."""
    restored.task_of(Downstream)
    architecture = describe_architecture(restored, tuple(restored.data.modalities), "float32")
    specs = {name: (spec["plugin"], spec["settings"]) for name, spec in architecture.modalities.items()}
    return {
        "labels": [target_record(target) for target in restored.data.targets],
        "modalities": list(restored.data.modalities),
        "the settings of modalities": specs,
        "the model": [getattr(architecture, part) for part in ("encoders", "size", "fusion", "adapter", "linear")],
    }


def _batch(restored: Restored, studies: Sequence[Study]) -> Batch:
    modalities = restored.data.modalities
    dataset = StudyDataset(studies=studies, modalities=modalities, prepared={}, augment=False, seed=0)
    return collate([dataset[0, place, 0] for place in range(len(studies))], modalities)
