"""Predictions of a supervised model for the studies of a split."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from polyclinic.evaluation.embedding import split_batches
from polyclinic.evaluation.scorers import only
from polyclinic.tasks import Downstream
from polyclinic.training.restore import Restored


@dataclass(frozen=True, kw_only=True)
class PredictedSplit:
    """Predictions and labels of ``N`` studies.

    Attributes:
        outputs: result of ``Targets.predictions``.
        labels: labels, one column per target; NaN where unknown.
        study_ids: identifiers of the studies.
        patient_ids: identifiers of their patients.
    """

    outputs: Float[Tensor, "N K"]
    labels: Float[Tensor, "N C"]
    study_ids: Sequence[str]
    patient_ids: Sequence[str]


def predict_split(restored: Restored, split: str, query: Sequence[str]) -> PredictedSplit:
    """Predict every study of a split from the input modalities that it has, in order.

    Args:
        restored: checkpoint of a ``Downstream`` run.
        split: name of the split.
        query: input modalities.

    Raises:
        ValueError: the checkpoint is of another task, the split is empty, or too many sources are broken.
    """
    task = restored.task_of(Downstream)
    batches = split_batches(restored, split)
    with torch.inference_mode():
        outputs = torch.cat(
            [task.fuse(task.features(batch, held_out=split == "val"), only(batch.present, query)) for batch in batches]
        )
    return PredictedSplit(
        outputs=outputs,
        labels=torch.cat([batch.labels for batch in batches]),
        study_ids=[study for batch in batches for study in batch.study_ids],
        patient_ids=[patient for batch in batches for patient in batch.patient_ids],
    )
