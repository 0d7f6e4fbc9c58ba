"""Write the proposed cohort: ``studies.csv``, a commented ``cohort.yaml`` and ``scan-report.json``."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from polyclinic.cohort.scan.joined import SHARES, Joined
from polyclinic.cohort.scan.places import Places
from polyclinic.cohort.scan.studies import ScannedStudy

RESERVED = ("study_id", "patient_id", "split", "accession")
"""Columns of ``studies.csv`` that no column of a table may replace."""


def write_studies(
    folder: Path,
    studies: Sequence[ScannedStudy],
    joined: Joined,
    modalities: Sequence[str],
    places: Places,
    results: Mapping[str, Sequence[str]],
) -> None:
    """Write one row per study; ``results`` are further columns."""
    columns: dict[str, Sequence[str]] = {
        "study_id": [study.study_id for study in studies],
        "patient_id": [study.patient_id for study in studies],
    }
    if joined.split is not None:
        columns["split"] = joined.split
    if any(study.accession for study in studies):
        columns["accession"] = [study.accession for study in studies]
    columns |= {name: [_cell(study.files.get(name), places) for study in studies] for name in modalities}
    table = pd.DataFrame({**columns, **joined.groups, **joined.labels, **results})
    table.to_csv(folder / "studies.csv", index=False)


def _cell(path: str | None, places: Places) -> str:
    return "" if path is None else places.cell(path)


def write_spec(folder: Path, root: Path, joined: Joined, modalities: Sequence[str], results: Sequence[str]) -> None:
    """Write ``cohort.yaml`` with a comment on every entry that a person should check, and on columns of ``results``."""
    split = "split" if joined.split is not None else SHARES
    parts: list[tuple[str, Mapping[str, Any]]] = [
        ("Proposed by: polyclinic cohort scan. scan-report.json has what was left out and what to check.",
         {"table": "studies.csv"}),
        ("The folder that was scanned; nothing was copied. Members of archives have absolute paths.",
         {"root": str(root)}),
        ("Ids in a table of the folder, else hashes of what identifies the study.", {"study_id": "study_id"}),
        ("Ids in a table, else in the headers, else in the names. A wrong id may put one person into two splits.",
         {"patient_id": "patient_id"}),
        ("From a table." if joined.split is not None else "Shares of patients. A column of the table may be named here "
         "instead.", {"split": split}),
        ("One column of paths for each modality.", {"modalities": {name: {"path": name} for name in modalities}}),
    ]  # fmt: skip
    if joined.labels:
        parts.append(("Columns of 0, 1, -1 (uncertain) and blanks. Remove those that are no finding.",
                      {"labels": list(joined.labels)}))  # fmt: skip
    if joined.groups:
        parts.append(("Columns of a few values, for results by subgroup.", {"groups": list(joined.groups)}))
    text = "".join(
        f"# {comment}\n{yaml.safe_dump(dict(entry), sort_keys=False, allow_unicode=True, width=10_000)}"
        for comment, entry in parts
    )
    if results:
        text += (
            f"# Results that files state are columns of the table: {', '.join(results)}.\n"
            "# Use numbers as `tabular: {columns: [...]}` among the modalities, and a text by its words as a label:\n"
            "# `NAME: {column: COLUMN, pattern: WORDS}`.\n"
        )
    (folder / "cohort.yaml").write_text(text, encoding="utf-8")


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write the report of a scan."""
    (folder / "scan-report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
