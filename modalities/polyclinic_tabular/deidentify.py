"""Rows without what names their patient: the configured columns, each as the number or the level that was read."""

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from polyclinic.modality import Cleaned, Source, capped_age, holds_age, holds_birth
from polyclinic_tabular.row import Row


def write_clean_row(
    source: Source,
    raw: Row,
    out: Path,
    *,
    numeric: Sequence[str],
    categorical: Mapping[str, Sequence[str]],
    units: Mapping[str, str],
) -> Cleaned:
    """Write decoded values, never a cell, so that no text stays; ages over 89 become 90.

    Args:
        source: of the row: a CSV file is written as one of name, value and unit, cells are returned by column.
        raw: what was read of it.
        out: where to write, without a suffix.
        numeric: columns, in the order of ``raw.values``.
        categorical: columns with their levels, in the order of ``raw.levels``.
        units: of numeric columns.
    """
    removed = Counter[str]()
    cells = {name: _number(name, float(value), removed) for name, value in zip(numeric, raw.values, strict=True)}
    cells |= {
        name: levels[level - 1] if level else ""
        for (name, levels), level in zip(categorical.items(), raw.levels.tolist(), strict=True)
    }
    if isinstance(source, Mapping):
        removed["columns that are not read"] += sum(name not in cells for name in source)
        return Cleaned(source={name: cells[name] for name in source if name in cells}, removed=+removed)
    written = out.with_name(f"{out.name}.csv")
    with written.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["name", "value", "unit"])
        table.writerows([name, cell, units.get(name, "")] for name, cell in cells.items())
    return Cleaned(source=written, removed=+removed)


def _number(name: str, value: float, removed: Counter[str]) -> str:
    if math.isnan(value):
        return ""
    text = repr(value).removesuffix(".0")
    if holds_birth(name, [text]):
        removed["dates of birth"] += 1
        return ""
    if holds_age(name) and (capped := capped_age(name, text)) is not None:
        removed["ages"] += 1
        return capped
    return text
