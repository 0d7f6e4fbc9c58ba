"""Selection of hidden tokens, and gathering of the visible ones."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def gather_tokens(values: Float[Tensor, "B T D"], places: Int[Tensor, "B V"]) -> Float[Tensor, "B V D"]:
    """Gather the tokens at the given places of each study."""
    return values.gather(1, places[:, :, None].expand(-1, -1, values.shape[2]))


def places_of(kept: Bool[Tensor, "B T"]) -> tuple[Int[Tensor, "B V"], Bool[Tensor, "B V"]]:
    """Return the places of each study's kept tokens, in order, and the mask of padding; V is the largest number."""
    longest = max(1, int(kept.sum(dim=1).max()))
    places = kept.int().argsort(dim=1, descending=True, stable=True)[:, :longest]
    return places, ~kept.gather(1, places)


def hide_units(units: Int[Tensor, "B T"], keep: Int[Tensor, " B"], noise: Float[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Hide complete units in order of decreasing noise, until at most ``keep`` maskable tokens are visible.

    Args:
        units: unit of each token, from 0 to T-1, whose tokens are hidden together; -1 is never hidden.
        keep: number of maskable tokens to leave visible.
        noise: uniform numbers, indexed by unit.
    """
    maskable, unit = units >= 0, units.clamp_min(0)
    score = noise.gather(1, unit).masked_fill(~maskable, torch.inf)
    rank = score.argsort(dim=1, stable=True).argsort(dim=1)
    # Tokens of a unit have equal noise, hence consecutive ranks; the unit is visible if its last rank fits in `keep`.
    ends = torch.zeros_like(unit).scatter_reduce(1, unit, torch.where(maskable, rank + 1, 0), "amax")
    return maskable & (ends.gather(1, unit) > keep[:, None])


def keep_by_ratio(counts: Int[np.ndarray, "B M"], ratios: Sequence[float]) -> Int[np.ndarray, "B M"]:
    """Return the numbers of visible tokens by fixed ratios, with one hidden or more (He et al. 2022, section 3).

    Args:
        counts: maskable tokens of B studies and M modalities; 0 for a missing modality.
        ratios: shares of tokens to hide, by modality.
    """
    visible = np.rint(counts * (1 - np.asarray(ratios))).astype(np.int64)
    return np.clip(visible, 0, np.maximum(counts - 1, 0))


def keep_by_budget(
    counts: Int[np.ndarray, "B M"],
    ratios: Sequence[float],
    *,
    budget: int,
    concentration: float,
    rngs: Sequence[np.random.Generator],
) -> Int[np.ndarray, "B M"]:
    """Divide a number of visible tokens among the modalities of each study by Dirichlet draws.

    As in MultiMAE (Bachmann et al. 2022, section 3.2), but around the shares that ``ratios`` leave visible instead of
    equal shares. A modality may get no visible token and is then predicted from the others. Tokens above the size of a
    modality go to those with the largest shares; at least one token of a study is hidden.

    Args:
        counts: maskable tokens of B studies and M modalities; 0 for a missing modality.
        ratios: shares of tokens that would be hidden without a budget, by modality.
        budget: visible tokens per study.
        concentration: mean of the Dirichlet parameters of the modalities that a study has; larger values stay closer
            to the expected shares.
        rngs: random generators, one per study.
    """
    expected = counts * (1 - np.asarray(ratios))
    present = np.maximum((counts > 0).sum(axis=1, keepdims=True), 1)
    parameters = concentration * present * expected / np.maximum(expected.sum(axis=1, keepdims=True), 1e-12)
    # Gamma draws divided by their sum are a Dirichlet draw.
    drawn = np.stack([rng.standard_gamma(shape) for rng, shape in zip(rngs, parameters, strict=True)])
    shares = drawn / np.maximum(drawn.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    total = np.minimum(budget, np.maximum(counts.sum(axis=1) - 1, 0))
    visible = np.minimum(counts, np.floor(shares * total[:, None]).astype(np.int64))
    rows = np.arange(len(counts))
    for column in np.argsort(-shares, axis=1, kind="stable").T:
        free = counts[rows, column] - visible[rows, column]
        visible[rows, column] += np.minimum(free, total - visible.sum(axis=1))
    return visible


def hide_one(counts: Int[np.ndarray, "B M"], rngs: Sequence[np.random.Generator]) -> Int[np.ndarray, "B M"]:
    """Return the numbers of visible tokens if each study hides one random modality that it has.

    Args:
        counts: maskable tokens of B studies and M modalities; 0 for a missing modality.
        rngs: random generators, one per study.
    """
    visible = counts.copy()
    for row, rng in zip(visible, rngs, strict=True):
        if row.any():
            row[rng.choice(np.flatnonzero(row))] = 0
    return visible
