import hashlib
import math
from itertools import pairwise

import numpy as np
import pytest

from polyclinic.data.labels import patient_fraction

IDS = [f"P{row // 3}" for row in range(600)]


@pytest.mark.parametrize("fraction", [0.001, 0.01, 0.07, 0.1, 0.29, 1.0])
def test_a_fraction_takes_the_first_patients_by_hash_with_all_their_studies(fraction: float) -> None:
    ranked = sorted({*IDS}, key=lambda patient: hashlib.sha256(patient.encode()).hexdigest())
    count = math.ceil(round(fraction * 200, 9))
    np.testing.assert_array_equal(patient_fraction(IDS, fraction), [patient in ranked[:count] for patient in IDS])


def test_fractions_are_nested_and_do_not_depend_on_order() -> None:
    masks = [patient_fraction(IDS, fraction) for fraction in (0.01, 0.1, 0.5, 1.0)]
    assert [mask.sum() for mask in masks] == [6, 60, 300, 600]
    for inner, outer in pairwise(masks):
        assert (outer | ~inner).all()
    np.testing.assert_array_equal(patient_fraction(IDS[::-1], 0.1), masks[1][::-1])


def test_at_least_one_patient_is_taken_unless_there_is_none() -> None:
    np.testing.assert_array_equal(patient_fraction(["a", "a"], 0.01), [True, True])
    assert patient_fraction([], 0.5).shape == (0,)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_values_that_are_not_a_share_are_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"expected a share above 0 and at most 1; set it, such as 0.01"):
        patient_fraction(IDS, fraction)
