"""How many studies know each label, and which of its cells were not understood."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from polyclinic.cohort.check.inspect import SEVERITIES, Found
from polyclinic.cohort.cohort import SPLITS, Cohort
from polyclinic.cohort.schema import Target
from polyclinic.modality import Severity

_NAMED = 20
_UNCERTAIN = -1.0


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """One label in one split.

    Attributes:
        known: studies with a value, uncertain ones left out.
        positive: of a finding, studies that have it; None for other kinds.
        uncertain: of a finding, studies in which it is -1.
        unknown: studies without a value.
        names: of classes and levels, studies of each.
        range: of a quantity, its smallest and its largest value; None where none is known.
    """

    known: int
    positive: int | None
    uncertain: int
    unknown: int
    names: Mapping[str, int]
    range: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class LabelCheck:
    """One label of a cohort.

    Attributes:
        kind: see ``Target``.
        splits: counts of each.
        unnamed: cells that count as unknown because ``values`` does not name them, with the studies that have each;
            those of a single patient under the empty text.
        issues: the worst first.
    """

    kind: str
    splits: Mapping[str, LabelCounts]
    unnamed: Mapping[str, int]
    issues: Sequence[Found]

    @property
    def severity(self) -> Severity | None:
        """The worst that was found."""
        return next((one for one in SEVERITIES if one in {found.severity for found in self.issues}), None)


def check_labels(cohort: Cohort) -> dict[str, LabelCheck]:
    """Count the values of every label in every split."""
    return {target.name: _check(cohort, target, place) for place, target in enumerate(cohort.targets)}


def _check(cohort: Cohort, target: Target, place: int) -> LabelCheck:
    splits = {
        split: _counts(target, np.array([study.labels[place] for study in cohort.split(split)], dtype=np.float64))
        for split in SPLITS
    }
    unnamed = cohort.unnamed.get(target.name, {})
    issues = []
    if not splits["train"].known:
        message = "no training study has a known value: nothing can be learned of it"
        issues.append(_found("label-without-training-values", message, [one.study_id for one in cohort.split("train")]))
    if unnamed:
        message = f"`labels.{target.name}.values` does not name every cell: the others count as unknown"
        issues.append(_found("label-cells-not-named", message, [], count=sum(unnamed.values())))
    return LabelCheck(kind=target.kind, splits=splits, unnamed=unnamed, issues=issues)


def _counts(target: Target, values: Float[np.ndarray, " N"]) -> LabelCounts:
    known = values[~np.isnan(values)]
    uncertain = int((known == _UNCERTAIN).sum()) if target.kind == "finding" else 0
    return LabelCounts(
        known=len(known) - uncertain,
        positive=int((known == 1).sum()) if target.kind == "finding" else None,
        uncertain=uncertain,
        unknown=len(values) - len(known),
        names={name: int((known == place).sum()) for place, name in enumerate(target.names)},
        range=(float(known.min()), float(known.max())) if target.kind == "quantity" and len(known) else None,
    )


def _found(code: str, message: str, studies: Sequence[str], *, count: int | None = None) -> Found:
    return Found(
        code=code,
        severity="warning",
        message=message,
        count=len(studies) if count is None else count,
        studies=list(studies[:_NAMED]),
    )
