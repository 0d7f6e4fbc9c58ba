"""A data set of one table and one small file per study, with a builder that uses all common steps."""

import gzip
import time
from functools import partial
from pathlib import Path

from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow

TABLE = "list.csv"


class Planted(CohortBuilder):
    """``looked``: file that lists the name of every inspected file; ``fails``: raise after inspecting them."""

    unverified = ("nothing is known of this set",)

    def __init__(self, *, looked: Path, seconds: float = 0.0, label: str = "value", fails: bool = False) -> None:
        self.looked, self.seconds, self.label, self.fails = looked, seconds, label, fails

    def build(self, root: DataRoot, flow: Flow) -> Built:
        data = root.folder(TABLE, setting="--root")
        columns = {"id": "BIGINT", "patient": "BIGINT", "split": "VARCHAR", "value": "DOUBLE", "file": "VARCHAR"}
        data.view("listed", TABLE, columns)
        data.connection.execute(
            "CREATE TABLE studies AS SELECT id AS study_id, patient AS patient_id, split, value, file FROM listed"
        )
        flow.start("studies", "rows in list.csv")
        flow.exclude("studies", "no value", "value IS NULL")
        flow.count("studies", "negative", "value < 0")
        verdicts = data.checked("studies", "file", check=partial(look, looked=self.looked, seconds=self.seconds))
        flow.exclude("studies", "cannot be used", f"file IN (SELECT file FROM {verdicts} WHERE verdict != '')")
        if self.fails:
            raise RuntimeError("the builder failed")
        return Built(
            table="studies",
            root=data.path,
            population="planted",
            modalities={"note": {"path": "file"}},
            labels={self.label: {"column": "value", "unit": "mV"}},
            notes=("planted",),
        )


def look(path: Path, *, looked: Path, seconds: float) -> str:
    with looked.open("a", encoding="utf-8") as stream:
        stream.write(f"{path.name}\n")
    time.sleep(seconds)
    return "damaged" if path.read_text() == "damaged" else ""


def write_planted(root: Path, *, studies: int = 6, compressed: bool = False) -> None:
    """Write studies: study 1 has no value, study 2 a negative one, the file of study 3 is damaged."""
    (root / "notes").mkdir(parents=True)
    lines = ["id,patient,split,value,file"]
    for study in range(1, studies + 1):
        value = {1: "", 2: "-0.5"}.get(study, f"{study}.25")
        name = f"notes/{study}.txt"
        lines.append(f"{study},{study % 3},{('train', 'val', 'test')[study % 3]},{value},{name}")
        (root / name).write_text("damaged" if study == 3 else "a note")
    text = "\n".join(lines) + "\n"
    if compressed:
        (root / f"{TABLE}.gz").write_bytes(gzip.compress(text.encode()))
    else:
        (root / TABLE).write_text(text)
