"""A fixed part of the patients, for learning curves over the number of labels."""

import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Bool


def patient_fraction(patient_ids: Sequence[str], fraction: float) -> Bool[np.ndarray, " N"]:
    """Which studies are of the first ``ceil(fraction * P)`` of P patients, in the order of SHA-256 of their ids.

    The order depends on nothing but the ids: every run gets the same patients, and those of a smaller fraction are
    among those of a larger one.

    Args:
        patient_ids: one per study.
        fraction: share of the patients.

    Raises:
        ValueError: the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"got fraction {fraction}, expected a share above 0 and at most 1; set it, such as 0.01")
    patients = sorted(set(patient_ids), key=lambda patient: (hashlib.sha256(patient.encode()).digest(), patient))
    # As the decimal that was written: 0.07 of 100 patients are 7, where its binary neighbour gives 7.000000000000001.
    chosen = set(patients[: math.ceil(Fraction(str(fraction)) * len(patients))])
    return np.array([patient in chosen for patient in patient_ids], dtype=bool)
