"""Averages of losses over modalities and ranks."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

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
