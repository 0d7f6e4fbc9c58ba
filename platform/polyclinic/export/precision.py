"""What the stored precision of the weights costs on validation."""

from typing import NamedTuple

import numpy as np

from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.metrics.auroc import auroc_per_column, macro_mean
from polyclinic.evaluation.scorers import Scorer, TrainedScorer

MAX_AUROC_LOSS = 0.005
"""Largest loss of macro AUROC on validation by weights of lower precision."""

MAX_ERROR_GROWTH = 0.02
"""Largest growth of the mean absolute error of a level or quantity on validation, as a share of it."""


class Quality(NamedTuple):
    """Macro AUROC on a split (NaN without findings of both classes), and mean absolute errors by label."""

    auroc: float
    errors: dict[str, float]


def quality(scorer: Scorer, studies: EmbeddedSplit) -> Quality:
    """Measure a scorer with all input modalities."""
    auroc, errors = float("nan"), {}
    if scorer.findings:
        scores = scorer.scores(studies, scorer.modalities)
        auroc = macro_mean(auroc_per_column(scores, studies.outcomes)).mean
    if isinstance(scorer, TrainedScorer):
        values, labels, targets = scorer.estimates(studies, scorer.modalities)
        known = [at for at in range(len(targets)) if not np.isnan(labels[:, at]).all()]
        errors = {targets[at].name: float(np.nanmean(np.abs(values[:, at] - labels[:, at]))) for at in known}
    return Quality(auroc, errors)


def refuse_loss(kind: str, exact: Quality, packed: Quality) -> None:
    """Refuse weights of lower precision that lose too much.

    Raises:
        ValueError: macro AUROC falls, or a mean absolute error grows, by more than is allowed.
    """
    if exact.auroc - packed.auroc > MAX_AUROC_LOSS:
        raise ValueError(
            f"got weights {kind} with macro AUROC {packed.auroc:.4f} on validation, {exact.auroc:.4f} in float32, "
            f"expected a loss of at most {MAX_AUROC_LOSS}; set `--weights float32`"
        )
    for name, error in exact.errors.items():
        if packed.errors[name] > error * (1 + MAX_ERROR_GROWTH):
            raise ValueError(
                f"got weights {kind} with a mean absolute error of {name!r} of {packed.errors[name]:.4g} on "
                f"validation, {error:.4g} in float32, expected at most {MAX_ERROR_GROWTH:.0%} more; set `--weights "
                "float32`"
            )
