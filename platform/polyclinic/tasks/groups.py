"""Which studies of a batch belong together."""

import hashlib
from collections.abc import Iterable

import torch
from jaxtyping import Int
from torch import Tensor

from polyclinic.data import Batch

SAME = ("study", "patient", "labels")


def batch_groups(batch: Batch, same: str | None) -> Int[Tensor, " B"] | None:
    """Equal numbers for studies that belong together; the same number on every rank.

    Args:
        batch: with its ids and labels.
        same: ``study`` for views of one study, ``patient`` for studies of one patient, ``labels`` for studies with
            equal labels, all of them known; None when each study stands alone.

    Raises:
        ValueError: a study is in the batch more than once, and ``same`` is None.
    """
    if same is None:
        if len(set(batch.study_ids)) < len(batch.study_ids):
            raise ValueError(
                "got several views of a study, which would be negatives of each other; set `model.same: study`"
            )
        return None
    numbers = [_number(key) for key in _keys(batch, same)]
    return torch.tensor(numbers, dtype=torch.int64, device=batch.labels.device)


def _keys(batch: Batch, same: str) -> Iterable[str]:
    if same == "study":
        return batch.study_ids
    if same == "patient":
        return batch.patient_ids
    unknown = batch.labels.isnan().any(dim=1).tolist()
    pairs = zip(batch.study_ids, batch.labels.tolist(), unknown, strict=True)
    return (study if blank else repr(labels) for study, labels, blank in pairs)


def _number(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) >> 1
