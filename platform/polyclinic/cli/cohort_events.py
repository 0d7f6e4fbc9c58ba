"""``polyclinic cohort events``: write a cohort as a MEDS dataset."""

from pathlib import Path

from polyclinic.cohort import meds, read_cohort
from polyclinic.cohort.event_windows import read_time
from polyclinic.cohort.schema import read_spec
from polyclinic.cohort.table import read_table
from polyclinic.files.results import refuse_used_folder
from polyclinic.system.names import refuse_unknown
from polyclinic.system.shell import command_line, print_next
from polyclinic.system.terminal import Console, remark


def events(cohort: Path, out: Path = Path("events"), time: str = "") -> None:
    """Write a cohort as a MEDS dataset: polyclinic cohort events demo/cohort/cohort.yaml --out events

    Each source, known label and group of a study becomes an event of its patient: files by their paths, texts and
    cells with their content. Windows of events are written as they are. OUT also gets studies.csv, with the subject
    and time of each study. Nothing is de-identified.

    Args:
        cohort: path of a cohort.yaml.
        out: new folder for the dataset.
        time: column of the table with the time of each study, in ISO 8601 without a zone; unless set, studies with a
            window of events have the time of its anchor, and the others none.

    Raises:
        ValueError: the cohort is invalid, `out` exists, or a time or window cannot be read.
    """
    refuse_used_folder(out)
    read, spec = read_cohort(cohort), read_spec(cohort)
    times = {}
    if time:
        table = read_table(spec)
        refuse_unknown("column", [time], list(table.columns), "set `--time` to a column of the table")
        cells = zip(table[spec.study_id], table[time], strict=True)
        times = {study: read_time("--time", study, cell) for study, cell in cells if cell}
    done = meds.write_cohort_events(read, out, root=spec.root, times=times)
    console = Console()
    console.print(
        f"{done.events:,} events of {done.subjects:,} subjects and {done.studies:,} studies, {done.windowed:,} of them "
        "from windows",
        soft_wrap=True,
    )
    if done.without_time:
        remark(f"note: {done.without_time:,} events have no time; set --time to the column with that of the studies")
    remark("the dataset holds ids, paths and texts as they are")
    remark(f"before it leaves this machine: {command_line('polyclinic', 'deidentify', cohort, 'OUT')}, then this again")
    print_next("polyclinic", "cohort", "check", cohort)
