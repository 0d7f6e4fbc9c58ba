"""Compare the DICOMDIR of a medium with its files: the walk finds them anyway, and their headers decide."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from polyclinic.cohort.cells import canonical_id
from polyclinic.cohort.scan.group import stated_patient
from polyclinic.cohort.scan.places import Places
from polyclinic.cohort.scan.recognise import FileFacts
from polyclinic.modality import Indexed, IndexEntry, Modality, UnreadableSource

INDEX = "dicomdir"


def compare_indexes(facts: Sequence[FileFacts], places: Places, modalities: Iterable[Modality]) -> list[dict[str, Any]]:
    """Return what each DICOMDIR states that is not so, for the report.

    Args:
        facts: all files.
        places: places of the files.
        modalities: installed plugins, of which the first that reads a DICOMDIR is used.

    Returns:
        For each DICOMDIR its path and number of ``files``, the paths that are ``missing`` and those of
        ``other_patients`` than their header, and how many lead ``outside`` its folder and are not followed; or
        ``why`` it cannot be read.
    """
    reader = next((plugin for plugin in modalities if isinstance(plugin, Indexed)), None)
    paths = [each.path for each in facts if PurePosixPath(each.path).name.casefold() == INDEX]
    if reader is None or not paths:
        return []
    # File IDs are in capitals, and file systems show them in either case.
    known = {each.path.casefold(): each for each in facts}
    reports: list[dict[str, Any]] = []
    for path in paths:
        try:
            entries = reader.read_index(places.file(path))
        except UnreadableSource as error:
            reports.append({"path": path, "why": str(error)})
        else:
            reports.append({"path": path, "files": len(entries), **_compared(entries, path, known)})
    return reports


def _compared(entries: Iterable[IndexEntry], path: str, known: Mapping[str, FileFacts]) -> dict[str, Any]:
    missing, others, outside = [], [], 0
    for entry in entries:
        if not all(map(_is_name, entry.parts)):
            outside += 1
            continue
        place = PurePosixPath(path).parent.joinpath(*entry.parts).as_posix()
        found = known.get(place.casefold())
        if found is None:
            missing.append(place)
        elif len({canonical_id(each) for each in (stated_patient(found), entry.patient)} - {""}) > 1:
            others.append(found.path)
    return {"missing": sorted(set(missing)), "other_patients": sorted(set(others)), "outside": outside}


def _is_name(part: str) -> bool:
    return part not in ("", ".", "..") and not {"/", "\\", "\0"} & set(part)
