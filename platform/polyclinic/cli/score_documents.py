"""The documents of ``polyclinic score``: FHIR Observations, and structured reports beside DICOM files."""

from collections.abc import Sequence
from pathlib import Path

from polyclinic.deploy.bundle import Bundle
from polyclinic.deploy.fhir import observations
from polyclinic.deploy.scoring.research import Document, ScoredStudy, documents, research_model
from polyclinic.files.atomic import atomic_folder
from polyclinic.files.results import refuse_unwritable, refuse_used_folder, write_result
from polyclinic.system.extras import absent_modules, missing_sentence
from polyclinic.system.progress import track
from polyclinic.system.terminal import Console

_WRITER = "highdicom"


def refuse_outputs(json: Path | None, fhir: Path | None, sr: Path | None) -> None:
    """Refuse outputs that cannot be written, before anything is scored.

    Raises:
        ValueError: a path cannot be written, or the library that writes structured reports is not installed.
    """
    refuse_unwritable(json)
    refuse_unwritable(fhir, "--fhir")
    if sr is not None:
        refuse_used_folder(sr, "--sr")
        if _WRITER in absent_modules("wards"):
            raise ValueError(missing_sentence(_WRITER, "`--sr`"))


def write_documents(
    bundle: Bundle, studies: Sequence[ScoredStudy], *, fhir: Path | None, sr: Path | None, console: Console
) -> None:
    """Write the documents that were asked for; the structured reports are complete before the first is written.

    Raises:
        ValueError: no study has a DICOM file that a report can reference, or the disk is full.
    """
    if sr is not None:
        _write_reports(bundle, studies, sr, console)
    if fhir is not None:
        write_result(fhir, observations(research_model(bundle), ((each.study_id, each.scores) for each in studies)))
        console.print(f"FHIR Observations: {fhir}", soft_wrap=True, markup=False)


def _write_reports(bundle: Bundle, studies: Sequence[ScoredStudy], folder: Path, console: Console) -> None:
    written, refused = 0, list[Document]()
    with atomic_folder(folder) as partial:
        for document in track(documents(bundle, studies), "writing reports"):
            if document.content is None:
                refused.append(document)
                continue
            # Ids of studies may not be file names; cohorts may list one file in several studies.
            written += 1
            (partial / f"{written:06d}.dcm").write_bytes(document.content)
        if not written:
            why = f"; the first: {refused[0].problem}" if refused else ""
            raise ValueError(
                f"got no study with a DICOM file that a report can reference{why}; omit `--sr`, or score DICOM files"
            )
    console.print(f"structured reports: {written:,} in {folder}", soft_wrap=True, markup=False)
    for document in refused:
        console.print(f"no report on {document.modality} of {document.study_id}: {document.problem}", markup=False)
