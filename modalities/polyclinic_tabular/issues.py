"""Issues of a row: identifiers, text in numeric columns, unknown levels, implausible numbers, no value at all."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from polyclinic.modality import Issue, Source, identifying_fields
from polyclinic_tabular.cells import read_cells
from polyclinic_tabular.row import Row

_ISSUE_BY_FACT = {
    "text_values": ("text-for-numbers", "cells of numeric columns that hold text; see `text_values`"),
    "unknown_levels": ("unknown-levels", "cells with a level that their column does not have; see `categorical`"),
    "implausible": ("implausible", "numbers outside the plausible range of their column; see `plausible`"),
}


def row_issues(source: Source, raw: Row, *, encoding: str, approximate: bool) -> Iterator[Issue]:
    """Yield the issues of a row; columns that the plugin does not read are searched for identifiers as well.

    Args:
        source: source of the row.
        raw: decoded row.
        encoding: text encoding of a CSV file.
        approximate: whether ``text_values`` is ``"approximate"``, so that text for numbers is expected.
    """
    cells: list[tuple[str, str]] = []
    if isinstance(source, Path):
        cells = [(name, value) for name, value, _ in read_cells(source, encoding=encoding)]
    elif isinstance(source, Mapping):
        cells = list(source.items())
    if kinds := identifying_fields("\n".join(f"{name}: {cell}" for name, cell in cells)):
        yield Issue(severity="warning", code="identifiers", message=f"the row seems to hold {', '.join(kinds)}")
    for fact, (code, message) in _ISSUE_BY_FACT.items():
        if count := int(raw.facts.get(fact, 0)):
            expected = approximate and fact == "text_values"
            yield Issue(severity="note" if expected else "warning", code=code, message=f"{message}: {count}")
    if raw.unused:
        yield Issue(
            severity="note", code="unused-columns", message=f"names that match no configured column: {len(raw.unused)}"
        )
    if not raw.facts.get("observed", 1.0):
        yield Issue(severity="warning", code="all-missing", message="none of the columns has a value")
