"""Find out which rows of a table belong to which files of the folder."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pandas as pd

from polyclinic.cohort.cells import read_number
from polyclinic.cohort.scan.columns import is_patient_column, is_study_column
from polyclinic.cohort.scan.names import identifiers_of
from polyclinic.cohort.scan.recognise import FileFacts

_MIN_FILE_SHARE = 0.5
"""Share of the cells of a column that name files, from which on the column is one of paths."""


class SourceIndex:
    """Find sources by path, name, stem, folder and identifiers.

    Args:
        sources: sources in a fixed order, by which they are numbered.
        copies: paths of left-out duplicates, and of companion files, with the path of the source that is used.
    """

    def __init__(self, sources: Sequence[FileFacts], copies: Mapping[str, str]) -> None:
        self._sources = sources
        places = {source.path: place for place, source in enumerate(sources)}
        self._by_path = places | {copy: places[used] for copy, used in copies.items() if used in places}
        bare = Counter(str(PurePosixPath(source.path).with_suffix("")) for source in sources)
        # A table may name a WFDB record by its path without a suffix.
        self._by_bare = {
            path: place
            for place, source in enumerate(sources)
            if bare[path := str(PurePosixPath(source.path).with_suffix(""))] == 1
        }
        self._by_name: dict[str, list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
        for path, place in self._by_path.items():
            self._by_name[PurePosixPath(path).name].append((place, PurePosixPath(path).parts))
        self._stated: dict[str, set[int]] = defaultdict(set)
        self._named: dict[str, set[int]] = defaultdict(set)
        for place, source in enumerate(sources):
            for identifier in filter(None, (source.stated.study, source.stated.accession)):
                self._stated[identifier].add(place)
            for identifier in identifiers_of(source.path):
                self._named[identifier].add(place)

    def file(self, cell: str, folder: str) -> int | None:
        """Return the source that a cell names; None where none or several match.

        Args:
            cell: path relative to the folder of the table or to the archive, or of a place where the file was before:
                then its end must be the complete path of one file below the folder of the table, or the reverse.
            folder: folder of the table.
        """
        path = PurePosixPath(cell.replace("\\", "/"))
        for known in (self._by_path, self._by_bare) if len(path.parts) > 1 else (self._by_path,):
            for start in (folder, ""):
                if (place := known.get(str(PurePosixPath(start) / path))) is not None:
                    return place
        found = {place for place, parts in self._by_name.get(path.name, ()) if _ends_alike(parts, path.parts, folder)}
        return next(iter(found)) if len(found) == 1 else None

    def identified(self, cell: str, folder: str) -> set[int]:
        """Return the sources that state or are named after an id; none if a modality has several of other studies.

        Args:
            cell: id in a table.
            folder: folder of the table, below which a number names files: elsewhere, it may count something else.
        """
        named = self._named.get(cell, set())
        if folder and read_number(cell) is not None:
            named = {place for place in named if self._sources[place].path.startswith(f"{folder}/")}
        found = named | self._stated.get(cell, set())
        studies = {(self._sources[place].modality, self._sources[place].stated.study or str(place)) for place in found}
        repeated = Counter(modality for modality, _ in studies)
        return found if max(repeated.values(), default=0) <= 1 else set()


@dataclass(frozen=True)
class StudyTable:
    """A table whose rows are matched to the studies or the patients of the folder.

    Attributes:
        path: path relative to the folder.
        cells: cells as text.
        key: column with one row per study, or per patient.
        patient: column of patient ids; empty where there is none.
        of_patients: whether a row belongs to every study of its patient.
        members: sources of each row, for a table of studies.
        paths: columns that name files.
    """

    path: str
    cells: pd.DataFrame
    key: str
    patient: str
    of_patients: bool
    members: Sequence[frozenset[int]]
    paths: frozenset[str]


def match_studies(path: str, cells: pd.DataFrame, index: SourceIndex) -> StudyTable | None:
    """Match the rows of a table to sources; None where no column has one row per study of the folder.

    Args:
        path: path relative to the folder.
        cells: cells as text.
        index: sources of the folder.
    """
    unique = [column for column in cells.columns if _is_unique(cells[column])]
    folder = path.rpartition("/")[0]
    identified = {column: [index.identified(cell, folder) for cell in cells[column]] for column in unique}
    # Among columns that match as many rows, the one that is named like a column of studies.
    scores = {column: (sum(map(bool, found)), is_study_column(column)) for column, found in identified.items()}
    best = max((column for column in unique if scores[column][0]), key=lambda column: scores[column], default="")
    others = [column for column in cells.columns if column != best]
    paths = {column: found for column in others if (found := _named_files(cells[column], index, folder)) is not None}
    members = [
        frozenset(found | {source for column in paths.values() if (source := column[row]) is not None})
        for row, found in enumerate(identified.get(best) or [set[int]()] * len(cells))
    ]
    if not any(members):
        return None
    key = best or _named_study(cells, paths)
    return StudyTable(path, cells, key, _patient_column(cells), False, members, frozenset(paths))


def match_patients(path: str, cells: pd.DataFrame, patients: Collection[str]) -> StudyTable | None:
    """Match the rows of a table to patients; None where it does not have one row per patient of the folder."""
    column = _patient_column(cells)
    if column and _is_unique(cells[column]) and set(cells[column]) & set(patients):
        return StudyTable(path, cells, column, column, True, [], frozenset())
    return None


def _patient_column(cells: pd.DataFrame) -> str:
    return next((column for column in cells.columns if is_patient_column(column)), "")


def _ends_alike(file: tuple[str, ...], cell: tuple[str, ...], folder: str) -> bool:
    """Return whether one path is the end of the other, where the folder of the table may be left out."""
    start = PurePosixPath(folder).parts
    below = file[len(start) :] if file[: len(start)] == start else file
    return any(
        all(ours == theirs for ours, theirs in zip(reversed(path), reversed(cell), strict=False))
        for path in (file, below)
    )


def _named_files(cells: pd.Series, index: SourceIndex, folder: str) -> list[int | None] | None:
    """Return the source that each cell names; None where few cells name one."""
    # A label of 0 and 1 does not name the files 0 and 1.
    names = [cell for cell in cells.unique() if cell and read_number(cell) is None]
    file_of = {cell: index.file(cell, folder) for cell in names}
    found = [file_of.get(cell) for cell in cells]
    named = sum(place is not None for place in found)
    return found if named >= max(1, _MIN_FILE_SHARE * sum(map(bool, cells))) else None


def _is_unique(cells: pd.Series) -> bool:
    return bool(cells.all()) and cells.is_unique


def _named_study(cells: pd.DataFrame, paths: Iterable[str]) -> str:
    """Return the column that is named like one of studies and unique, else the first column of paths."""
    unique = [column for column in cells.columns if _is_unique(cells[column])]
    named = [column for column in unique if is_study_column(column)]
    named += [column for column in unique if column.lower() == "id" or column.lower().endswith(("_id", " id"))]
    return next(iter((*named, *paths)))
