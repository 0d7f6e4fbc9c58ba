"""Which tokens are hidden, and how those that are not are picked out."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def gather_tokens(values: Float[Tensor, "B T D"], places: Int[Tensor, "B V"]) -> Float[Tensor, "B V D"]:
    """The tokens at the given places of each study."""
    return values.gather(1, places[:, :, None].expand(-1, -1, values.shape[2]))


def places_of(kept: Bool[Tensor, "B T"]) -> tuple[Int[Tensor, "B V"], Bool[Tensor, "B V"]]:
    """Where each study's kept tokens stand, in order, and which entries are padding; V is the most any study keeps."""
    longest = max(1, int(kept.sum(dim=1).max()))
    places = kept.int().argsort(dim=1, descending=True, stable=True)[:, :longest]
    return places, ~kept.gather(1, places)


def hide_units(units: Int[Tensor, "B T"], keep: Int[Tensor, " B"], noise: Float[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Hide whole units in order of falling noise until no more than ``keep`` tokens that may be hidden are left.

    Args:
        units: tokens of equal number, from 0 to T-1, are hidden together; -1 is never hidden.
        keep: tokens to leave visible, those that are never hidden not counted.
        noise: uniform; that of a unit is at the place of its number.
    """
    maskable, unit = units >= 0, units.clamp_min(0)
    score = noise.gather(1, unit).masked_fill(~maskable, torch.inf)
    rank = score.argsort(dim=1, stable=True).argsort(dim=1)
    ends = torch.zeros_like(unit).scatter_reduce(1, unit, torch.where(maskable, rank + 1, 0), "amax")
    return maskable & (ends.gather(1, unit) > keep[:, None])


def keep_by_ratio(counts: Int[np.ndarray, "B M"], ratios: Sequence[float]) -> Int[np.ndarray, "B M"]:
    """How many of each modality's tokens stay visible; one at least is hidden (He et al. 2022, section 3).

    Args:
        counts: tokens that may be hidden, of B studies and M modalities; 0 where a study lacks one.
        ratios: share to hide, of each modality.
    """
    kept = np.rint(counts * (1 - np.asarray(ratios))).astype(np.int64)
    return np.clip(kept, 0, np.maximum(counts - 1, 0))


def keep_by_budget(
    counts: Int[np.ndarray, "B M"],
    ratios: Sequence[float],
    *,
    budget: int,
    concentration: float,
    rngs: Sequence[np.random.Generator],
) -> Int[np.ndarray, "B M"]:
    """Share a number of visible tokens among the modalities of each study by Dirichlet draws.

    As in MultiMAE (Bachmann et al. 2022, section 3.2), but around the shares that ``ratios`` would leave visible
    instead of equal ones. A modality may get nothing and is then predicted from the others. What one cannot take
    goes to the one with the next-largest share; one token of a study at least is hidden.

    Args:
        counts: tokens that may be hidden, of B studies and M modalities; 0 where a study lacks one.
        ratios: share of each modality that would be hidden without a budget.
        budget: visible tokens of a study.
        concentration: mean of the Dirichlet parameters of the modalities a study has; the larger, the closer its
            shares to the expected ones.
        rngs: of the draw of each study.
    """
    expected = counts * (1 - np.asarray(ratios))
    present = np.maximum((counts > 0).sum(axis=1, keepdims=True), 1)
    parameters = concentration * present * expected / np.maximum(expected.sum(axis=1, keepdims=True), 1e-12)
    # Gamma draws divided by their sum are a Dirichlet draw.
    drawn = np.stack([rng.standard_gamma(of_study) for rng, of_study in zip(rngs, parameters, strict=True)])
    shares = drawn / np.maximum(drawn.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    total = np.minimum(budget, np.maximum(counts.sum(axis=1) - 1, 0))
    kept = np.minimum(counts, np.floor(shares * total[:, None]).astype(np.int64))
    rows = np.arange(len(counts))
    for column in np.argsort(-shares, axis=1, kind="stable").T:
        free = counts[rows, column] - kept[rows, column]
        kept[rows, column] += np.minimum(free, total - kept.sum(axis=1))
    return kept


def hide_one(counts: Int[np.ndarray, "B M"], rngs: Sequence[np.random.Generator]) -> Int[np.ndarray, "B M"]:
    """Keep every token but those of one modality of each study, drawn from those it has.

    Args:
        counts: tokens that may be hidden, of B studies and M modalities; 0 where a study lacks one.
        rngs: of the draw of each study.
    """
    kept = counts.copy()
    for row, rng in zip(kept, rngs, strict=True):
        if row.any():
            row[rng.choice(np.flatnonzero(row))] = 0
    return kept
