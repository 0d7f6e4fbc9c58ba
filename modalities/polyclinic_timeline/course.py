"""Decoded events of one study."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True, kw_only=True)
class Course:
    """Events of one study in the order of their times; events of the same time keep the order of the file.

    Attributes:
        hours: time of each event in hours from the anchor; negative before it.
        codes: code of each event.
        values: number of each event; NaN without one.
        texts: text of each event; empty without one.
        units: unit of each event; empty where none is stated.
        low: lower end of the reference range that the source states; NaN without one.
        high: upper end of the reference range.
        anchor: time from which hours count: that of the study, or of the last event where none is stated.
        anchored: whether the source states the time of the study.
        facts: counts of what was not used or is out of order.
    """

    hours: Float[np.ndarray, " N"]
    codes: tuple[str, ...]
    values: Float[np.ndarray, " N"]
    texts: tuple[str, ...]
    units: tuple[str, ...]
    low: Float[np.ndarray, " N"]
    high: Float[np.ndarray, " N"]
    anchor: datetime
    anchored: bool
    facts: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.codes)

    def repeated(self) -> Bool[np.ndarray, " N"]:
        """Return which events have the time, code, value and text of an earlier one."""
        seen: set[tuple[float, str, str, str]] = set()
        found = np.zeros(len(self), dtype=bool)
        for place, event in enumerate(
            zip(self.hours.tolist(), self.codes, self.values.tolist(), self.texts, strict=True)
        ):
            key = (event[0], event[1], repr(event[2]), event[3])
            found[place] = key in seen
            seen.add(key)
        return found

    def mixed_units(self) -> set[str]:
        """Return the codes whose values are in more than one unit."""
        pairs = sorted({(code, folded_unit(unit)) for code, unit in zip(self.codes, self.units, strict=True) if unit})
        return {first[0] for first, second in pairwise(pairs) if first[0] == second[0]}


def folded_unit(unit: str) -> str:
    """Return a unit without spaces and case, with ``u`` for micro; two spellings of one unit may still differ."""
    plain = unit.replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u")
    return "".join(plain.split()).casefold()
