"""Count the values of each label, and the cells that ``values`` does not list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from polyclinic.cohort.check.inspect import SEVERITIES, Found
from polyclinic.cohort.cohort import SPLITS, Cohort
from polyclinic.cohort.schema import Target
from polyclinic.modality import Severity

_MAX_NAMED_STUDIES = 20
_UNCERTAIN = -1.0


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """Counts of one label in one split.

    Attributes:
        known: number of studies with a value that is not uncertain.
        positive: number of studies with the finding; None for other kinds.
        uncertain: number of studies in which the finding is -1.
        unknown: number of studies without a value.
        names: number of studies of each class or level.
        range: minimum and maximum of a quantity; None where no value is known.
    """

    known: int
    positive: int | None
    uncertain: int
    unknown: int
    names: Mapping[str, int]
    range: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class LabelCheck:
    """Check of one label of a cohort.

    Attributes:
        kind: kind of the label; see ``Target``.
        splits: counts by split.
        unnamed: number of studies per cell text that ``values`` does not list; see ``LabelColumn``.
        issues: issues of the label.
    """

    kind: str
    splits: Mapping[str, LabelCounts]
    unnamed: Mapping[str, int]
    issues: Sequence[Found]

    @property
    def severity(self) -> Severity | None:
        """Worst severity of the issues; None where there are none."""
        found = {issue.severity for issue in self.issues}
        return next((severity for severity in SEVERITIES if severity in found), None)


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
        message = "no training study has a known value: the label cannot be learned"
        studies = [study.study_id for study in cohort.split("train")]
        issues.append(_found("label-without-training-values", message, studies))
    if unnamed:
        message = f"`labels.{target.name}.values` does not list every cell: the others count as unknown"
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
        studies=list(studies[:_MAX_NAMED_STUDIES]),
    )
