"""How the embeddings of a validation set lie."""

from itertools import combinations

import torch

from polyclinic.objectives import Studies, gather_studies
from polyclinic.objectives.geometry import alignment, effective_rank, modality_gap, uniformity

_MOST = 2048
"""Studies per rank that are measured: distances are between all pairs of them."""


class Diagnostics:
    """Collects the first studies of a validation epoch and measures them at its end.

    Attributes:
        latest: this rank's first batch of the latest validation, for a picture; None before any.
    """

    def __init__(self) -> None:
        self.latest: Studies | None = None
        self._parts: list[Studies] = []

    def add(self, studies: Studies) -> None:
        """Keep a batch, without its graph."""
        if sum(map(len, self._parts)) < _MOST:
            self._parts.append(studies)

    def take(self) -> Studies:
        """The studies collected on all ranks; the next epoch starts anew."""
        parts, self._parts = self._parts, []
        first = parts[0]
        self.latest = first
        joined = Studies(
            embeddings={name: torch.cat([part.embeddings[name] for part in parts]) for name in first.embeddings},
            present={name: torch.cat([part.present[name] for part in parts]) for name in first.present},
            groups=None
            if first.groups is None
            else torch.cat([part.groups for part in parts if part.groups is not None]),
        )
        return gather_studies(joined)

    @staticmethod
    def measure(studies: Studies) -> dict[str, float]:
        """Uniformity and effective rank by modality, gap and alignment by pair; none where too few studies are."""
        told: dict[str, float] = {}
        for name in studies.embeddings:
            (value,) = studies.only([name]).complete().embeddings.values()
            if len(value) >= 2:
                told |= {
                    f"uniformity/{name}": float(uniformity(value)),
                    f"effective_rank/{name}": float(effective_rank(value)),
                }
        for one, other in combinations(studies.embeddings, 2):
            both = studies.only([one, other]).complete()
            if len(both) >= 2:
                x, y = both.embeddings.values()
                told |= {
                    f"modality_gap/{one}-{other}": float(modality_gap(x, y)),
                    f"alignment/{one}-{other}": float(alignment(x, y)),
                }
        return told
