"""Contributions of modalities to performance, and removal of modalities not at random for stress tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import factorial

import numpy as np
from jaxtyping import Bool, Float

from polyclinic.evaluation.metrics.arrays import Array, as_float64, checked_labels
from polyclinic.system.names import refuse_unknown


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """Contribution of each modality to the performance of a model.

    Attributes:
        full: performance with all modalities.
        chance: performance without any modality.
        drop_one: loss of performance when a single modality is left out, by modality.
        shapley: mean gain from adding a modality, over all orders of adding them, by modality; the values add up to
            ``full - chance``.
    """

    full: float
    chance: float
    drop_one: dict[str, float]
    shapley: dict[str, float]


def contributions(performance: Mapping[frozenset[str], float], chance: float) -> Contributions:
    """Compute the contribution of each modality from the performance with every subset (Shapley 1953).

    A contribution is NaN if a performance that it depends on is NaN.

    Args:
        performance: performance with every subset but the empty one, such as a macro AUROC over the same studies.
        chance: performance with the empty subset, such as 0.5.

    Raises:
        ValueError: there is no modality, a subset is missing, or the empty subset is included.
    """
    names = sorted(frozenset().union(*performance))
    subsets = [frozenset(subset) for size in range(1, len(names) + 1) for subset in combinations(names, size)]
    if not subsets or set(subsets) != set(performance):
        lacking = [sorted(subset) for subset in subsets if subset not in performance]
        raise ValueError(
            f"got the performance of {len(performance)} subsets of {names}, expected each subset but the empty one, "
            f"whose performance is `chance`; measure also {lacking}"
        )
    value, everything = {**performance, frozenset(): chance}, frozenset(names)
    return Contributions(
        full=float(value[everything]),
        chance=float(chance),
        drop_one={name: float(value[everything] - value[everything - {name}]) for name in names},
        shapley={name: _shapley(value, name, everything) for name in names},
    )


def missing_not_at_random(
    *,
    present: Mapping[str, Bool[Array, " N"]],
    labels: Float[Array, " N"],
    modality: str,
    share_if_positive: float,
    share_if_negative: float,
    rng: np.random.Generator,
) -> dict[str, Bool[np.ndarray, " N"]]:
    """Remove a modality with a probability that depends on a label (Rubin 1976), for a stress test.

    Studies with an unknown label or without another modality do not lose it. One number is drawn per study whatever
    the shares are. With the same random state, a larger share therefore removes the modality from every study from
    which a smaller share removes it.

    Args:
        present: mask per modality of the studies that have it.
        labels: labels of one finding: 0, 1, or NaN where unknown.
        modality: modality to remove.
        share_if_positive: probability of removal where the finding is present.
        share_if_negative: probability of removal where the finding is absent.
        rng: random generator of the draw.

    Returns:
        Copies of all masks, after the removal.

    Raises:
        ValueError: the modality is unknown, a share is not from 0 to 1, or labels are other than 0, 1 and NaN.
    """
    refuse_unknown("modality", [modality], sorted(present), "set `modality`")
    if not (0 <= share_if_positive <= 1 and 0 <= share_if_negative <= 1):
        raise ValueError(f"got shares {share_if_positive} and {share_if_negative}, expected each from 0 to 1; set them")
    truth = checked_labels(labels)
    remaining = {name: as_float64(mask).astype(bool) for name, mask in present.items()}
    others = np.any([mask for name, mask in remaining.items() if name != modality], axis=0)
    chance = np.select([truth == 1, truth == 0], [share_if_positive, share_if_negative], default=0.0)
    remaining[modality] &= ~((rng.random(len(truth)) < chance) & others)
    return remaining


def _shapley(value: Mapping[frozenset[str], float], name: str, everything: frozenset[str]) -> float:
    others, size = sorted(everything - {name}), len(everything)
    total = 0.0
    for before in range(size):
        share = factorial(before) * factorial(size - before - 1) / factorial(size)
        for subset in combinations(others, before):
            total += share * (value[frozenset(subset) | {name}] - value[frozenset(subset)])
    return total
