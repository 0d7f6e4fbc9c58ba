"""What a scan assumed, for a person to check."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from polyclinic.cohort.any_table import EXCEL
from polyclinic.cohort.scan.group import stated_patient
from polyclinic.cohort.scan.joined import Joined
from polyclinic.cohort.scan.recognise import FileFacts
from polyclinic.cohort.scan.studies import ScannedStudy
from polyclinic.cohort.scan.tables import StudyTable


def list_assumptions(
    studies: Sequence[ScannedStudy],
    sources: Sequence[FileFacts],
    tables: Sequence[StudyTable],
    joined: Joined,
    indexes: Sequence[Mapping[str, Any]],
    *,
    hours: float,
) -> list[dict[str, Any]]:
    """Return sentences with the number of studies, files or columns that each concerns, without those of none."""
    origin = Counter(study.patient_from for study in studies)
    stated = {source.path: stated_patient(source) for source in sources}
    others = ({stated[path] for path in study.files.values()} - {"", study.patient_id} for study in studies)
    from_table = (study.patient_from == "table" for study in studies)
    renamed = sum(bool(headers) and is_listed for headers, is_listed in zip(others, from_table, strict=True))
    entries = [
        ("studies whose files are joined by their names alone", sum(study.is_joined_by_name for study in studies)),
        ("studies whose patient is taken from names of files or folders", origin["name"]),
        ("studies without a patient id anywhere, each of which counts as a patient", origin["study"]),
        ("studies whose headers state another patient id than the table, which is used", renamed),
        ("studies that no table lists, without labels and groups", _unlisted(studies, tables)),
        ("studies without a split in the table, which got one by shares of patients", joined.unsplit),
        (f"files with a time: those of a patient within {hours:g} hours may be joined, in local time",
         sum(bool(source.stated.time) for source in sources)),
        ("columns of 0, 1, -1 and blanks that are taken for labels", len(joined.labels)),
        ("columns of a few values that are taken for groups", len(joined.groups)),
        ("tables that are not UTF-8, read in the only encoding in which their letters are those of a language",
         sum("encoding" in table.cells.attrs for table in tables)),
        ("Excel tables, of which the first sheet is read", sum(table.path.lower().endswith(EXCEL) for table in tables)),
        ("files that a DICOMDIR lists and that are missing, or were left out while the folder was listed",
         sum(len(index.get("missing", ())) for index in indexes)),
        ("files whose header, which is used, states another patient than their DICOMDIR",
         sum(len(index.get("other_patients", ())) for index in indexes)),
        ("records of a DICOMDIR that lead out of its folder, which are not followed",
         sum(index.get("outside", 0) for index in indexes)),
        ("DICOMDIR that cannot be read, which is not needed", sum("why" in index for index in indexes)),
    ]  # fmt: skip
    found: list[dict[str, Any]] = [{"assumption": text, "count": count} for text, count in entries if count]
    return [*found, *({"assumption": note, "count": 1} for note in joined.notes)]


def _unlisted(studies: Sequence[ScannedStudy], tables: Sequence[StudyTable]) -> int:
    listing = [table for table in tables if not table.of_patients]
    return sum(not study.rows for study in studies) if listing else 0
