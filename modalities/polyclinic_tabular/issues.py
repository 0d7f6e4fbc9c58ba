"""What a person should know of a row: names among its columns, text for numbers, impossible numbers, nothing at all."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from polyclinic.modality import Issue, Source, identifying_fields
from polyclinic_tabular.cells import read_cells
from polyclinic_tabular.row import Row

_COUNTED = {
    "text_values": ("text-for-numbers", "cells of numeric columns that hold text, see `text_values`"),
    "unknown_levels": ("unknown-levels", "cells with a level that their column does not have, see `categorical`"),
    "implausible": ("implausible", "numbers outside what is possible for their column, see `plausible`"),
}


def row_issues(source: Source, raw: Row, *, encoding: str, approximate: bool) -> Iterator[Issue]:
    """What ``Inspectable.issues`` asks for; columns that the plugin does not read are looked at as well.

    Args:
        source: of the row.
        raw: what was read of it.
        encoding: of a CSV file.
        approximate: whether text that stands for a number was read as one, as the settings wish.
    """
    cells: list[tuple[str, str]] = []
    if isinstance(source, Path):
        cells = [(name, value) for name, value, _ in read_cells(source, encoding=encoding)]
    elif isinstance(source, Mapping):
        cells = list(source.items())
    if kinds := identifying_fields("\n".join(f"{name}: {cell}" for name, cell in cells)):
        yield Issue(severity="warning", code="identifiers", message=f"the row seems to hold {', '.join(kinds)}")
    for fact, (code, message) in _COUNTED.items():
        if count := int(raw.facts.get(fact, 0)):
            wanted = approximate and fact == "text_values"
            yield Issue(severity="note" if wanted else "warning", code=code, message=f"{message}: {count}")
    if raw.unused:
        yield Issue(
            severity="note", code="unused-columns", message=f"names that belong to no column: {len(raw.unused)}"
        )
    if not raw.facts.get("observed", 1.0):
        yield Issue(severity="warning", code="all-missing", message="none of the columns has a value")
