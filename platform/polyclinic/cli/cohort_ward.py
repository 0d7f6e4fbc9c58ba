"""``polyclinic cohort ward``: results and reports of a ward as events over time and as studies."""

from pathlib import Path

from polyclinic.cohort.ward import read_ward
from polyclinic.files.results import refuse_used_folder
from polyclinic.system.shell import command_line, print_next
from polyclinic.system.terminal import Console, remark


def ward(folder: Path, out: Path = Path("cohort"), zone: str | None = None) -> None:
    """Read results and reports of a ward: polyclinic cohort ward records --out cohort

    FHIR R4 (Bundles and NDJSON), HL7 v2 (ORU^R01) and DICOM structured reports become events in MEDS, with one row per
    report in studies.csv, patients.csv, a commented cohort.yaml, and ward-report.json with everything that was left
    out and what to check. A correction replaces the earlier result; units stay as they are. The folder is only read.

    Args:
        folder: folder to read, with its subfolders.
        out: new folder for the cohort, outside the folder.
        zone: zone of the hospital, such as Europe/Zurich, into which times with an offset are converted; unless set,
            every time stays as it was written.

    Raises:
        ValueError: `folder` is not a folder or has no result and no report, or `out` exists or lies in it.
    """
    refuse_used_folder(out)
    result = read_ward(folder, out=out, zone=zone)
    console, report = Console(), result.report
    counts = f"{report['files']:,} files, {report['patients']:,} patients"
    console.print(
        f"{counts}, {report['measurements']:,} results of {report['codes']:,} codes, {report['reports']:,} reports "
        f"({report['corrected']:,} corrected)",
        soft_wrap=True,
    )
    for reason, entry in report["left_out"].items():
        console.print(f"left out: {entry['count']:,} {reason}, {entry['advice']}", soft_wrap=True, markup=False)
    for entry in report["assumptions"]:
        console.print(f"check: {entry['count']:,} {entry['assumption']}", soft_wrap=True, markup=False)
    remark("ward-report.json lists the files; patients.csv and studies.csv hold patient ids as they were sent")
    if result.cohort is None:
        remark("the folder has no report, so there is no cohort.yaml; the events are in meds")
        print_next("polyclinic", "modalities")
        return
    remark(f"before it leaves this machine: {command_line('polyclinic', 'deidentify', result.cohort, 'OUT')}")
    print_next("polyclinic", "cohort", "check", result.cohort)
