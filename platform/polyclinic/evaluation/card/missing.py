"""What the card says of modalities that are missing."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float, Integer

from polyclinic.evaluation.card.findings import macro
from polyclinic.evaluation.metrics.auroc import auroc_per_column, macro_mean
from polyclinic.evaluation.metrics.intervals import Estimate
from polyclinic.evaluation.metrics.missingness import Contributions, contributions, missing_not_at_random
from polyclinic.evaluation.scorers import Scorable, Scorer

CHANCE = 0.5
SCENARIOS = (
    ("as it is", 0.0, 0.0),
    ("at random", 0.5, 0.5),
    ("mostly with the finding", 0.8, 0.2),
    ("mostly without", 0.2, 0.8),
)
"""Name, and the shares of the studies with and without a finding that lose a modality."""


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Performance when only some modalities are shown.

    Attributes:
        modalities: that are shown, as far as a study has them.
        studies: that have any of them.
        auroc: macro, over all studies; one without any of these modalities is scored as the model scores nothing.
    """

    modalities: tuple[str, ...]
    studies: int
    auroc: Estimate


@dataclass(frozen=True, kw_only=True)
class Stress:
    """Macro AUROC when test studies lose one modality, more often with the finding, or more often without.

    Each finding is measured under its own loss: of those that have it, so many lose the modality, and of the others.

    Attributes:
        auroc: by scenario.
        shares: by scenario, of those with and of those without the finding.
    """

    modality: str
    auroc: dict[str, float]
    shares: dict[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Missingness:
    """All of it."""

    subsets: tuple[Subset, ...]
    contributions: Contributions
    stress: tuple[Stress, ...]


def missingness(scorer: Scorer, studies: Scorable, weights: Integer[np.ndarray, "R N"], seed: int) -> Missingness:
    """Performance for every subset of the modalities, what each contributes, and the stress test.

    Args:
        scorer: of the findings.
        studies: of the test split.
        weights: from ``patient_resamples`` of these.
        seed: of what goes missing.
    """
    subsets = tuple(_subset(scorer, studies, names, weights) for names in every_subset(scorer.modalities))
    performance = {frozenset(one.modalities): one.auroc.value for one in subsets}
    return Missingness(
        subsets=subsets,
        contributions=contributions(performance, CHANCE),
        stress=tuple(_stress(scorer, studies, name, seed) for name in scorer.modalities),
    )


def every_subset(names: Collection[str]) -> list[tuple[str, ...]]:
    """All but the empty one, the smallest first."""
    return [some for size in range(1, len(names) + 1) for some in combinations(names, size)]


def _subset(scorer: Scorer, studies: Scorable, names: tuple[str, ...], weights: np.ndarray) -> Subset:
    some = torch.stack([studies.present[name] for name in names]).any(dim=0)
    told = macro(scorer.scores(studies, names), studies.outcomes, weights)
    return Subset(modalities=names, studies=int(some.sum()), auroc=told.auroc)


def _stress(scorer: Scorer, studies: Scorable, modality: str, seed: int) -> Stress:
    return Stress(
        modality=modality,
        auroc={
            name: macro_mean(_under_loss(scorer, studies, modality, shares, seed)).mean for name, *shares in SCENARIOS
        },
        shares={name: (ill, healthy) for name, ill, healthy in SCENARIOS},
    )


def _under_loss(
    scorer: Scorer, studies: Scorable, modality: str, shares: Collection[float], seed: int
) -> Float[np.ndarray, " F"]:
    """AUROC of each finding when the modality goes missing by that finding's label."""
    ill, healthy = shares
    columns = []
    for place, labels in enumerate(studies.outcomes.T):
        present = missing_not_at_random(
            present={name: rows.numpy() for name, rows in studies.present.items()}, labels=labels, modality=modality,
            share_if_positive=ill, share_if_negative=healthy, rng=np.random.default_rng([seed, place]),
        )  # fmt: skip
        left = replace(studies, present={name: torch.from_numpy(rows) for name, rows in present.items()})
        columns.append(scorer.scores(left, scorer.modalities)[:, place])
    return auroc_per_column(np.stack(columns, axis=1), studies.outcomes)
