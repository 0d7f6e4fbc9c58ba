"""Contributions of modalities, and removal of modalities not at random."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import factorial

import numpy as np
from jaxtyping import Bool, Float

from polyclinic.evaluation.metrics.arrays import Array, as_float64, checked_labels


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """Contribution of each modality to a performance.

    Attributes:
        full: performance with every modality.
        chance: performance with none.
        drop_one: by modality, what is lost where it alone is left out.
        shapley: by modality, its mean gain over all orders in which modalities may arrive; they add up to ``full -
            chance``.
    """

    full: float
    chance: float
    drop_one: dict[str, float]
    shapley: dict[str, float]


def contributions(performance: Mapping[frozenset[str], float], chance: float) -> Contributions:
    """Contribution of each modality, from the performance with every subset of them (Shapley 1953).

    A value is NaN where one of the performances it needs is.

    Args:
        performance: of every subset but the empty one, such as a macro AUROC over the same studies.
        chance: of the empty one, such as 0.5.

    Raises:
        ValueError: no modality, a subset is missing, or the empty one is among them.
    """
    names = sorted(frozenset().union(*performance))
    subsets = [frozenset(some) for size in range(1, len(names) + 1) for some in combinations(names, size)]
    if not subsets or set(subsets) != set(performance):
        lacking = [sorted(one) for one in subsets if one not in performance]
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
    """Let a modality go missing with a chance that depends on a label (Rubin 1976), for a stress test.

    A study whose label is unknown, or that has nothing else, keeps it. One number is drawn per study, whatever the
    shares, so that of two shares the larger takes away what the smaller does, and more.

    Args:
        present: which studies have each modality.
        labels: of one finding: 0, 1, or NaN where unknown.
        modality: that goes missing.
        share_if_positive: chance that it does where the finding is present.
        share_if_negative: where it is absent.
        rng: of the draw.

    Returns:
        Presence of every modality, as copies.

    Raises:
        ValueError: an unknown modality, a share that is not from 0 to 1, or labels other than 0, 1 and NaN.
    """
    if modality not in present:
        raise ValueError(f"got modality {modality!r}, expected one of {sorted(present)}; set `modality`")
    if not (0 <= share_if_positive <= 1 and 0 <= share_if_negative <= 1):
        raise ValueError(f"got shares {share_if_positive} and {share_if_negative}, expected each from 0 to 1; set them")
    truth = checked_labels(labels)
    kept = {name: as_float64(mask).astype(bool) for name, mask in present.items()}
    others = np.any([mask for name, mask in kept.items() if name != modality], axis=0)
    chance = np.select([truth == 1, truth == 0], [share_if_positive, share_if_negative], default=0.0)
    kept[modality] &= ~((rng.random(len(truth)) < chance) & others)
    return kept


def _shapley(value: Mapping[frozenset[str], float], name: str, everything: frozenset[str]) -> float:
    others, size = sorted(everything - {name}), len(everything)
    total = 0.0
    for before in range(size):
        share = factorial(before) * factorial(size - before - 1) / factorial(size)
        for some in combinations(others, before):
            total += share * (value[frozenset(some) | {name}] - value[frozenset(some)])
    return total
