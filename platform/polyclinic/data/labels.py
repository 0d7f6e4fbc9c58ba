"""Label policies for uncertain and blank values, and fractions of the labelled patients."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from polyclinic.cohort import Study, Target

UNCERTAIN = -1.0
"""Value in a cohort of a finding that its source mentions as possible."""

_MEANINGS = ("ignore", "zero", "one", "soft")


@dataclass(frozen=True, kw_only=True)
class LabelPolicy:
    """Meaning of -1 and blank findings (Irvin et al. 2019, section 4: U-Ignore, U-Zeros, U-Ones).

    Blank classes, levels and quantities are always unknown.

    Attributes:
        uncertain: ``ignore`` (unknown), ``zero``, ``one``, ``soft`` or ``refuse``. ``soft`` is ``soft_value`` in
            training and unknown in evaluation, as no study has half a finding; ``refuse`` stops the run at an
            uncertain label.
        blank: any of these except ``refuse``.
        soft_value: probability of a soft label.

    Raises:
        ValueError: a meaning is unknown, or the probability is outside (0, 1).
    """

    uncertain: str = "refuse"
    blank: str = "ignore"
    soft_value: float = 0.5

    def __post_init__(self) -> None:
        if self.uncertain not in ("refuse", *_MEANINGS) or self.blank not in _MEANINGS or not 0 < self.soft_value < 1:
            raise ValueError(
                f"got {self}, expected uncertain of {('refuse', *_MEANINGS)}, blank of {_MEANINGS} and soft_value "
                "between 0 and 1; set `data.label_policy`"
            )

    def apply(self, studies: Sequence[Study], targets: Sequence[Target], *, training: bool) -> list[Study]:
        """Return the studies with the policy applied: a finding is then 0, 1, NaN or the soft value.

        Raises:
            ValueError: a label is uncertain under ``refuse``, a finding is not 0, 1 or -1, or a label is infinite.
        """
        labels = np.array([study.labels for study in studies], dtype=np.float64).reshape(len(studies), len(targets))
        infinite = [target.name for target, column in zip(targets, labels.T, strict=True) if np.isinf(column).any()]
        if infinite:
            raise ValueError(
                f"label {infinite[0]!r} is infinite in a study, expected finite numbers; correct its column"
            )
        for column, target in enumerate(targets):
            if target.kind == "finding":
                labels[:, column] = self._finding(labels[:, column], target.name, training=training)
        return [replace(study, labels=tuple(row)) for study, row in zip(studies, labels.tolist(), strict=True)]

    def _finding(self, values: Float[np.ndarray, " N"], name: str, *, training: bool) -> Float[np.ndarray, " N"]:
        blank, uncertain = np.isnan(values), values == UNCERTAIN
        other = values[~blank & ~uncertain & (values != 0) & (values != 1)]
        if len(other):
            raise ValueError(
                f"label {name!r} is {float(other[0]):g} in a study, expected 0, 1, -1 or blank for a finding; set "
                f"`unit`, `classes`, `levels` or `values` in `labels.{name}` of the cohort file"
            )
        if self.uncertain == "refuse" and uncertain.any():
            raise ValueError(
                f"label {name!r} is -1 (uncertain) in {int(uncertain.sum())} studies; set "
                "`data.label_policy.uncertain` to ignore, zero, one or soft"
            )
        meaning = {
            "refuse": np.nan, "ignore": np.nan, "zero": 0.0, "one": 1.0, "soft": self.soft_value if training else np.nan
        }  # fmt: skip
        return np.where(blank, meaning[self.blank], np.where(uncertain, meaning[self.uncertain], values))


def target_record(target: Target) -> dict[str, Any]:
    """Return what a checkpoint records of a label column: its meaning, without the statistics of a cohort."""
    return {"name": target.name, "kind": target.kind, "names": list(target.names), "unit": target.unit}


def patient_fraction(patient_ids: Sequence[str], fraction: float) -> Bool[np.ndarray, " N"]:
    """Select the studies of the first ``ceil(fraction * P)`` of P patients, ordered by the SHA-256 of their ids.

    The order depends only on the ids: every run selects the same patients, and a smaller fraction is a subset of a
    larger one.

    Args:
        patient_ids: one id per study.
        fraction: share of the patients.

    Raises:
        ValueError: the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"got fraction {fraction}, expected a share above 0 and at most 1; set it, such as 0.01")
    patients = sorted(set(patient_ids), key=lambda patient: (hashlib.sha256(patient.encode()).digest(), patient))
    # Exact arithmetic on the decimal as written: in floating point, 0.07 of 100 patients is 7.000000000000001.
    chosen = set(patients[: math.ceil(Fraction(str(fraction)) * len(patients))])
    return np.array([patient in chosen for patient in patient_ids], dtype=bool)
