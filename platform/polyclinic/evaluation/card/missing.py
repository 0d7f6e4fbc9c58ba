"""Performance with missing modalities: all subsets, contributions of modalities, and a stress test."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float, Integer

from polyclinic.evaluation.card.findings import macro
from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.metrics.auroc import auroc_per_column, macro_mean
from polyclinic.evaluation.metrics.intervals import Estimate
from polyclinic.evaluation.metrics.missingness import Contributions, contributions, missing_not_at_random
from polyclinic.evaluation.scorers import Scorer

CHANCE = 0.5
SCENARIOS = (
    ("as it is", 0.0, 0.0),
    ("at random", 0.5, 0.5),
    ("mostly with the finding", 0.8, 0.2),
    ("mostly without", 0.2, 0.8),
)
"""Name of each scenario, and the shares of the studies with and without a finding that lose a modality."""


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Performance with a subset of the input modalities.

    Attributes:
        modalities: modalities of the subset, which are used if a study has them.
        studies: number of studies that have any of them.
        auroc: macro AUROC over all studies; a study without any of them gets the model's score for no input.
    """

    modalities: tuple[str, ...]
    studies: int
    auroc: Estimate


@dataclass(frozen=True, kw_only=True)
class Stress:
    """Macro AUROC when test studies lose one modality at rates that depend on the finding.

    Modalities are removed separately for each finding, by its labels.

    Attributes:
        modality: modality that is removed.
        auroc: macro AUROC by scenario.
        shares: shares of the studies with and without the finding that lose the modality, by scenario.
    """

    modality: str
    auroc: dict[str, float]
    shares: dict[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Missingness:
    """Results of the analyses of missing modalities."""

    subsets: tuple[Subset, ...]
    contributions: Contributions
    stress: tuple[Stress, ...]


def missingness(scorer: Scorer, studies: EmbeddedSplit, weights: Integer[np.ndarray, "R N"], seed: int) -> Missingness:
    """Measure every subset of the modalities, the contribution of each, and the stress test.

    Args:
        scorer: scorer of the findings.
        studies: test split.
        weights: ``patient_resamples`` of the test split.
        seed: seed of the draw of studies that lose a modality.
    """
    subsets = tuple(_subset(scorer, studies, names, weights) for names in every_subset(scorer.modalities))
    performance = {frozenset(subset.modalities): subset.auroc.value for subset in subsets}
    return Missingness(
        subsets=subsets,
        contributions=contributions(performance, CHANCE),
        stress=tuple(_stress(scorer, studies, name, seed) for name in scorer.modalities),
    )


def every_subset(names: Collection[str]) -> list[tuple[str, ...]]:
    """Return all non-empty subsets, the smallest first."""
    return [subset for size in range(1, len(names) + 1) for subset in combinations(names, size)]


def _subset(scorer: Scorer, studies: EmbeddedSplit, names: tuple[str, ...], weights: np.ndarray) -> Subset:
    available = torch.stack([studies.present[name] for name in names]).any(dim=0)
    means = macro(scorer.scores(studies, names), studies.outcomes, weights)
    return Subset(modalities=names, studies=int(available.sum()), auroc=means.auroc)


def _stress(scorer: Scorer, studies: EmbeddedSplit, modality: str, seed: int) -> Stress:
    return Stress(
        modality=modality,
        auroc={
            name: macro_mean(_under_loss(scorer, studies, modality, shares, seed)).mean for name, *shares in SCENARIOS
        },
        shares={name: (ill, healthy) for name, ill, healthy in SCENARIOS},
    )


def _under_loss(
    scorer: Scorer, studies: EmbeddedSplit, modality: str, shares: Collection[float], seed: int
) -> Float[np.ndarray, " F"]:
    """Return the AUROC of each finding when the modality is removed by that finding's label."""
    ill, healthy = shares
    columns = []
    for place, labels in enumerate(studies.outcomes.T):
        present = missing_not_at_random(
            present={name: rows.numpy() for name, rows in studies.present.items()}, labels=labels, modality=modality,
            share_if_positive=ill, share_if_negative=healthy, rng=np.random.default_rng([seed, place]),
        )  # fmt: skip
        remaining = replace(studies, present={name: torch.from_numpy(rows) for name, rows in present.items()})
        columns.append(scorer.scores(remaining, scorer.modalities)[:, place])
    return auroc_per_column(np.stack(columns, axis=1), studies.outcomes)
