"""Events that are lost or changed when a cohort is written as a MEDS dataset and read in again."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

from benchmarks.measure import Figure
from polyclinic.cohort import Cohort, Study, default_modalities, read_cohort, write_phantom_cohort
from polyclinic.cohort.meds import MedsDataset, write_cohort_events, write_meds
from polyclinic.modality import EventWindow, installed_modalities, read_events

COMMAND = "python -m benchmarks meds"
STUDIES = 100
_NAMES = ("audio", "ecg", "report", "tabular", "xray")
_WINDOWED = "stay"
_AGAIN = {"meds": "events", "time": "time", "subject": "subject_id"}

Event = tuple[object, ...]


def measure(studies: int = STUDIES) -> list[Figure]:
    """Write a phantom with stays as windows of events as a dataset, and compare what comes back with what went in."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_cohort_with_stays(folder / "cohort", studies)
        cohort = read_cohort(path)
        write_cohort_events(cohort, folder / "events", root=path.parent, times={})
        lost = lost_windows(cohort, folder) + lost_facts(cohort, folder / "events", path.parent)
    return [
        Figure(name="meds.roundtrip_loss", value=float(lost), unit="events", goal=0.0, at_most=True, command=COMMAND)
    ]


def write_cohort_with_stays(folder: Path, studies: int, modalities: Sequence[str] = _NAMES, workers: int = 2) -> Path:
    """Write a phantom cohort of some modalities and a MEDS dataset of stays; return its cohort.yaml."""
    plugins = default_modalities(modalities)
    path = write_phantom_cohort(folder, studies=studies, seed=1, modalities=plugins, workers=workers)
    stays = write_phantom_cohort(
        folder / "stays",
        studies=studies,
        seed=1,
        modalities={_WINDOWED: installed_modalities()["timeline"]()},
        workers=workers,
    )
    table = pd.read_csv(path.with_name("cohort.csv"), dtype=str, keep_default_na=False)
    numbers = {patient: number for number, patient in enumerate(sorted(set(table["patient_id"])), 1001)}
    table["subject"] = [str(numbers[patient]) for patient in table["patient_id"]]
    files = pd.read_csv(stays.with_name("cohort.csv"), dtype=str, keep_default_na=False)[_WINDOWED]
    events, anchors = [], []
    for subject, file in zip(table["subject"], files, strict=True):
        stay = _stay(stays.parent / file).assign(subject_id=int(subject))
        events.append(stay)
        anchors.append(stay["time"].max().isoformat())
    table["time"] = anchors
    write_meds(folder / "ward", pd.concat(events), dataset_name="phantom stays")
    table.to_csv(path.with_name("cohort.csv"), index=False)
    spec = yaml.safe_load(path.read_text())
    spec["modalities"][_WINDOWED] = {"meds": "ward", "time": "time", "before": "4d", "subject": "subject"}
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


def _stay(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, parse_dates=["time"])
    numbers = pd.to_numeric(table["value"], errors="coerce")
    texts = table["value"].where(numbers.isna(), None).astype(object)
    return table[["time", "code", "unit"]].assign(numeric_value=numbers, text_value=texts)


def lost_windows(cohort: Cohort, folder: Path) -> int:
    """Return the number of windowed events that differ between the cohort and one that reads the exported dataset."""
    table = pd.read_csv(folder / "events" / "studies.csv", dtype=str, keep_default_na=False)
    table.to_csv(folder / "again.csv", index=False)
    codes = sorted({str(event[1]) for study in cohort.studies for event in _window(study)})
    windows = [source for study in cohort.studies if isinstance(source := study.sources.get(_WINDOWED), EventWindow)]
    before = max(int((window.anchor - window.start).total_seconds() / 60) for window in windows)
    again = {
        "table": "again.csv",
        "study_id": "study_id",
        "patient_id": "patient_id",
        "split": "split",
        "modalities": {_WINDOWED: {**_AGAIN, "before": f"{before}min", "codes": codes}},
    }
    (folder / "again.yaml").write_text(yaml.safe_dump(again))
    found = {study.study_id: study for study in read_cohort(folder / "again.yaml").studies}
    return sum(_differences(_window(study), _window(found[study.study_id])) for study in cohort.studies)


def _window(study: Study) -> list[Event]:
    source = study.sources.get(_WINDOWED)
    if not isinstance(source, EventWindow):
        return []
    names = ("time", "code", "numeric_value", "text_value", "unit")
    events = read_events(source)
    missing = [None] * len(events)
    columns = (events[name].to_pylist() if name in events.column_names else missing for name in names)
    return list(zip(*columns, strict=True))


def lost_facts(cohort: Cohort, folder: Path, root: Path) -> int:
    """Return the number of sources, labels and groups that differ between the cohort and the events of the dataset."""
    events = MedsDataset(folder).events()
    table = pd.read_csv(folder / "studies.csv", dtype=str)
    subjects = dict(zip(table["study_id"], table["subject_id"].astype(int), strict=True))
    expected = [fact for study in cohort.studies for fact in _facts(study, cohort, subjects, root)]
    return _differences(expected, list(_stored_facts(events)))


def _facts(study: Study, cohort: Cohort, subjects: Mapping[str, int], root: Path) -> Iterator[Event]:
    owner = (subjects[study.study_id], study.study_id)
    for name, source in study.sources.items():
        if isinstance(source, Path):
            yield *owner, f"SOURCE//{name}", source.relative_to(root).as_posix(), None, None
    for label, value in zip(cohort.labels, study.labels, strict=True):
        if not np.isnan(value):
            yield *owner, f"LABEL//{label}", None, None, value
    for group, cell in study.groups.items():
        yield *owner, f"GROUP//{group}", None, cell, None


def _stored_facts(events: pa.Table) -> Iterator[Event]:
    names = ("subject_id", "study_id", "code", "path", "text_value", "numeric_value")
    rows = zip(*(events[name].to_pylist() for name in names), strict=True)
    return (row for row in rows if row[1] is not None)


def _differences(expected: list[Event], found: list[Event]) -> int:
    """Return the number of events of one list that the other does not have, whichever is larger."""
    left, right = Counter(expected), Counter(found)
    return max((left - right).total(), (right - left).total())
