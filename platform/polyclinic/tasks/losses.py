"""Loss averages over ranks, the check for non-finite losses, and patient groups."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyclinic.data import Batch
from polyclinic.distributed import sum_without_gradient, world_size


class Summed(NamedTuple):
    """A sum of losses and the number of its terms."""

    total: Float[Tensor, ""]
    terms: Int[Tensor, ""]


def mean_over_ranks(loss: Summed) -> Float[Tensor, ""]:
    """The mean as one process with the entries of all ranks would take it; zero, with a graph, over none."""
    # Distributed training averages gradients over ranks, where one process would sum.
    return loss.total * world_size() / sum_without_gradient(loss.terms).clamp_min(1)


def mean_over_modalities(
    losses: Mapping[str, Float[Tensor, " _"]],
    weights: Mapping[str, float],
    zero: Float[Tensor, ""],
    *,
    ranks: bool = True,
) -> Float[Tensor, ""]:
    """The weighted mean of each modality's mean, as one process with the entries of all ranks would take it.

    Args:
        losses: of the tokens of this rank, by modality; modalities may differ between ranks.
        weights: of every modality of the run; one without a token on any rank does not count.
        zero: what to start from, with the graph of whatever must get a gradient.
        ranks: whether all ranks take the mean together, as they do while training; alone when False, since one may
            have a batch more to validate on than another.
    """
    counts = torch.tensor([float(len(losses[name])) if name in losses else 0.0 for name in weights])
    totals = (sum_without_gradient(counts.to(zero.device)) if ranks else counts).tolist()
    shares = {name: weight / total for (name, weight), total in zip(weights.items(), totals, strict=True) if total}
    norm = sum(weights[name] for name in shares)
    terms = [shares[name] * losses[name].sum() for name in losses if name in shares]
    # Distributed training averages gradients over ranks, where one process would sum.
    world = world_size() if ranks else 1
    return sum(terms, start=zero) * (world / norm if norm else 1.0)


@contextmanager
def naming_studies(batch: Batch) -> Iterator[None]:
    """Add the batch's study ids to an error that its values raise."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error}; studies of the batch: {', '.join(batch.study_ids)}") from error


def refuse_non_finite(loss: Tensor, batch: Batch) -> None:
    """Stop where a loss is no number.

    Raises:
        ValueError: it is NaN or infinite.
    """
    if not torch.isfinite(loss):
        with naming_studies(batch):
            raise ValueError(
                f"got loss {float(loss)}; lower `model.lr`, set `trainer.gradient_clip_val`, or train in higher "
                "`trainer.precision`"
            )


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
