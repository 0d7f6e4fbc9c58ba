"""Scan a folder: list, inspect, match tables, group, and write a cohort."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from polyclinic import __version__
from polyclinic.cohort.any_table import read_any_table
from polyclinic.cohort.cohort import Cohort, read_cohort
from polyclinic.cohort.content_index import ContentIndex
from polyclinic.cohort.csv_file import known_encoding
from polyclinic.cohort.scan.assumptions import list_assumptions
from polyclinic.cohort.scan.file_results import read_file_results
from polyclinic.cohort.scan.group import group_sources, stated_patient
from polyclinic.cohort.scan.headers import inspect_files
from polyclinic.cohort.scan.indexes import compare_indexes
from polyclinic.cohort.scan.joined import Joined, join_tables
from polyclinic.cohort.scan.left_out import LeftOut
from polyclinic.cohort.scan.names import name_keys
from polyclinic.cohort.scan.places import Places
from polyclinic.cohort.scan.recognise import FileFacts
from polyclinic.cohort.scan.studies import ScannedStudy, propose_studies
from polyclinic.cohort.scan.tables import SourceIndex, StudyTable, match_patients, match_studies
from polyclinic.cohort.scan.unpack import unpacked
from polyclinic.cohort.scan.walk import walk
from polyclinic.cohort.scan.write import RESERVED, write_report, write_spec, write_studies
from polyclinic.files.atomic import atomic_folder
from polyclinic.modality import Modality

_MIN_COPY_BYTES = 4096
"""Size from which on equal files are copies, whatever they are called: short texts of two patients may be equal."""


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """A written cohort.

    Attributes:
        path: path of ``cohort.yaml``.
        cohort: the cohort.
        report: content of ``scan-report.json``.
    """

    path: Path
    cohort: Cohort
    report: Mapping[str, Any]


def scan_folder(
    folder: Path,
    *,
    out: Path,
    modalities: Mapping[str, Modality],
    workers: int = 2,
    hours: float = 24.0,
    unpack: Path | None = None,
    encoding: str = "",
) -> ScanResult:
    """Propose a cohort from the files of a folder, which is only read.

    Args:
        folder: folder to scan, with its subfolders.
        out: folder that must not exist, outside ``folder``; it appears only when everything is written.
        modalities: plugins that may take files, by name.
        workers: number of processes that read headers.
        hours: longest time between files of one patient that become one study without further evidence.
        unpack: folder that must not exist, outside ``folder``, for the members of zip and tar archives; without it,
            archives are listed and not read.
        encoding: encoding of CSV tables that are not UTF-8; unless set, it is found by their letters.

    Raises:
        ValueError: ``folder`` is not a folder, or has no file that a plugin takes; or ``out`` or ``unpack`` exists or
            lies in it.
    """
    refuse_places(folder, out, unpack)
    if not folder.is_dir():
        raise ValueError(f"got {_shown(folder)}, which is not a folder; name the folder to scan")
    if hours < 0:
        raise ValueError(f"got hours {hours:g}, expected 0 or more; set `--hours`")
    encoding = encoding and known_encoding(encoding)
    places, left_out = Places(root=folder.resolve()), LeftOut()
    facts = inspect_files(walk(places.root, left_out), places.root, modalities, workers)
    if unpack is None:
        return _propose(facts, places, modalities, out, hours, left_out, encoding)
    archives = [each.path for each in facts if each.kind == "archive"]
    with unpacked(archives, root=places.root, out=unpack, left_out=left_out) as opened:
        facts = [each for each in facts if each.kind != "archive"]
        if opened:
            base = unpack.resolve()
            members = inspect_files(walk(base, left_out), base, modalities, workers)
            # One level: an archive within an archive stays as it is.
            nested = [each._replace(kind="archive-within") if each.kind == "archive" else each for each in members]
            places.unpacked = {each.path: base / each.path for each in nested}
            facts = sorted([*facts, *nested], key=lambda each: each.path)
        return _propose(facts, places, modalities, out, hours, left_out, encoding)


def _propose(
    facts: Sequence[FileFacts],
    places: Places,
    modalities: Mapping[str, Modality],
    out: Path,
    hours: float,
    left_out: LeftOut,
    encoding: str,
) -> ScanResult:
    """Group the files, match the tables, and write the cohort."""
    sources, companions, copies = _sources(facts, places, left_out)
    if not sources:
        counts = ", ".join(f"{count} {reason}" for reason, count in left_out.counts().items())
        raise ValueError(
            f"no file of {_shown(places.root)} can be used ({counts or 'it is empty'}), expected files of the plugins "
            "that `polyclinic modalities` lists; name another folder"
        )
    tables = _match_tables(facts, places, sources, copies, left_out, encoding)
    keys = name_keys(sources)
    groups = group_sources(sources, tables, keys, hours=hours, left_out=left_out)
    studies = propose_studies(groups, sources, tables, keys, left_out)
    if not studies:
        raise ValueError("no study remains, as the files contradict each other; correct the headers or the tables")
    used = sorted({name for study in studies for name in study.files})
    joined = join_tables(studies, tables, (*RESERVED, *used))
    results = read_file_results(studies, modalities, places, (*RESERVED, *used, *joined.labels, *joined.groups))
    indexes = compare_indexes(facts, places, modalities.values())
    report = {
        "polyclinic": __version__,
        "files": len(facts),
        "unpacked": len(places.unpacked),
        "companions": companions,
        **_counts(studies, used),
        "tables": [_table_report(table, number, studies, joined) for number, table in enumerate(tables)],
        "indexes": indexes,
        "labels": list(joined.labels),
        "groups": list(joined.groups),
        "results": list(results),
        "assumptions": list_assumptions(studies, sources, tables, joined, indexes, hours=hours),
        "left_out": left_out.as_json(),
    }
    with atomic_folder(out) as partial_folder:
        write_studies(partial_folder, studies, joined, used, places, results)
        write_spec(partial_folder, places.root, joined, used, list(results))
        write_report(partial_folder, report)
        cohort = replace(read_cohort(partial_folder / "cohort.yaml"), name=out.name)
    return ScanResult(path=out / "cohort.yaml", cohort=cohort, report=report)


def refuse_places(folder: Path, out: Path, unpack: Path | None) -> None:
    """Refuse folders for results that exist, or that lie in each other or in the folder to scan.

    Raises:
        ValueError: the message names the option to set.
    """
    for option, new in (("--out", out), ("--unpack", unpack)):
        if new is None:
            continue
        if new.exists():
            raise ValueError(f"folder {new.name!r} already exists; choose another `{option}` or remove it")
        if new.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"`{option}` lies in the folder to scan, to which nothing is written; choose another")
    if unpack is not None and (
        unpack.resolve().is_relative_to(out.resolve()) or out.resolve().is_relative_to(unpack.resolve())
    ):
        raise ValueError("`--unpack` and `--out` lie in each other; choose two folders")


def _shown(folder: Path) -> str:
    return repr(folder.name or str(folder))


def _counts(studies: Sequence[ScannedStudy], used: Sequence[str]) -> dict[str, Any]:
    return {
        "studies": len(studies),
        "patients": len({study.patient_id for study in studies}),
        "sources": {name: sum(name in study.files for study in studies) for name in used},
    }


def _sources(
    facts: Sequence[FileFacts], places: Places, left_out: LeftOut
) -> tuple[list[FileFacts], int, dict[str, str]]:
    """Return the sources without duplicates, the number of companion files, and the source of each other file."""
    found = [each for each in facts if each.kind == "source"]
    first = {each.path: each.files[0] for each in found if each.files}
    # The first slice stands for its series; what no plugin takes alone, such as the JSON beside NIfTI, for nothing.
    companion_of = {
        path: each.path
        for each in found
        for path in each.files
        if path != each.path and (first[each.path] == each.path or path not in first)
    }
    for each in facts:
        if each.kind not in ("source", "table") and each.path not in companion_of:
            left_out.add(each.kind, each.path, each.why)
    sources = [each for each in found if each.path not in companion_of]
    same = _copies(sources, {each.path: each for each in facts}, places)
    for copy, original in same.items():
        left_out.add("duplicate", copy, f"same as {original}")
    resolved = {path: same.get(source, source) for path, source in companion_of.items()}
    return [each for each in sources if each.path not in same], len(companion_of), resolved | same


def _copies(sources: Sequence[FileFacts], facts: Mapping[str, FileFacts], places: Places) -> dict[str, str]:
    """Return the first source with the same content for each of the others.

    All bytes are read only of files whose size and first bytes are equal.
    """
    alike: dict[tuple[str, int, str], list[FileFacts]] = defaultdict(list)
    measurement = {each.path: facts.get(each.files[-1], each) if each.files else each for each in sources}
    for each in sources:
        content = measurement[each.path]
        alike[each.modality, content.size, content.head].append(each)
    candidates = [group for group in alike.values() if len(group) > 1]
    digests = ContentIndex().digests(places.file(measurement[each.path].path) for group in candidates for each in group)
    contents: dict[str, set[str]] = defaultdict(set)
    for each in sources:
        contents[PurePosixPath(each.path).name].add(each.head)
    copies: dict[str, str] = {}
    for group in candidates:
        originals: dict[str, list[FileFacts]] = defaultdict(list)
        for each in group:
            known = originals[digests.get(places.file(measurement[each.path].path), each.path)]
            if original := next((other for other in known if _is_copy(each, other, contents)), None):
                copies[each.path] = original.path
            else:
                known.append(each)
    return copies


def _is_copy(each: FileFacts, other: FileFacts, contents: Mapping[str, set[str]]) -> bool:
    """Return whether equal files are one: by header or size, or by a name that no file of other content has."""
    name = PurePosixPath(each.path).name
    same_name = name == PurePosixPath(other.path).name and len(contents[name]) == 1
    return bool(each.stated.study) or each.size >= _MIN_COPY_BYTES or same_name


def _match_tables(
    facts: Sequence[FileFacts],
    places: Places,
    sources: Sequence[FileFacts],
    copies: Mapping[str, str],
    left_out: LeftOut,
    encoding: str,
) -> list[StudyTable]:
    index, tables = SourceIndex(sources, copies), dict[str, pd.DataFrame]()
    for each in facts:
        if each.kind != "table":
            continue
        try:
            tables[each.path] = read_any_table(places.file(each.path), encoding=encoding)
        except ValueError as error:
            left_out.add("unreadable", each.path, str(error))
    matched = [table for path, cells in tables.items() if (table := match_studies(path, cells, index)) is not None]
    patients = {stated_patient(source) for source in sources} - {""}
    patients |= {cell for table in matched if table.patient for cell in table.cells[table.patient]}
    for path in tables.keys() - {table.path for table in matched}:
        if (table := match_patients(path, tables[path], patients)) is not None:
            matched.append(table)
        else:
            left_out.add("table-without-studies", path)
    # Tables of patients come last: a table of studies decides on the columns that both have.
    return sorted(matched, key=lambda table: (table.of_patients, table.path))


def _table_report(table: StudyTable, number: int, studies: Iterable[ScannedStudy], joined: Joined) -> dict[str, Any]:
    if table.of_patients:
        patients = {study.patient_id for study in studies}
        matched = sum(cell in patients for cell in table.cells[table.key])
    else:
        matched = len(Counter(study.rows[number] for study in studies if number in study.rows))
    return {
        "path": table.path,
        "key": table.key,
        "rows": len(table.cells),
        "rows_with_files": matched,
        "columns_not_used": joined.unused.get(table.path, []),
    }
