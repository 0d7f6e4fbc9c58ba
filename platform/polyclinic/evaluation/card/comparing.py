"""What the card says of another run on the same studies."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from polyclinic.evaluation.metrics.comparison import Comparison, delong_test, paired_bootstrap
from polyclinic.evaluation.metrics.intervals import weighted_auroc


@dataclass(frozen=True, kw_only=True)
class FindingComparison:
    """AUROC of one finding by this run and by the other."""

    name: str
    delong: Comparison
    bootstrap: Comparison


def compare(
    names: Sequence[str],
    ours: Float[np.ndarray, "N F"],
    theirs: Float[np.ndarray, "N F"],
    labels: Float[np.ndarray, "N F"],
    weights: Integer[np.ndarray, "R N"],
) -> tuple[FindingComparison, ...]:
    """DeLong's test and the paired bootstrap of every finding.

    Args:
        names: of the findings.
        ours: scores of this run.
        theirs: scores of the other.
        labels: 0, 1, NaN where unknown.
        weights: from ``patient_resamples``.
    """
    return tuple(
        FindingComparison(
            name=name,
            delong=delong_test(ours[:, place], theirs[:, place], labels[:, place]),
            bootstrap=paired_bootstrap(weighted_auroc, ours[:, place], theirs[:, place], labels[:, place], weights),
        )
        for place, name in enumerate(names)
    )
