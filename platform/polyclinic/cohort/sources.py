"""Find the sources of a row of the table: files, rows of array files, texts and cells."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from polyclinic.cohort.files import Ambiguous, FileFinder, is_folder, read_template
from polyclinic.cohort.schema import CohortSpec
from polyclinic.modality import ArrayRow, EventWindow, Source

_MAX_NAMED_STUDIES = 5


class SourceReader:
    """Find the sources of each row, and collect the studies whose files are missing.

    Args:
        spec: specification of the cohort.
        events: windows of events by modality and study.
    """

    def __init__(self, spec: CohortSpec, events: Mapping[str, Mapping[str, EventWindow]]) -> None:
        self._spec, self._events = spec, events
        self._finder = FileFinder(spec.root)
        self._templates = {
            name: read_template(entry["path"], f"modalities.{name}.path")
            for name, entry in spec.modalities.items()
            if "{" in entry.get("path", "")
        }
        self._found: set[Path] = set()
        self._missing: dict[str, list[str]] = defaultdict(list)
        self._unmatched: dict[str, list[tuple[str, str]]] = defaultdict(list)

    def read(self, row: Mapping[str, str], study: str) -> dict[str, Source]:
        """Return the sources of a row by modality, without missing modalities.

        Raises:
            ValueError: several files match a template, or an array row is not a number.
        """
        found = {name: self._source(name, row, study) for name in self._spec.modalities}
        return {name: source for name, source in found.items() if source is not None}

    def refuse_missing(self) -> None:
        """Refuse files of the rows read so far that do not exist, or exist only under a name in another case.

        Raises:
            ValueError: a file is missing; the message names the studies and the setting.
        """
        for name, missing in self._missing.items():
            raise ValueError(
                f"the {name} source of {len(missing)} studies does not exist (studies {missing[:_MAX_NAMED_STUDIES]}); "
                f"correct the column of `modalities.{name}.path`, or `root`"
            )
        for name, unmatched in self._unmatched.items():
            pattern = self._templates[name].has_wildcard
            near = [study for study, path in unmatched if set(self._finder.near(path, pattern=pattern)) - self._found]
            if near:
                raise ValueError(
                    f"the {name} files of {len(near)} studies differ from `modalities.{name}.path` in the case of "
                    f"letters (studies {near[:_MAX_NAMED_STUDIES]}); write the cells and the template as the files are "
                    "named"
                )

    def _source(self, name: str, row: Mapping[str, str], study: str) -> Source | None:
        entry = self._spec.modalities[name]
        if "columns" in entry:
            cells = {column: row[column] for column in entry["columns"]}
            return cells if any(cells.values()) else None
        if "meds" in entry:
            return self._events[name].get(study)
        if "text" in entry:
            return row[entry["text"]] or None
        file = self._templated(name, row, study) if name in self._templates else self._named(name, row, study)
        if file is None:
            return None
        self._found.add(file)
        return _array_row(file, row[entry["row"]], name, study) if "row" in entry else file

    def _named(self, name: str, row: Mapping[str, str], study: str) -> Path | None:
        """Return the file or folder named in a column, whether it exists or not; None for an empty cell."""
        cell = row[self._spec.modalities[name]["path"]]
        if not cell:
            return None
        file = self._find(name, cell, study, pattern=False)
        if file is None and is_folder(self._spec.root / cell):
            return self._spec.root / cell
        if file is None or not file.is_file():
            self._missing[name].append(study)
        return file or self._spec.root / cell

    def _templated(self, name: str, row: Mapping[str, str], study: str) -> Path | None:
        template = self._templates[name]
        path = template.fill(row)
        if path is None:
            return None
        file = self._find(name, path, study, pattern=template.has_wildcard)
        if file is None:
            self._unmatched[name].append((study, path))
        elif not file.is_file():
            self._missing[name].append(study)
        return file

    def _find(self, name: str, path: str, study: str, *, pattern: bool) -> Path | None:
        try:
            return self._finder.find(path, pattern=pattern)
        except Ambiguous as several:
            raise ValueError(
                f"study {study!r}: {several} files match `modalities.{name}.path`; make it more exact"
            ) from None


def _array_row(file: Path, row: str, name: str, study: str) -> ArrayRow:
    if not (row.isascii() and row.isdecimal()):
        raise ValueError(
            f"study {study!r} has {row!r} in the column of `modalities.{name}.row`, expected a row number from 0"
        )
    return ArrayRow(file, int(row))
