"""Reports of MIMIC-CXR: sections in one table, or one text file each."""

from pathlib import Path

from polyclinic.cohort.build import DataRoot, Flow
from polyclinic_cohorts.radiographs import below, named_folder

_SECTIONED = "mimic_cxr_sectioned.csv"
_SECTIONS = {"study": "VARCHAR", "impression": "VARCHAR", "findings": "VARCHAR", "last_paragraph": "VARCHAR"}
_FILE = "'files/p' || left(patient_id::VARCHAR, 2) || '/p' || patient_id || '/s' || study || '.txt'"
_MAX_TRIED_FILES = 50


def add_reports(root: DataRoot, flow: Flow, *, folder: str = "") -> tuple[str, str]:
    """Fill the column ``report`` of the table ``studies``, which has ``patient_id`` and ``study``.

    Args:
        root: base folder of the paths.
        flow: flow of ``studies``.
        folder: folder of the text files below the root; searched for if empty.

    Returns:
        The kind of source in the column, ``text`` or ``path``, empty if there are no reports; and a note.

    Raises:
        ValueError: the folder has no reports, or several folders have.
    """
    if not folder and root.folders(_SECTIONED):
        _add_sections(root.folder(_SECTIONED, setting="--root"))
        kind, message = "text", f"reports are findings and impression of {_SECTIONED}, or the last paragraph"
    elif (report_folder := _report_folder(root, folder)) is not None:
        _add_files(root, report_folder)
        kind, message = "path", "reports are complete text files, with every section"
    else:
        return "", "no reports were found in the data root"
    flow.count("studies", "without a report", "report IS NULL")
    return kind, f"{message}; ___ marks text that was removed for de-identification"


def _report_folder(root: DataRoot, folder: str) -> Path | None:
    if folder:
        return named_folder(root, folder, setting="--reports", holding="files")
    rows = root.connection.execute(
        f"SELECT DISTINCT {_FILE} AS file FROM studies WHERE file IS NOT NULL LIMIT {_MAX_TRIED_FILES}"
    )
    files = [file for (file,) in rows.fetchall()]
    folders = [data.path for data in root.folders("files") if any((data.path / file).is_file() for file in files)]
    if len(folders) > 1:
        raise ValueError(f"got {len(folders)} folders with reports below the root, expected one; set `--reports`")
    return folders[0] if folders else None


def _add_sections(folder: DataRoot) -> None:
    folder.view("sections", _SECTIONED, _SECTIONS)
    folder.connection.execute("""
        UPDATE studies SET report = coalesce(nullif(concat_ws(chr(10) || chr(10), 'FINDINGS: ' || findings,
            'IMPRESSION: ' || impression), ''), last_paragraph)
        FROM sections WHERE sections.study = 's' || studies.study
    """)


def _add_files(root: DataRoot, folder: Path) -> None:
    root.connection.execute(f"UPDATE studies SET report = {below(root, folder)} || {_FILE}")
    verdicts = root.checked("studies", "report")
    root.connection.execute(
        f"UPDATE studies SET report = NULL WHERE report IN (SELECT file FROM {verdicts} WHERE verdict != '')"
    )
