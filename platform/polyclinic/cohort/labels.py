"""Parse the label columns of a table to numbers."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from polyclinic.cohort.cells import CellNames, canonical_id, read_number

_MAX_SHOWN_LENGTH = 40
_BOOLEANS = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True, kw_only=True)
class LabelColumn:
    """Values of one label for every study.

    Attributes:
        numbers: values, NaN where unknown.
        unnamed: number of studies per cell text that ``values`` does not list, and that counts as unknown. Texts
            of a single patient are counted under the empty text, as they may identify the patient.
    """

    numbers: Float[np.ndarray, " N"]
    unnamed: Mapping[str, int] = field(default_factory=dict)


def read_label(
    name: str, entry: Mapping[str, Any], cells: Sequence[str], *, studies: Sequence[str], patients: Sequence[str]
) -> LabelColumn:
    """Parse the cells of one label.

    Cells are matched to ``values``, ``classes`` and ``levels`` as text, then as numbers and booleans (``1.0`` is
    ``1``, ``True`` is ``true``). A number that the ``values`` of a quantity do not list is kept. A finding
    without ``values`` may be a boolean.

    Args:
        name: name of the label.
        entry: entry of the label in the cohort file.
        cells: cells of its column.
        studies: study id of each row.
        patients: patient id of each row, never repeated in a message.

    Raises:
        ValueError: a cell is neither blank nor valid, or ``values`` lists none of the cells.
    """
    reader = _Reader(name, entry)
    distinct = {cell: reader.number(cell) for cell in dict.fromkeys(cells) if cell}
    holders: dict[str, list[int]] = defaultdict(list)
    for row, cell in enumerate(cells):
        if cell and distinct[cell] is None:
            holders[cell].append(row)
    for cell, rows in holders.items():
        if problem := reader.problem(cell):
            shown = _shown(cell, patients[rows[0]])
            raise ValueError(f"study {studies[rows[0]]!r} has {shown} as label {name!r}, {problem}")
    if holders and len(holders) == len(distinct):
        raise ValueError(
            f"`labels.{name}.values` lists none of the {len(distinct)} different cells of column {entry['column']!r}; "
            "spell its keys as in the cells"
        )
    values = {cell: float("nan") if number is None else number for cell, number in distinct.items()}
    return LabelColumn(
        numbers=np.array([values.get(cell, float("nan")) for cell in cells]), unnamed=_unnamed(holders, patients)
    )


class _Reader:
    """Parser of the distinct cells of one label."""

    def __init__(self, name: str, entry: Mapping[str, Any]) -> None:
        self._name, self._column, self._is_finding = name, entry["column"], "unit" not in entry
        self._values: Mapping[str, float] | None = entry.get("values")
        self._pattern = re.compile(entry["pattern"]) if "pattern" in entry else None
        self._listed: Sequence[str] | None = entry.get("classes") or entry.get("levels")
        names = self._listed or list(self._values or ())
        self._names = CellNames(names)
        self._numbers = list(range(len(names))) if self._listed else list((self._values or {}).values())
        self._accepts_numbers = self._values is None or not self._is_finding

    def number(self, cell: str) -> float | None:
        """Return the value of a cell; None where it is not valid."""
        if self._pattern is not None:
            return float(self._pattern.search(cell) is not None)
        place = self._names.place(cell)
        if place is not None:
            return float(self._numbers[place])
        if self._listed or not self._accepts_numbers:
            return None
        if self._is_finding and cell.lower() in _BOOLEANS:
            return _BOOLEANS[cell.lower()]
        number = read_number(cell)
        return None if number is None else float(number)

    def problem(self, cell: str) -> str:
        """Return why a cell that is not valid is an error; empty where it counts as unknown."""
        column = f"in column {self._column!r}"
        if self._listed:
            return (
                f"expected one of {list(self._listed)} or blank {column}; correct the cell or the list in "
                f"`labels.{self._name}`"
            )
        if (near := self._names.near(cell)) is not None:
            return f"while `labels.{self._name}.values` lists {near!r}; spell both alike, or list both"
        if self._values is not None:
            return ""
        return (
            f"expected a finite number in plain digits, or blank, {column}; correct the cell, list it in `missing` if "
            f"it means no value, or set `labels.{self._name}.values` to map its texts to numbers"
        )


def _unnamed(holders: Mapping[str, Sequence[int]], patients: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for cell, rows in holders.items():
        shared = len({patients[row] for row in rows}) > 1 and len(cell) <= _MAX_SHOWN_LENGTH
        counts[cell if shared else ""] += len(rows)
    return dict(counts)


def _shown(cell: str, patient: str) -> str:
    """Quote a cell for a message, or describe it where it may hold text about the patient or the patient's id."""
    if len(cell) > _MAX_SHOWN_LENGTH:
        return f"a text of {len(cell)} characters"
    same = canonical_id(patient) in canonical_id(cell) and len(patient) > 1
    return "the id of its patient" if same else repr(cell)
