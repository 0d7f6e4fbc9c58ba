"""``polyclinic cohort scan | add``: propose a cohort from a folder, and join tables to one."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path

from polyclinic.cohort.add import BEFORE, add_table
from polyclinic.cohort.cohort import SPLITS
from polyclinic.cohort.dicomweb.address import read_address, read_login, read_query
from polyclinic.cohort.phantom import every_modality
from polyclinic.cohort.scan import refuse_places, scan_folder
from polyclinic.files.results import refuse_used_folder
from polyclinic.modality import Modality
from polyclinic.system.extras import refuse_missing
from polyclinic.system.shell import command_line, print_next
from polyclinic.system.terminal import Console, remark


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """How to retrieve studies from a server first.

    Args:
        dicomweb: address of a DICOMweb server, from which studies are retrieved into the folder before it is scanned.
        query: attributes of the studies to retrieve, such as 'StudyDate=20200101-20201231&ModalitiesInStudy=DX'.
        limit: largest number of studies to retrieve.
        login: file with user:password or a bearer token, which only its owner can read.
        insecure: whether to send data and login unencrypted, to an http address of another machine.
    """

    dicomweb: str = ""
    query: str = ""
    limit: int | None = None
    login: Path | None = None
    insecure: bool = False


def scan(
    folder: Path,
    options: ServerOptions,
    out: Path = Path("cohort"),
    workers: int = 2,
    hours: float = 24.0,
    unpack: Path | None = None,
    encoding: str = "",
) -> None:
    """Propose a cohort from a folder of hospital files: polyclinic cohort scan archive --out cohort

    DICOM, WFDB, audio, reports, and tables in CSV, Parquet and Excel are grouped into studies by the tables, then by
    patient, study and accession number in the headers, then by name, and then by time. OUT gets studies.csv, a
    commented cohort.yaml, and scan-report.json with everything that was left out and assumed. FOLDER is only read.

    With `--dicomweb`, and only then, a connection is opened: to that server and no other. What it has is first copied
    into FOLDER, and a repeated command continues with what is missing.

    Args:
        folder: folder to scan, with its subfolders.
        options: how to retrieve studies from a server first.
        out: new folder for the cohort, outside the folder.
        workers: number of processes that read headers.
        hours: longest time between files of one patient that become one study without further evidence.
        unpack: new folder for the members of zip and tar archives, outside the folder; without it, they are not read.
        encoding: encoding of CSV tables that are not UTF-8, such as cp1252; unless set, it is found by their letters.

    Raises:
        ValueError: `folder` is not a folder or has no file to use, `out` or `unpack` exists or lies in it, or the
            server cannot be used.
    """
    refuse_used_folder(out)
    refuse_places(folder, out, unpack)  # before hours of retrieval
    modalities = every_modality()
    _retrieve(folder, options, modalities)
    result = scan_folder(
        folder, out=out, modalities=modalities, workers=workers, hours=hours, unpack=unpack, encoding=encoding
    )
    console, cohort, report = Console(), result.cohort, result.report
    sizes = ", ".join(f"{len(cohort.split(split)):,} {split}" for split in SPLITS)
    present = ", ".join(f"{name} {share:.0%}" for name, share in cohort.present_share().items())
    console.print(
        f"{report['files']:,} files, {report['patients']:,} patients, {report['studies']:,} studies ({sizes})"
    )
    console.print(f"present: {present}; {len(report['labels'])} labels, {len(report['groups'])} groups", soft_wrap=True)
    for reason, entry in report["left_out"].items():
        console.print(f"left out: {entry['count']:,} {reason}, {entry['advice']}", soft_wrap=True, markup=False)
    for entry in report["assumptions"]:
        console.print(f"check: {entry['count']:,} {entry['assumption']}", soft_wrap=True, markup=False)
    remark("scan-report.json lists the files; studies.csv holds patient ids and accession numbers as they are")
    remark(f"before it leaves this machine: {command_line('polyclinic', 'deidentify', result.path, 'OUT')}")
    print_next("polyclinic", "cohort", "check", result.path)


def _retrieve(folder: Path, options: ServerOptions, modalities: Mapping[str, Modality]) -> None:
    """Retrieve studies from a server into the folder, if an address is given."""
    if not options.dicomweb:
        unused = [
            f"`--{field.name}`" for field in fields(options) if getattr(options, field.name) not in ("", None, False)
        ]
        if unused:
            raise ValueError(f"got {unused[0]} without an address, expected `--dicomweb` as well; set it")
        return
    refuse_missing(("dicomweb",), "`--dicomweb`")
    address = read_address(options.dicomweb, insecure=options.insecure)
    filters, login = read_query(options.query), read_login(options.login)
    # Imported here: only this option needs the client, which takes a second to import.
    done = import_module("polyclinic.cohort.dicomweb.retrieve").retrieve(
        address, folder, modalities=modalities, filters=filters, limit=options.limit, login=login
    )
    console = Console()
    console.print(
        f"{done.instances:,} instances of {done.studies:,} studies retrieved into the folder, {done.known:,} were there"
    )
    for reason, count in done.refused.most_common():
        console.print(f"not retrieved: {count:,} {reason}", soft_wrap=True, markup=False)
    if not done.instances + done.known:
        raise ValueError(
            "the server has no instance that matches and that a plugin reads; change `--query`, or see "
            "`polyclinic modalities`"
        )


def add(cohort: Path, table: Path, on: str = "accession", encoding: str = "") -> None:
    """Join a table to a cohort: polyclinic cohort add cohort.yaml labels.csv --on study_id

    The new columns are written into the table of the cohort. Those of 0, 1, -1 and blanks become labels in the cohort
    file, whose comments stay. Copies of both as they were are kept beside them.

    Args:
        cohort: path of a cohort.yaml.
        table: CSV, Parquet or Excel file with one row per value of the column.
        on: column of ids in both tables.
        encoding: encoding of TABLE if it is CSV that is not UTF-8; unless set, it is found by its letters.

    Raises:
        ValueError: a file is invalid, the column repeats a value in the table, nothing matches, or a column exists.
    """
    added = add_table(cohort, table, on=on, encoding=encoding)
    console = Console()
    rows = f"{added.matched:,} rows of the cohort matched, {added.unmatched:,} did not"
    console.print(f"{rows}; {added.unused:,} rows of {table.name} were not used", soft_wrap=True, markup=False)
    names = ", ".join(added.labels) or "none"
    console.print(f"{len(added.columns)} new columns, of which labels: {names}", soft_wrap=True, markup=False)
    remark(f"the files as they were have the ending {BEFORE}")
    print_next("polyclinic", "cohort", "check", cohort)
