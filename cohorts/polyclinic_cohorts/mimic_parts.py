"""The data sets of MIMIC that a build needs, found or missed before the first table is read."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from polyclinic.cohort.build import DataRoot

_OTHERS = {
    "core/admissions.csv.gz": "MIMIC-IV before 2.0, with its admissions in core/",
    "cxr-record-list.csv.gz": "MIMIC-CXR with DICOM files, which has no table of MIMIC-CXR-JPG",
}
"""What a release with other tables is, by a table of it."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Tables of a data set that a build needs.

    Attributes:
        name: name of the data set.
        tables: columns to read, by table.
        remedy: what to set where a table or a column is missing.
    """

    name: str
    tables: Mapping[str, Collection[str]]
    remedy: str


def refuse_missing(root: DataRoot, parts: Sequence[Part]) -> None:
    """Refuse a root in which a table or a column is missing, in one sentence on everything that was and was not found.

    Raises:
        ValueError: something is missing, or the start of a table cannot be read.
    """
    found, problems = [], []
    for part in parts:
        folder = _folder(root, part)
        if folder is None:
            problems.append(f"{part.name} lacks {' and '.join(part.tables)}; {part.remedy}")
            continue
        found.append(f"{part.name} in {folder.path.relative_to(root.path)}/")
        problems += [f"{problem}; {part.remedy}" for problem in _problems(folder, part)]
    if not problems:
        return
    found += [name for table, name in _OTHERS.items() if root.folders(table)]
    listed = ", ".join(dict.fromkeys(found)) or "none of the data sets"
    raise ValueError(f"found below the root: {listed}; but {'; and '.join(problems)}")


def _folder(root: DataRoot, part: Part) -> DataRoot | None:
    """Return the folder with most tables of a part; the build refuses a second one with all of them."""
    folders = {data.path: data for table in part.tables for data in root.folders(table)}
    return max(folders.values(), key=lambda data: sum(map(data.has, part.tables)), default=None)


def _problems(folder: DataRoot, part: Part) -> Iterator[str]:
    for table, columns in part.tables.items():
        if not folder.has(table):
            yield f"{part.name} lacks {table}"
        elif absent := [column for column in columns if column not in (header := folder.header(table))]:
            names = ", ".join(map(repr, absent))
            yield f"{table} has no column {names}, it has {header}, so it may be another release"
