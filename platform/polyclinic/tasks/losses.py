"""Averages of losses over ranks, the check for non-finite losses, and groups of studies."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyclinic.data import Batch
from polyclinic.distributed import sum_without_gradient, world_size
from polyclinic.nn.targets import Summed


def mean_over_ranks(loss: Summed) -> Float[Tensor, ""]:
    """Return the mean over the terms of all ranks, as one process would; zero with a gradient path without terms."""
    # Distributed training averages gradients over ranks, where one process would sum them.
    return loss.total * world_size() / sum_without_gradient(loss.terms).clamp_min(1)


def mean_over_modalities(
    losses: Mapping[str, Float[Tensor, " _"]],
    weights: Mapping[str, float],
    zero: Float[Tensor, ""],
    *,
    ranks: bool = True,
) -> Float[Tensor, ""]:
    """Return the weighted mean of the modalities' means over the tokens of all ranks, as one process would.

    Args:
        losses: token losses of this rank, by modality; modalities may differ between ranks.
        weights: weights of all modalities of the run; a modality without a token on any rank is omitted.
        zero: start value of the sum, with a gradient path to all parameters that need a gradient.
        ranks: whether to average over all ranks, as in training. Validation averages on each rank, because ranks may
            have different numbers of batches.
    """
    counts = torch.tensor([float(len(losses[name])) if name in losses else 0.0 for name in weights])
    totals = (sum_without_gradient(counts.to(zero.device)) if ranks else counts).tolist()
    shares = {name: weight / total for (name, weight), total in zip(weights.items(), totals, strict=True) if total}
    norm = sum(weights[name] for name in shares)
    terms = [shares[name] * losses[name].sum() for name in losses if name in shares]
    # Distributed training averages gradients over ranks, where one process would sum them.
    world = world_size() if ranks else 1
    return sum(terms, start=zero) * (world / norm if norm else 1.0)


@contextmanager
def naming_studies(batch: Batch) -> Iterator[None]:
    """Add the study ids of the batch to a ``ValueError`` raised inside."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error}; studies of the batch: {', '.join(batch.study_ids)}") from error


def refuse_non_finite(loss: Tensor, batch: Batch) -> None:
    """Refuse a loss that is not finite.

    Raises:
        ValueError: the loss is NaN or infinite.
    """
    if not torch.isfinite(loss):
        with naming_studies(batch):
            raise ValueError(
                f"got loss {float(loss)}; lower `model.lr`, set `trainer.gradient_clip_val`, or train in higher "
                "`trainer.precision`"
            )


SAME = ("study", "patient", "labels")


def batch_groups(batch: Batch, same: str | None) -> Int[Tensor, " B"] | None:
    """Return the group number of each study, which is the same on every rank; None without groups.

    Args:
        batch: batch with its ids and labels.
        same: ``study`` to group the views of a study, ``patient`` the studies of a patient, ``labels`` the studies
            with equal and completely known labels; None for no groups.

    Raises:
        ValueError: a study occurs in the batch more than once, and ``same`` is None.
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
    incomplete = batch.labels.isnan().any(dim=1).tolist()
    rows = zip(batch.study_ids, batch.labels.tolist(), incomplete, strict=True)
    return (study if is_incomplete else repr(labels) for study, labels, is_incomplete in rows)


def _number(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) >> 1
