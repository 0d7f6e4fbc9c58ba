"""What a timeline learns from the training studies: codes, the unit of each, and the scale of its values."""

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyclinic_timeline.course import Course, folded_unit

PADDING, UNKNOWN, FIRST_CODE = 0, 1, 2
TEXT_BUCKETS = 64
_LONGEST_LEVEL = 40
_PERCENTS = (2.5, 25.0, 50.0, 75.0, 97.5)
_NORMAL_QUARTILES = 1.349
"""Distance of the quartiles of a normal distribution in standard deviations."""

_LARGEST_SCORE = 8.0


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Scale of the values of a code, in its unit.

    Attributes:
        unit: unit of most training values; empty where they state none.
        centre: median.
        spread: distance of the quartiles over 1.349, which is the standard deviation of a normal distribution.
        low: percentile 2.5.
        high: percentile 97.5.
    """

    unit: str
    centre: float
    spread: float
    low: float
    high: float

    def scaled(self, value: float) -> float:
        """Return a value in robust standard deviations from the median, cut off at 8."""
        return float(np.clip((value - self.centre) / self.spread, -_LARGEST_SCORE, _LARGEST_SCORE))

    def unscaled(self, score: float) -> float:
        """Return the value of a score."""
        return self.centre + score * self.spread


class Vocabulary:
    """Codes with their numbers, and the scales of those with values.

    Args:
        codes: known codes, most frequent first; the first has number 2.
        scales: scale by code.
    """

    def __init__(self, codes: Iterable[str], scales: Mapping[str, Scale]) -> None:
        self.codes, self.scales = tuple(codes), dict(scales)
        self._numbers = {code: number for number, code in enumerate(self.codes, FIRST_CODE)}

    def number(self, code: str) -> int:
        """Return the number of a code, 1 for an unknown one."""
        return self._numbers.get(code, UNKNOWN)

    def score(self, code: str, value: float, unit: str) -> float:
        """Return a value on the scale of its code; NaN where it is missing, in another unit, or has no scale."""
        scale = self.scales.get(code)
        if scale is None or np.isnan(value) or folded_unit(unit) != folded_unit(scale.unit):
            return float("nan")
        return scale.scaled(value)

    def is_in_other_unit(self, code: str, value: float, unit: str) -> bool:
        """Return whether a value of a known code is not used because of its unit."""
        scale = self.scales.get(code)
        return scale is not None and not np.isnan(value) and folded_unit(unit) != folded_unit(scale.unit)

    def state(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"codes": list(self.codes), "scales": {code: vars(scale) for code, scale in self.scales.items()}}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "Vocabulary":
        """Return the vocabulary of a state."""
        return cls(state["codes"], {code: Scale(**scale) for code, scale in state["scales"].items()})


def learn_vocabulary(courses: Iterable[Course], *, min_count: int, max_codes: int) -> Vocabulary:
    """Learn codes, units and scales.

    A code is known if it occurs in ``min_count`` studies; of more than ``max_codes``, those in most studies are. Its
    unit is that of most of its values; values in other units are not used, as a conversion would be a guess.

    Args:
        courses: events of the training studies.
        min_count: studies that a code must occur in.
        max_codes: largest number of codes.
    """
    studies = Counter[str]()
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    spelling: dict[tuple[str, str], str] = {}
    for course in courses:
        studies.update(set(course.codes))
        for code, value, unit in zip(course.codes, course.values.tolist(), course.units, strict=True):
            if not np.isnan(value):
                values[code][folded_unit(unit)].append(value)
                spelling.setdefault((code, folded_unit(unit)), unit)
    frequent = [(-count, code) for code, count in studies.items() if count >= min_count]
    codes = [code for _, code in sorted(frequent)[:max_codes]]
    scales = {}
    for code in codes:
        if code in values:
            unit = max(sorted(values[code]), key=lambda unit: len(values[code][unit]))
            scales[code] = _scale(np.array(values[code][unit]), spelling[code, unit])
    return Vocabulary(codes, scales)


def _scale(values: np.ndarray, unit: str) -> Scale:
    low, lower, centre, upper, high = (float(np.percentile(values, percent)) for percent in _PERCENTS)
    # Half of the values may be equal, such as a dose; a constant has no spread at all.
    spread = (upper - lower) / _NORMAL_QUARTILES or float(values.std()) or 1.0
    return Scale(unit=unit, centre=centre, spread=spread, low=low, high=high)


def text_bucket(text: str) -> int:
    """Return a number from 1 for a text, 0 without one, by hashing (Weinberger et al. 2009), so that none is stored.

    Texts longer than 40 characters are free text and share number 1.
    """
    if not text:
        return 0
    if len(text) > _LONGEST_LEVEL:
        return 1
    return 2 + zlib.crc32(text.casefold().encode()) % (TEXT_BUCKETS - 2)
