"""Join the files of a cohort, one per study, to rows: one column for all spellings of a name, and its unit."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from polyclinic_tabular.names import is_known, names_person, quantity, split_unit

Pairs = Sequence[tuple[str, str, str]]
"""Name, value and unit of each cell of a file."""

_MIN_FILES, _MIN_FILE_SHARE = 5, 0.05


class FileRows(NamedTuple):
    """Files as rows.

    Attributes:
        rows: cells by column, for each file.
        units: unit that most files state, by column.
        left_out: names that do not become columns, with the reason.
        shared: names that so many files have that they cannot be the name of one patient.
    """

    rows: list[dict[str, str]]
    units: dict[str, str]
    left_out: dict[str, str]
    shared: frozenset[str]


def join_files(tables: Sequence[Pairs]) -> FileRows:
    """Join files to rows, without names that may be those of a person.

    A file may hold anything in place of a name. One that is in few files is therefore a column only if it is a common
    laboratory name.
    """
    bare = [[(*split_unit(name), value, stated) for name, value, stated in pairs] for pairs in tables]
    counts = Counter(name for cells in bare for name in {name for name, *_ in cells} if name)
    smallest = max(2, min(len(tables), max(_MIN_FILES, round(_MIN_FILE_SHARE * len(tables)))))
    column_of = _columns(counts, ({name for name, *_ in cells} for cells in bare))
    files = Counter[str]()
    for name, count in counts.items():
        files[column_of(name)] += count
    refused = {name: _refusal(name, files[column_of(name)], smallest, len(tables)) for name in counts}
    rows: list[dict[str, str]] = []
    units = defaultdict[str, Counter[str]](Counter)
    for cells in bare:
        row: dict[str, str] = {}
        for name, bracketed, value, stated in cells:
            if name and not refused[name]:
                row[column_of(name)] = value or row.get(column_of(name), "")
                units[column_of(name)].update(unit for unit in [stated or bracketed] if unit)
        rows.append(row)
    unnamed = sum(names_person(name) for name in counts)
    left_out = {name: reason for name, reason in refused.items() if reason and not names_person(name)}
    if unnamed:
        left_out[f"{unnamed} {'name' if unnamed == 1 else 'names'}"] = "it may name a person, and is not shown"
    shared = frozenset(name for name in counts if files[column_of(name)] >= smallest and not names_person(name))
    return FileRows(rows, _common_units(units, smallest), left_out, shared)


def _columns(counts: Counter[str], files: Iterable[set[str]]) -> Callable[[str], str]:
    """Return a function from a name to its column: the commonest spelling, or itself where a file has several."""
    spellings = defaultdict[str, list[str]](list)
    for name, _ in counts.most_common():
        spellings[quantity(name)].append(name)
    separate = set[str]()
    for names in files:
        separate |= {key for key, count in Counter(map(quantity, names)).items() if count > 1}
    return lambda name: name if quantity(name) in separate else spellings[quantity(name)][0]


def _refusal(name: str, count: int, smallest: int, total: int) -> str:
    """Return why a name does not become a column; empty if it does."""
    if not any(letter.isalpha() for letter in name):
        return "it is not a name; is the first line of the file a header?"
    if names_person(name):
        return "it may name a person"
    if count < smallest and not is_known(name):
        return (
            f"only {count} of {total} training files have it, and so rare a name may be that of a person; if it is "
            "not, add it to `numeric` or `categorical`"
        )
    return ""


def _common_units(units: dict[str, Counter[str]], smallest: int) -> dict[str, str]:
    common = {column: counts.most_common(1)[0] for column, counts in units.items() if counts}
    return {
        column: unit
        for column, (unit, count) in common.items()
        if not names_person(unit) and (count >= smallest or is_known(column))
    }
