"""De-identify rows: write only the columns of the plugin, each as the number or level that was read."""

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from polyclinic.modality import Cleaned, Source, capped_age, holds_age, holds_birth, labelled_names
from polyclinic_tabular.names import is_known, names_person, split_unit
from polyclinic_tabular.row import Row

_MIN_RECORD_NUMBER = 1e7
"""From here on a whole number is taken for a date, telephone number or record number, not for a measurement."""


def row_names(cells: Mapping[str, str]) -> list[str]:
    """Return names of persons in columns that are labelled as such."""
    return labelled_names("\n".join(f"{name}: {cell}" for name, cell in cells.items()))


def write_clean_row(
    source: Source,
    raw: Row,
    out: Path,
    *,
    numeric: Sequence[str],
    categorical: Mapping[str, Sequence[str]],
    units: Mapping[str, str],
    withheld: Sequence[str] = (),
    shared: Set[str] = frozenset(),
) -> Cleaned:
    """Write decoded values, never a cell, so that no free text remains; ages over 89 become 90.

    Whole numbers of eight digits or more are left out, because no measurement has as many.

    Args:
        source: source of the row; a CSV file is written in the long form, cells are returned by column.
        raw: decoded row.
        out: output path without a suffix.
        numeric: numeric columns, in the order of ``raw.values``.
        categorical: categorical columns with their levels, in the order of ``raw.levels``.
        units: units of numeric columns.
        withheld: categorical columns that are left out because their levels may name a person.
        shared: names that many files have, so that the record may list those that are not read.
    """
    removed = Counter[str]()
    cells = {name: _number(name, float(value), removed) for name, value in zip(numeric, raw.values, strict=True)}
    cells |= {
        name: levels[level - 1] if level else ""
        for (name, levels), level in zip(categorical.items(), raw.levels.tolist(), strict=True)
    }
    cells = {name: cell for name, cell in cells.items() if name not in withheld}
    removed |= {f"column {name!r}: its levels may name a person; list them in `categorical`": 1 for name in withheld}
    for name in raw.unused:
        listed = isinstance(source, Mapping) or is_known(split_unit(name)[0]) or split_unit(name)[0] in shared
        shown = repr(name) if listed and not names_person(name) else "whose name may name a person"
        removed[f"column {shown}: it is not read"] += 1
    if isinstance(source, Mapping):
        clean = {name: cells[column] for column, name in raw.sources.items() if column in cells}
        return Cleaned(source=clean, removed=+removed)
    target = out.with_name(f"{out.name}.csv")
    with target.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["name", "value", "unit"])
        table.writerows([name, cell, units.get(name, "")] for name, cell in cells.items())
    return Cleaned(source=target, removed=+removed)


def _number(name: str, value: float, removed: Counter[str]) -> str:
    if math.isnan(value):
        return ""
    if abs(value) >= _MIN_RECORD_NUMBER and value == int(value):
        removed["numbers too long for a measurement"] += 1
        return ""
    text = repr(value).removesuffix(".0")
    if holds_birth(name, [text]):
        removed["dates of birth"] += 1
        return ""
    if holds_age(name) and (capped := capped_age(name, text)) is not None:
        removed["ages"] += 1
        return capped
    return text
