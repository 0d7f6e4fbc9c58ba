"""Summaries of each code of a course, for simple models."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyclinic.nn import FixedFeatures
from polyclinic_timeline.course import Course
from polyclinic_timeline.vocabulary import FIRST_CODE, Vocabulary

_PER_CODE = 6
_MIN_SPAN_HOURS = 1e-6


def summaries(vocabulary: Vocabulary) -> Callable[[Sequence[Course]], Float[np.ndarray, "N F"]]:
    """Return a function from courses to count, last, mean, lowest and highest value and slope of each code.

    Values in another unit than that of the vocabulary are left out, as in training. NaN is a missing value.
    """

    def transform(courses: Sequence[Course]) -> Float[np.ndarray, "N F"]:
        rows = np.stack([_summary(course, vocabulary) for course in courses])
        return rows.reshape(len(courses), -1)

    return transform


def _summary(course: Course, vocabulary: Vocabulary) -> Float[np.ndarray, "C 6"]:
    row = np.full((max(1, len(vocabulary.codes)), _PER_CODE), np.nan)
    row[:, 0] = 0
    numbers = np.array([vocabulary.number(code) - FIRST_CODE for code in course.codes])
    scores = _scores(course, vocabulary)
    for number in np.unique(numbers[numbers >= 0]):
        of_code = numbers == number
        row[number, 0] = of_code.sum()
        known = of_code & ~np.isnan(scores)
        if known.any():
            values, hours = scores[known], course.hours[known]
            row[number, 1:] = values[-1], values.mean(), values.min(), values.max(), _slope(hours, values)
    return row


def _scores(course: Course, vocabulary: Vocabulary) -> Float[np.ndarray, " N"]:
    events = zip(course.codes, course.values.tolist(), course.units, strict=True)
    return np.array([vocabulary.score(*event) for event in events])


def _slope(hours: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> float:
    """Return the least-squares slope per hour; NaN for values of one time."""
    centred = hours - hours.mean()
    power = float((centred**2).sum())
    return float((centred * values).sum() / power) if power > _MIN_SPAN_HOURS else float("nan")


class LastValues(FixedFeatures):
    """Last and mean value, whether there is one, and the logarithm of the number of events, of the most common codes.

    Args:
        codes: number of codes C, of which the first are the most common.
    """

    def __init__(self, *, codes: int) -> None:
        super().__init__()
        self._codes = codes
        self.outputs = 4 * codes

    def forward(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        """Return the features of ``code``, ``values`` and ``observed``, each [B, T], in the order of times."""
        values, numbers = inputs["values"], torch.arange(self._codes, device=inputs["code"].device) + FIRST_CODE
        of_code = (inputs["code"][:, :, None] == numbers) & ~inputs["padding"][:, :, None]
        known = of_code & inputs["observed"][:, :, None]
        count = known.sum(dim=1)
        mean = torch.where(known, values[:, :, None], 0.0).sum(dim=1) / count.clamp_min(1)
        places = torch.arange(values.shape[1], device=values.device)[None, :, None]
        latest = torch.where(known, places, -1).amax(dim=1)
        last = values.gather(1, latest.clamp_min(0)).masked_fill(latest < 0, 0.0)
        observed, events = (count > 0).to(values.dtype), torch.log1p(of_code.sum(dim=1).to(values.dtype))
        return torch.cat([last, mean, observed, events], dim=1)
