"""Propose the ids, the patient and the files of each study."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from polyclinic.cohort.cells import canonical_id, is_missing_value
from polyclinic.cohort.scan.group import stated_patient
from polyclinic.cohort.scan.left_out import LeftOut
from polyclinic.cohort.scan.names import Key, name_patients
from polyclinic.cohort.scan.recognise import FileFacts
from polyclinic.cohort.scan.tables import StudyTable

_ID_LENGTH = 12


@dataclass(frozen=True, kw_only=True)
class ScannedStudy:
    """One row of the proposed cohort.

    Attributes:
        study_id: id in a table, else a hash of what identifies the study.
        patient_id: patient in a table, else in a header, else in the names, else the study itself.
        patient_from: ``table``, ``header``, ``name`` or ``study``.
        accession: accession number in a header; empty where none states one.
        files: path by modality.
        rows: row by number of the table.
        is_joined_by_name: whether names alone join some of its files.
    """

    study_id: str
    patient_id: str
    patient_from: str
    accession: str
    files: Mapping[str, str]
    rows: Mapping[int, int]
    is_joined_by_name: bool


def propose_studies(
    groups: Sequence[Sequence[int]],
    sources: Sequence[FileFacts],
    tables: Sequence[StudyTable],
    keys: Sequence[Key],
    left_out: LeftOut,
) -> list[ScannedStudy]:
    """Return the studies in the order of their ids.

    Args:
        groups: sources of each study, by number.
        sources: all sources.
        tables: tables that list studies or patients.
        keys: name of the study of each source.
        left_out: where further files of a modality of a study are added.
    """
    rows_of: dict[int, dict[int, int]] = defaultdict(dict)
    for number, table in enumerate(tables):
        for row, members in enumerate(table.members):
            for place in members:
                rows_of[place][number] = row
    rows = [dict(sorted(entry for place in group for entry in rows_of.get(place, {}).items())) for group in groups]
    ids = _study_ids(groups, sources, tables, rows, keys)
    patients = _patients(groups, sources, tables, rows, keys, ids)
    studies = [
        ScannedStudy(
            study_id=ids[number],
            patient_id=patients[number][0],
            patient_from=patients[number][1],
            accession=next((accession for place in group if (accession := sources[place].stated.accession)), ""),
            files=_files(group, sources, left_out),
            rows=rows[number],
            is_joined_by_name=_is_joined_by_name(group, sources, rows_of),
        )
        for number, group in enumerate(groups)
    ]
    return sorted(studies, key=lambda study: study.study_id)


def _files(group: Sequence[int], sources: Sequence[FileFacts], left_out: LeftOut) -> dict[str, str]:
    """Return the file of each modality: the preferred one, else the first by path."""
    ordered = sorted((sources[place] for place in group), key=lambda source: (source.stated.preference, source.path))
    files: dict[str, str] = {}
    for source in ordered:
        if files.setdefault(source.modality, source.path) != source.path:
            left_out.add("another-of-the-study", source.path)
    return dict(sorted(files.items()))


def _is_joined_by_name(
    group: Sequence[int], sources: Sequence[FileFacts], rows_of: Mapping[int, Mapping[int, int]]
) -> bool:
    loose = [place for place in group if not sources[place].stated.study and place not in rows_of]
    return bool(loose) and len(group) > 1


def _study_ids(
    groups: Sequence[Sequence[int]],
    sources: Sequence[FileFacts],
    tables: Sequence[StudyTable],
    rows: Sequence[Mapping[int, int]],
    keys: Sequence[Key],
) -> list[str]:
    """Return a unique id per study: a table's, else a hash, as ids are logged and names and numbers may identify."""
    proposed = []
    for group, row in zip(groups, rows, strict=True):
        listing = ((tables[number], at) for number, at in row.items())
        listed = (str(table.cells[table.key].iloc[at]) for table, at in listing if table.key not in table.paths)
        numbers = sorted({sources[place].stated.study for place in group} - {""})
        fallback = numbers[0] if numbers else "/".join(keys[group[0]])
        proposed.append(next(listed, "") or _hashed(fallback))
    repeated = {study for study, count in Counter(proposed).items() if count > 1}
    return [
        f"{study}-{_hashed(sources[group[0]].path)}" if study in repeated else study
        for study, group in zip(proposed, groups, strict=True)
    ]


def _hashed(text: str) -> str:
    return f"s{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:_ID_LENGTH]}"


def _patients(
    groups: Sequence[Sequence[int]],
    sources: Sequence[FileFacts],
    tables: Sequence[StudyTable],
    rows: Sequence[Mapping[int, int]],
    keys: Sequence[Key],
    ids: Sequence[str],
) -> list[tuple[str, str]]:
    """Return the patient of each study, and where the id was found."""
    stated = [next((patient for place in group if (patient := stated_patient(sources[place]))), "") for group in groups]
    listed = [_listed_patient(row, tables) for row in rows]
    # Where a table lists some studies of a patient under another id than the headers, the rest get that id as well.
    renamed: dict[str, set[str]] = defaultdict(set)
    for header, table in zip(stated, listed, strict=True):
        if header and table:
            renamed[header].add(table)
    nameless = [keys[group[0]] for group, *ids_ in zip(groups, stated, listed, strict=True) if not any(ids_)]
    named = name_patients(nameless)
    found = []
    for group, header, table, study in zip(groups, stated, listed, ids, strict=True):
        known = table or (next(iter(renamed[header])) if len(renamed[header]) == 1 else "")
        name = named.get(keys[group[0]], "")
        kinds = ((known, "table"), (header, "header"), (name, "name"), (study, "study"))
        found.append(next((patient, kind) for patient, kind in kinds if patient))
    first_form: dict[str, str] = {}
    return [(first_form.setdefault(canonical_id(patient), patient), kind) for patient, kind in found]


def _listed_patient(row: Mapping[int, int], tables: Sequence[StudyTable]) -> str:
    for number, at in row.items():
        if column := tables[number].patient:
            patient = str(tables[number].cells[column].iloc[at])
            if not is_missing_value(patient):
                return patient
    return ""
